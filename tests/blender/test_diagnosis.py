"""Why an engine failed, in one sentence."""

from __future__ import annotations

import pytest

from blender_addon.engine.why_it_ended import sentence_of_end, sentence_of_start
from tests.blender.engines import one_sentence


@pytest.mark.parametrize(
    ("code", "oom", "words"),
    [
        (-9, True, "memory did not suffice"),
        (-9, False, "killed from outside"),
        (0xC0000017, False, "memory did not suffice"),
        (0xC0000005 - 2**32, False, "crashed"),
        (0xC0000005, False, "crashed (exit code 0xc0000005)"),
        (-11, False, "crashed (SIGSEGV)"),
        (-99, False, "signal 99"),
        (1, False, "exit code 1"),
    ],
)
def test_exit_codes_are_put_into_words(code, oom, words):
    sentence = sentence_of_end(["engine"], code, ["last " + "word" * 99, ""], [], ready=True, out_of_memory=oom)
    assert words in one_sentence(sentence)


def test_a_full_disk_is_put_into_words():
    sentence = sentence_of_end(["engine"], 1, [], [], ready=True, out_of_memory=False, full_folder="/tmp")
    assert "The disk of /tmp is full" in one_sentence(sentence)


def test_a_program_that_cannot_start_for_want_of_memory_is_put_into_words():
    assert "could not be started (no)" in one_sentence(sentence_of_start("engine", OSError(12, "no")))
