"""Scene-linear pictures: exposed for the eye, whatever their unit of light."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from pro_engine.errors import DependencyError
from pro_engine.io.image import load_image
from pro_engine.types import ImageArray


def smooth(height: int = 48, width: int = 64) -> ImageArray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, 255 - x * 2], -1).astype(np.uint8)


def to_linear(srgb: ImageArray) -> np.ndarray[Any, np.dtype[np.float32]]:
    x = srgb / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def save_exr(path: Path, channels: dict[str, Any]) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: np.ascontiguousarray(values) for name, values in channels.items()}).write(str(path))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_finished_render_gets_the_srgb_curve(tmp_path: Path, dtype: type) -> None:
    linear = to_linear(smooth()).astype(dtype)
    save_exr(tmp_path / "a.exr", {"RGB": linear})
    assert np.abs(load_image(tmp_path / "a.exr")[0].astype(int) - smooth()).max() <= 1
    save_exr(
        tmp_path / "layers.exr",
        {"Layer.Depth.Z": linear[..., 0], "Layer.Combined": np.dstack([linear, linear[..., :1] * 0 + 1])},
    )
    assert np.abs(load_image(tmp_path / "layers.exr")[0].astype(int) - smooth()).max() <= 1


def test_float_tiff_is_linear(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", to_linear(smooth()), photometric="rgb")
    assert np.abs(load_image(tmp_path / "rgb.tif")[0].astype(int) - smooth()).max() <= 1
    Image.fromarray(to_linear(smooth())[..., 0]).save(tmp_path / "grey.tif")
    grey = load_image(tmp_path / "grey.tif")[0].astype(int)
    assert np.abs(grey - smooth()[..., :1]).max() <= 1


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
@pytest.mark.parametrize("factor", [1e-4, 3000.0])
def test_dark_and_bright_scenes_are_exposed(tmp_path: Path, suffix: str, factor: float) -> None:
    """Whatever the unit of light, the picture is well exposed, ordered as before and not clipped."""
    linear = to_linear(smooth()) * factor
    linear[0, 0] = 50 * factor
    path = tmp_path / f"a{suffix}"
    if suffix == ".exr":
        save_exr(path, {"RGB": linear})
    else:
        cv2.imwrite(str(path), linear[..., ::-1])
    image, _ = load_image(path)
    assert 80 < image.mean() < 180
    assert image[0, 0].min() > 240
    assert (image.min(axis=2) == 255).mean() < 0.02
    green = image[1:, 10, 1].astype(int)
    assert (np.diff(green) >= 0).all()


def test_exr_with_alpha_luminance_and_strange_values(tmp_path: Path) -> None:
    rgba = np.zeros((2, 3, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = 0.9, 1
    rgba[0, 0] = 0  # transparent
    rgba[1, 0, :3], rgba[1, 1, :3], rgba[1, 2, :3] = np.nan, np.inf, -3
    save_exr(tmp_path / "a.exr", {"RGBA": rgba})
    image, _ = load_image(tmp_path / "a.exr")
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[1].tolist() == [[0, 0, 0], [255, 255, 255], [0, 0, 0]]
    save_exr(tmp_path / "y.exr", {"Y": np.full((2, 3), 0.5, np.float32)})
    assert np.unique(load_image(tmp_path / "y.exr")[0]).tolist() == [188]
    save_exr(tmp_path / "black.exr", {"Y": np.zeros((2, 3), np.float32)})
    assert not load_image(tmp_path / "black.exr")[0].any()


def test_exr_without_its_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_exr(tmp_path / "a.exr", {"Y": np.zeros((2, 3), np.float32)})
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(DependencyError, match="pip install OpenEXR"):
        load_image(tmp_path / "a.exr")
