"""The worked example of docs/own_model.md runs as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pro_engine.io.depth import load_depth

ROOT = Path(__file__).parents[2]


@pytest.mark.cpu
def test_the_worked_example_runs(tmp_path):
    page = (ROOT / "docs/own_model.md").read_text("utf-8")
    script = page.split("<!-- test: own model -->\n```python\n", 1)[1].split("```", 1)[0]
    with Image.open(ROOT / "docs/photos/drum.jpg") as picture:
        picture.thumbnail((640, 640))
        picture.save(tmp_path / "photo.jpg")
        width, height = picture.size
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "own" and f"({height}, {width})" in done.stdout
    disparity, info = load_depth(tmp_path / "photo.exr")
    assert disparity.shape == (height, width) and disparity.std() > 0 and info.quantity == "disparity"
