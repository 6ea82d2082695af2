"""The engine's two surfaces of a photo, opened in Blender: what it shows lines up with the photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pro_engine import Intrinsics, LayeredMesh, depth_to_layers, save_mesh
from tests.blender.blenders import facts_of, needs_blender

facts = facts_of("inside_layered.py")

pytestmark = needs_blender

HEIGHT, WIDTH = 40, 60
CAMERA = Intrinsics(50.0, 50.0, 33.0, 17.0, WIDTH, HEIGHT)  # its axis is off the middle


@pytest.fixture(scope="module")
def layers() -> LayeredMesh:
    """A red square before a blue wall."""
    depth, image = np.full((HEIGHT, WIDTH), 4, np.float32), np.full((HEIGHT, WIDTH, 3), (0, 0, 250), np.uint8)
    depth[10:30, 20:40], image[10:30, 20:40] = 1, (250, 0, 0)
    return depth_to_layers(depth, CAMERA, image=image)


@pytest.mark.parametrize("suffix", ["usdc", "usdz"])
def test_usd_opens_with_both_layers_and_the_camera(
    python: str, layers: LayeredMesh, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("pxr")
    save_mesh(tmp_path / f"a.{suffix}", layers)
    seen = facts(python, "opened", str(tmp_path / f"a.{suffix}"), str(WIDTH), str(HEIGHT))
    assert layers.behind is not None
    for name, mesh in (("front", layers.front), ("behind", layers.behind)):
        found = seen["surfaces"].pop(name)
        assert found["vertices"] == len(mesh.vertices) and found["texture"] == [WIDTH, HEIGHT]
        assert found["off"] < 0.01
    assert seen["surfaces"] == {}
    assert seen["angle"] == pytest.approx(2 * np.arctan(WIDTH / 2 / CAMERA.fx), abs=1e-4)
    assert seen["shift"] == pytest.approx([-(33.0 - 29.5) / WIDTH, (17.0 - 19.5) / WIDTH], abs=1e-4)


def test_glb_opens_with_both_layers_and_a_camera(python: str, layers: LayeredMesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.glb", layers)
    seen = facts(python, "opened", str(tmp_path / "a.glb"), str(WIDTH), str(HEIGHT))
    assert {name: found["texture"] for name, found in seen["surfaces"].items()} == {
        "front": [WIDTH, HEIGHT],
        "behind": [WIDTH, HEIGHT],
    }
