"""One scene from several cameras: the poses that are written are those that the depth was rendered from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")

from pro_engine.errors import InputError
from pro_engine.io.depth import load_depth
from pro_engine.training.options import ScenesConfig
from pro_engine.training.scenes.generate import render_dataset

VIEWS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("orbit")
    config = ScenesConfig(out=out, count=1, seed=3, size=(96, 72), orbit=VIEWS)
    assert render_dataset(config) == VIEWS
    return out


def poses(scene: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rotation and translation from the world to each camera, of a COLMAP text model."""
    found = {}
    for line in (scene / "sparse/0/images.txt").read_text().splitlines()[::2]:
        numbers, camera, name = line.split()[1:8], *line.split()[8:]
        w, x, y, z, *shift = map(float, numbers)
        assert camera == "1"
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        found[name] = turn, np.array(shift)
    return found


def test_a_point_of_one_view_lies_on_the_surface_of_another(folder):
    scene = folder / "scene_000003"
    model, width, height, *numbers = (scene / "sparse/0/cameras.txt").read_text().split()[1:]
    fx, fy, cx, cy = map(float, numbers)
    assert (model, width, height) == ("PINHOLE", "96", "72")
    assert (scene / "sparse/0/points3D.txt").read_bytes() == b""
    known = poses(scene)
    assert sorted(known) == [f"view_{number:03d}.jpg" for number in range(VIEWS)]
    assert all((scene / "images" / name).is_file() for name in known)
    depth = {name: load_depth(scene / "depth" / name.replace(".jpg", ".npz"))[0] for name in known}
    (turn, shift), z = known["view_001.jpg"], depth["view_001.jpg"]
    row, column = np.nonzero(np.isfinite(z))
    at = z[row, column]
    seen = np.stack([(column + 0.5 - cx) / fx * at, (row + 0.5 - cy) / fy * at, at])
    world = turn.T @ (seen - shift[:, None])
    turn, shift = known["view_002.jpg"]
    there = turn @ world + shift[:, None]
    place = np.rint([there[0] / there[2] * fx + cx - 0.5, there[1] / there[2] * fy + cy - 0.5]).astype(int)
    inside = (there[2] > 0) & (place >= 0).all(0) & (place[0] < 96) & (place[1] < 72)
    assert inside.mean() > 0.5  # the views overlap
    error = np.abs(depth["view_002.jpg"][place[1, inside], place[0, inside]] / there[2, inside] - 1)
    assert np.median(error) < 0.005
    assert (error < 0.05).mean() > 0.75  # the rest is hidden there, or lies at an outline


def test_a_folder_is_of_one_kind_and_scenes_that_are_there_stay(folder):
    same = ScenesConfig(out=folder, count=1, seed=3, size=(96, 72), orbit=VIEWS)
    assert render_dataset(same) == 0
    with pytest.raises(InputError, match="orbit 4"):
        render_dataset(ScenesConfig(out=folder, count=1, seed=3, size=(96, 72)))
