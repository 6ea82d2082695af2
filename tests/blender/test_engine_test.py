"""Test engine: what the real one says of itself, and what others do instead."""

from __future__ import annotations

import subprocess
import sys

import torch

import pro_engine
from blender_addon.work.engine_test import EngineTest
from tests.blender.blenders import posix
from tests.blender.engines import engine_python, one_sentence, program, until

PATIENCE_S = 120.0  # for torch on a busy machine


def told_by(engine, **options):
    """A test of an engine at its end."""
    test = EngineTest(engine, **options)
    test.begin()
    until(lambda: not test.poll(), PATIENCE_S)
    one_sentence(test.notice.text)
    return test


def test_the_real_engine_tells_version_device_and_models():
    test = told_by(engine_python(), limit_s=PATIENCE_S)
    assert not test.notice.is_error and "compact (bundled)" in test.notice.text and "compact" in test.models
    assert f"Engine {pro_engine.__version__} on " in test.notice.text
    assert f"PyTorch {torch.__version__}" in test.notice.text


def test_a_python_without_the_engine_is_said(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    assert "has no pro_engine; install" in told_by(str(tmp_path / "bare")).notice.text


@posix
def test_no_torch_is_said(tmp_path):
    body = "ready()\nfor r in requests():\n"
    body += "    say('error', id=r['id'], kind='Bug', message=\"ModuleNotFoundError: No module named 'torch'; report\")"
    assert "lacks torch; install" in told_by(str(program(tmp_path, body))).notice.text


@posix
def test_an_answer_too_late_or_not_whole_is_said(tmp_path):
    late = told_by(str(program(tmp_path, "ready(); time.sleep(600)")), limit_s=1.0, models=("known",))
    assert "within 1 s" in late.notice.text and late.notice.is_error and late.models == ("known",)
    body = "ready(); [say('done', id=r['id'], result={'device': 'cpu'}) for r in requests()]"
    assert "not complete" in told_by(str(program(tmp_path, body))).notice.text
