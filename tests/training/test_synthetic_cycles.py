"""Blender Cycles as a renderer: its pictures lie on embree's labels, look alike, and leave no memory behind.

Blender as a module wants numpy 1, so it may need an environment of its own: in one, run
`pip install -e '.[blender,dev,train]'` and `pytest tests/training/test_synthetic_cycles.py`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

HOW = "Blender as a module is not installed; run: pip install -e '.[blender,dev,train]' and pytest this file again"
pytest.importorskip("bpy", reason=HOW)
pytest.importorskip("embreex")

from pro_engine.training.synthetic.builder import MeshBuilder, panel, placement  # noqa: E402
from pro_engine.training.synthetic.cycles import CyclesScene, aligned_share  # noqa: E402
from pro_engine.training.synthetic.embree import EmbreeScene  # noqa: E402
from pro_engine.training.synthetic.scene import PATTERNS, Camera, Light, Material, Scene, Sky  # noqa: E402

WIDTH, HEIGHT = 80, 60
GREY = Sky(zenith=(0.5, 0.5, 0.5), horizon=(0.5, 0.5, 0.5), ground=(0.5, 0.5, 0.5))
BLACK = Sky(zenith=(0.0, 0.0, 0.0), horizon=(0.0, 0.0, 0.0), ground=(0.0, 0.0, 0.0))
NO_LIGHT = (0.0, 0.0, 0.0)


def unused(rng):
    raise AssertionError


def scene_of(*meshes, sky: Sky = GREY, ambient=(0.5, 0.5, 0.5)) -> Scene:
    scene = Scene("test", unused, sky=sky, ambient=ambient)
    for mesh, place in meshes:
        scene.add(mesh, place)
    scene.lights = [Light("sun", (-0.5, -0.3, 0.9), 1.0, size=0.01)]
    return scene


def box(size, material=None, center=(0, 0, 0)):
    mb = MeshBuilder()
    mb.box(center, size, material or Material())
    return mb.build(), np.eye(4)


def mixed() -> Scene:
    """Ground, a sphere, a leaning box, a mirror and a pane of glass, under a sky with clouds."""
    mb = MeshBuilder()
    mb.plane((200, 200), 0, Material("noise"))
    mb.sphere((5, 0.6, 0.8), 0.8, Material("wood"), sides=24)
    mb.box((6, -1.5, 1), (1, 1, 2), Material("checker", bump=0.5, bump_scale=5.0), yaw=0.5)
    mb.box((8, 0, 1.2), (0.05, 3, 2.4), Material(reflectance=0.9))
    mb.box((3.5, -0.6, 0.7), (0.02, 0.7, 0.9), Material(color=(0.9, 1.0, 0.9), transparent=True))
    return scene_of((mb.build(), np.eye(4)), sky=Sky(clouds=0.5))


VIEW = Camera((0.0, 0.0, 1.4), 0.05, -0.12, 0.08, 1.1)


def test_cycles_sees_each_surface_at_the_depth_of_the_labels():
    scene = mixed()
    rendered = CyclesScene(scene).render(VIEW, WIDTH, HEIGHT, np.random.default_rng(0))
    traced = EmbreeScene(scene).render(VIEW, WIDTH, HEIGHT, np.random.default_rng(0))
    np.testing.assert_array_equal(rendered.depth, traced.depth)
    np.testing.assert_array_equal(rendered.transparent, traced.transparent)
    behind = [made(scene).depth_behind_glass(VIEW, traced) for made in (CyclesScene, EmbreeScene)]
    np.testing.assert_array_equal(*behind)
    assert rendered.intrinsics == traced.intrinsics
    assert rendered.rgb.shape == (HEIGHT, WIDTH, 3) and rendered.rgb.dtype == np.float32
    assert rendered.transparent.any() and np.isinf(rendered.depth).any()

    _, own = CyclesScene(scene).paint(VIEW, WIDTH, HEIGHT, samples=1, filter_px=0.01)  # at the centres of the pixels
    solid = ~traced.transparent
    np.testing.assert_array_equal(np.isinf(own[solid]), np.isinf(traced.depth[solid]))
    finite = solid & np.isfinite(own)
    off = np.abs(own[finite] / traced.depth[finite] - 1)
    assert np.quantile(off, 0.995) < 1e-3, "but for a few pixels that an edge runs through"
    assert np.median(own[~solid] / traced.depth[~solid]) > 1.05, "through glass Cycles' own pass shows what is behind"


def test_a_picture_off_its_labels_is_told_from_one_on_them():
    scene = mixed()
    depth, transparent = EmbreeScene(scene).labels(VIEW, WIDTH, HEIGHT)
    _, witness = CyclesScene(scene).paint(VIEW, WIDTH, HEIGHT, samples=1)
    assert aligned_share(depth, witness, transparent) > 0.98
    assert aligned_share(depth, witness[:, ::-1], transparent) < 0.9
    assert aligned_share(depth, witness * 1.05, transparent) < 0.9


@pytest.mark.parametrize(
    "light",
    [
        Light("sun", (0.0, 0.0, 1.0), 1.0, size=0.01),
        Light("sun", (1.0, 0.5, 1.0), 2.0, size=0.01),
        Light("point", (0.0, 0.0, 1.5), 3.0, size=0.05),
        Light("area", (0.0, 0.0, 1.5), 3.0, size=0.1),
    ],
)
def test_lights_are_as_strong_as_embrees(light):
    scene = scene_of(box((40, 40, 0.1), Material(color=(1.0, 1.0, 1.0)), (0, 0, -0.05)), sky=BLACK, ambient=NO_LIGHT)
    scene.lights = [light]
    down = Camera((0.0, 0.0, 3.0), 0.0, 1e-4 - math.pi / 2, 0.0, 0.5)
    ours = EmbreeScene(scene).render(down, 41, 31, np.random.default_rng(0)).rgb[10:20, 15:25].mean()
    theirs, _ = CyclesScene(scene).paint(down, 41, 31, samples=16)
    assert theirs[10:20, 15:25].mean() == pytest.approx(ours, rel=0.04)


@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern not in ("solid", "image")])
def test_patterns_look_alike(pattern):
    material = Material(
        pattern, (0.9, 0.6, 0.2), (0.05, 0.2, 0.3), scale=1.4, angle=0.5, stretch=1.6, offset=(1.3, 2.2), joint=0.1
    )
    scene = scene_of(box((0.1, 8, 8), material, (3, 0, 0)))
    straight = Camera((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 1.0)
    ours = EmbreeScene(scene).render(straight, WIDTH, HEIGHT, np.random.default_rng(0)).rgb[..., 2]
    theirs = CyclesScene(scene).paint(straight, WIDTH, HEIGHT, samples=8)[0][..., 2]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > (0.6 if pattern == "bricks" else 0.9)


def test_a_picture_hangs_upright(tmp_path):
    cv2 = pytest.importorskip("cv2")
    quarters = np.zeros((32, 32, 3), np.uint8)
    quarters[:16, :16, 2], quarters[16:, 16:, 1] = 255, 255  # red at the top left, green at the bottom right
    cv2.imwrite(str(tmp_path / "quarters.png"), quarters)
    picture = panel(2.0, 1.5, Material("image", image=str(tmp_path / "quarters.png"), color=(1.0, 1.0, 1.0)))
    scene = scene_of((picture, placement(0, 2.0, -0.75)))
    rgb, _ = CyclesScene(scene).paint(Camera((0.0, 0.0, 0.0), math.pi / 2, 0.0, 0.0, 0.9), 64, 48, samples=4)
    assert rgb[14, 20].argmax() == 0 and rgb[34, 44].argmax() == 1
    assert rgb[14, 44].max() < 0.1 and rgb[34, 20].max() < 0.1


def test_the_same_generator_state_gives_the_same_picture_and_older_scenes_are_refused():
    first = CyclesScene(mixed())
    pictures = [first.render(VIEW, 32, 24, np.random.default_rng(3)).rgb for _ in range(2)]
    np.testing.assert_array_equal(*pictures)
    CyclesScene(scene_of(box((1, 1, 1))))
    with pytest.raises(RuntimeError, match="another scene"):
        first.render(VIEW, 32, 24, np.random.default_rng(3))


def test_a_scene_leaves_nothing_in_blender():
    import bpy

    counts = []
    for _ in range(2):
        CyclesScene(mixed()).render(VIEW, 32, 24, np.random.default_rng(0))
        counts.append([len(kind) for kind in (bpy.data.meshes, bpy.data.materials, bpy.data.images, bpy.data.objects)])
    assert counts[0] == counts[1]


def test_a_missing_texture_is_an_os_error():
    scene = scene_of(box((1, 1, 1), Material("image", image="/nowhere/brick.png")))
    with pytest.raises(OSError, match=r"brick\.png"):
        CyclesScene(scene)


def test_a_data_set_is_rendered_in_workers_and_says_nothing(tmp_path):
    script = (
        "import sys; from pro_engine.training.synthetic.generate import render_dataset; "
        "render_dataset(sys.argv[1], 1, (48, 36), seed=3, cameras_per_scene=1, renderer='cycles')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads((tmp_path / "scene_000003.done").read_text())["images"] == 1
    assert (tmp_path / "scene_000003_0.jpg").stat().st_size > 500
