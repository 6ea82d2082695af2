"""`pro-engine` as people and scripts use it, in this process and with tiny networks in place of the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from pro_engine.cli.main import app


def write_photo(path: Path, width: int = 160, height: int = 120, **options: Any) -> Path:
    """A photo of smooth colours and a red box; the folder is made."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / width, y * 255 / height, 0 * x + 90], axis=2).astype(np.uint8)
    image[height // 2 :, width // 3 : width // 2] = (230, 40, 60)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {path.name for path in folder.iterdir()}


def runner(tiny: Any, monkeypatch: Any, folder: Path) -> Callable[..., Any]:
    """run(*arguments) -> the finished command; the model is tiny and the working folder is this one."""
    monkeypatch.setattr("pro_engine.inference.load.load_model", lambda name, **_: tiny.predictor())
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
