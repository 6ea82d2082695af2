"""Rendered-like files, and the tiny run that scripts and tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """Two views of 192x144: a ramp of depth with a near box in it, below a strip of sky."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for i in range(2):
        depth = np.repeat(np.linspace(9, 2, 144, dtype=np.float32)[:, None], 192, axis=1)
        depth[50:100, 60 + 20 * i : 110] = 1.5
        depth[:10] = np.inf
        picture = np.random.default_rng(i).integers(0, 40, (144, 192, 3), dtype=np.uint8)
        picture[50:100, 60 + 20 * i : 110] += 150
        cv2.imwrite(str(folder / f"v{i}.jpg"), picture)
        np.savez(folder / f"v{i}.npz", depth=depth.astype(np.float16), transparent=np.zeros((144, 192), np.uint8))
    return folder


@pytest.fixture(scope="session")
def line() -> ModuleType:
    """The module `line_run.py`."""
    spec = importlib.util.spec_from_file_location("line_run", Path(__file__).with_name("line_run.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
