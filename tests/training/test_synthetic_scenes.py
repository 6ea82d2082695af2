"""Scene builders: every kind builds sound, repeatable geometry with and without assets, and places its cameras."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.training.scenes.kinds import KINDS, build_scene, shares
from pro_engine.training.scenes.parts.builder import MeshBuilder, facing, panel, placement, rotation
from pro_engine.training.scenes.parts.dice import Dice
from pro_engine.training.scenes.parts.random_materials import Palette
from pro_engine.training.scenes.parts.scene import Material, Scene, SceneCamera, SceneMesh
from pro_engine.training.scenes.parts.stacking import Heap
from pro_engine.training.scenes.parts.textures import PATTERNS
from pro_engine.training.scenes.things.flat_pictures import mural

RED, BLUE = Material(color=(1.0, 0.0, 0.0)), Material(color=(0.0, 0.0, 1.0))
MOST_TRIANGLES = 500_000


class BoxAssets:
    """One model, one texture and one sky, none of which has to exist."""

    def __init__(self):
        self.textures = ["wood.jpg"]
        self.hdris = ["park.exr", "lobby.exr"]

    def random_model(self, rng, categories=None, max_size=None):
        mb = MeshBuilder()
        mb.box((0, 0, 0.25), (0.5, 0.5, 0.5), RED)
        return mb.build(), np.array([0.5, 0.5, 0.5], np.float32), "Miscellaneous"


def box_mesh(size=(1.0, 1.0, 1.0), material=RED) -> SceneMesh:
    mb = MeshBuilder()
    mb.box((0, 0, 0), size, material)
    return mb.build()


def check_mesh(mesh: SceneMesh) -> None:
    count = len(mesh.faces)
    assert np.isfinite(mesh.vertices).all()
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.shape == (count, 3)
    assert mesh.face_material.shape == mesh.smooth.shape == (count,)
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    assert mesh.face_material.min() >= 0
    assert mesh.face_material.max() < len(mesh.materials)
    assert mesh.uv is None or mesh.uv.shape == (count, 3, 2)
    for material in mesh.materials:
        assert material.pattern in ("solid", *PATTERNS)
        assert all(0 <= part <= 1 for part in (*material.color, *material.color2))


def check_scene(scene: Scene, kind: str) -> None:
    assert scene.kind == kind
    assert scene.lights
    assert all(light.kind in ("sun", "point", "area") and light.power >= 0 for light in scene.lights)
    assert 0 < sum(len(item.mesh.faces) for item in scene.instances) < MOST_TRIANGLES
    for mesh in {id(item.mesh): item.mesh for item in scene.instances}.values():
        check_mesh(mesh)
    for item in scene.instances:
        assert np.isfinite(item.matrix).all()
        assert abs(np.linalg.det(item.matrix[:3, :3].astype(float))) > 1e-12


def test_shares_are_those_of_a_whole():
    assert sum(KINDS.values()) == pytest.approx(1.0)


def test_a_kind_can_be_more_frequent_than_usual():
    usual, more = shares(), shares(["office=3", "room=0"])
    assert sum(more.values()) == pytest.approx(1.0)
    assert more["room"] == 0.0
    assert more["office"] / more["street"] == pytest.approx(3 * usual["office"] / usual["street"])
    with pytest.raises(InputError, match="leaves no kind"):
        shares([f"{kind}=0" for kind in KINDS])


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"'moon'.*room"):
        build_scene("moon", np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_sound(kind):
    for seed in range(4):
        scene = build_scene(kind, np.random.default_rng(seed))
        check_scene(scene, kind)
        rng = np.random.default_rng(seed)
        for _ in range(20):
            camera = scene.propose(rng)
            assert np.isfinite([*camera.position, camera.yaw, camera.pitch, camera.roll]).all()
            assert abs(camera.pitch) < math.pi / 2
            assert math.radians(20) < camera.fov_x < math.radians(110)
            assert camera.min_distance > 0


@pytest.mark.parametrize("kind", KINDS)
def test_assets_are_used_when_present(kind):
    check_scene(build_scene(kind, np.random.default_rng(3), BoxAssets()), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_scene(kind):
    first, second = (build_scene(kind, np.random.default_rng(5)) for _ in range(2))
    assert len(first.instances) == len(second.instances)
    for one, other in zip(first.instances, second.instances, strict=True):
        np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
        np.testing.assert_array_equal(one.mesh.faces, other.mesh.faces)
        np.testing.assert_array_equal(one.matrix, other.matrix)
        assert (one.materials or one.mesh.materials) == (other.materials or other.mesh.materials)
    assert first.lights == second.lights
    assert first.sky == second.sky
    cameras = [scene.propose(np.random.default_rng(1)) for scene in (first, second)]
    assert cameras[0] == cameras[1]


def test_room_cameras_stay_inside():
    for seed in range(4):
        scene = build_scene("room", np.random.default_rng(seed))
        shell = np.concatenate([item.mesh.vertices for item in scene.instances if len(item.mesh.faces)])
        rng = np.random.default_rng(seed)
        for _ in range(20):
            x, y, z = scene.propose(rng).position
            assert 0 < z < shell[:, 2].max()
            assert abs(x) < np.abs(shell[:, 0]).max()
            assert abs(y) < np.abs(shell[:, 1]).max()


def test_open_air_skies_have_no_roof():
    for seed in range(30):
        sky = Palette(np.random.default_rng(seed), BoxAssets(), pool=1).sky(hdri_share=1.0, open_air=True)
        assert sky.hdri == "park.exr"


def test_builder_merges_parts():
    mb = MeshBuilder()
    mb.box((0, 0, 0.5), (1, 1, 1), RED)
    with mb.at(placement(10, 0, 0)), mb.at(placement(0, 0, 2)):
        mb.sphere((0, 0, 0), 1.0, BLUE)
    mesh = mb.build()
    check_mesh(mesh)
    assert mesh.materials == (RED, BLUE)
    assert not mesh.smooth[:12].any()
    assert mesh.smooth[12:].all()
    ball = mesh.vertices[8:]
    np.testing.assert_allclose((ball.min(0) + ball.max(0)) / 2, (10, 0, 2), atol=1e-6)
    copy = MeshBuilder()
    copy.merge(mesh)
    assert len(copy.build().faces) == len(mesh.faces)


def test_wall_leaves_out_its_holes():
    mb = MeshBuilder()
    mb.wall((0, 0, 0), (1, 0, 0), 4.0, 2.5, [(1.0, 2.0, 0.0, 2.0)], RED)
    mesh = mb.build()
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx(4 * 2.5 - 2.0, abs=1e-5)


def test_facing_turns_the_front():
    for normal in ((1.0, 0.0), (0.0, 1.0), (-0.6, 0.8)):
        front = rotation("z", facing(normal))[:3, :3] @ (0, -1, 0)
        np.testing.assert_allclose(front[:2], normal, atol=1e-9)


def test_panel_shows_its_picture_once():
    mesh = panel(2.0, 1.0, RED)
    check_mesh(mesh)
    assert mesh.uv is not None
    np.testing.assert_array_equal([mesh.uv.min(), mesh.uv.max()], [0, 1])


def test_tubes_survive_points_that_coincide():
    mb = MeshBuilder()
    mb.tube([(0, 0, 0), (0, 0, 0), (0, 0, 1)], 0.1, RED)
    mb.cylinders([(0, 0, 0)], [(0, 0, 0)], 0.1, 0.1, RED)
    check_mesh(mb.build())


def test_mural_is_flat_and_keeps_to_its_panel():
    def unused(rng):
        raise AssertionError

    scene = Scene("test", unused)
    scene.add(box_mesh((1, 1, 1)), placement(4, 0, 0))
    scene.add(box_mesh((0.5, 40, 40), BLUE), placement(9, 0, 0))  # fills the view and is cut at its borders
    camera = SceneCamera((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, math.radians(60))
    mesh = mural(scene, camera, 2.0, 1.5)
    check_mesh(mesh)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    np.testing.assert_allclose((low[0], low[2], high[0], high[2]), (-1, 0, 1, 1.5), atol=1e-5)
    assert high[1] - low[1] <= 0.0031
    red = np.array([material.color[0] > material.color[2] for material in mesh.materials])[mesh.face_material]
    box = mesh.vertices[mesh.faces[red]]
    near = 3.5 * math.tan(math.radians(30))  # half the width of the view at the box's near face
    assert np.abs(box[..., 0]).max() == pytest.approx(0.5 / near, abs=1e-4)
    behind = replace(camera, yaw=math.pi)
    assert all(material.color[0] <= material.color[2] for material in mural(scene, behind, 2.0, 1.5).materials)


def test_things_of_a_heap_rest_on_each_other():
    heap = Heap(Dice(np.random.default_rng(0)), 0.36, 0.36, z=0.7)
    tile = box_mesh((0.3, 0.3, 0.1))
    tops = [heap.lay(tile, np.eye(4), tries=400)[2, 3] + 0.05 for _ in range(3)]
    np.testing.assert_allclose(tops, (0.8, 0.9, 1.0), atol=1e-6)
    assert heap.lay(tile, np.eye(4), tries=400, highest=1.05) is None
    assert heap.lay(box_mesh((0.4, 0.1, 0.1)), np.eye(4), tries=400) is None, "wider than the ground of the heap"


def test_nothing_is_laid_on_a_blocked_place():
    heap = Heap(Dice(np.random.default_rng(0)), 1.0, 1.0)
    heap.block((-0.5, 0.1), (-0.5, 0.5))
    places = [heap.lay(box_mesh((0.1, 0.1, 0.1)), np.eye(4)) for _ in range(40)]
    rights = [place[0, 3] for place in places if place is not None]
    assert rights and min(rights) - 0.05 > 0.1 - 0.012
