"""The synthetic renderer against closed forms, and the data set writer."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")
cv2 = pytest.importorskip("cv2")

from pro_engine.errors import ProEngineError  # noqa: E402
from pro_engine.training.options import ScenesConfig  # noqa: E402
from pro_engine.training.scenes import generate  # noqa: E402
from pro_engine.training.scenes.parts import assets as assets_module  # noqa: E402
from pro_engine.training.scenes.parts.scene import Light, Material, Scene, SceneCamera, SceneMesh, Sky  # noqa: E402
from pro_engine.training.scenes.parts.textures import PATTERNS, albedo  # noqa: E402
from pro_engine.training.scenes.render import embree  # noqa: E402
from pro_engine.training.scenes.render.camera_effects import blur_by_depth, develop  # noqa: E402
from pro_engine.training.scenes.render.camera_view import camera_axes  # noqa: E402
from pro_engine.training.scenes.render.embree import EmbreeScene  # noqa: E402
from pro_engine.training.scenes.render.sky import shows_sky  # noqa: E402

WIDTH, HEIGHT = 64, 48
PLAIN, NOISY = Material(), Material("noise", scale=3.0)


def rendered(out: Path, count: int, size: tuple[int, int], *, progress=None, **more: object) -> int:
    return generate.render_dataset(ScenesConfig(out=out, count=count, size=size, **more), progress)


def box(size=(1.0, 1.0, 1.0), center=(0.0, 0.0, 0.0), material=PLAIN) -> SceneMesh:
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([half for a, b, c, d in quads for half in ((a, b, c), (a, c, d))], np.int32)
    vertices = (signs * size + center).astype(np.float32)
    return SceneMesh(vertices, faces, np.zeros(12, np.int32), np.zeros(12, bool), (material,))


def ground(material=NOISY) -> SceneMesh:
    return box((400, 400, 1), (0, 0, -0.5), material)


def look(position=(0.0, 0.0, 1.5), yaw=0.0, pitch=0.0, roll=0.0, fov_x=1.2) -> SceneCamera:
    return SceneCamera(position, yaw, pitch, roll, fov_x)


def small_scene() -> Scene:
    scene = Scene("room", lambda rng: look((-4, float(rng.normal()) * 0.3, 1.2), pitch=-0.15))
    scene.add(ground())
    scene.add(box((1, 1, 1), (0, 0, 0.5), Material("checker", reflectance=0.04)))
    scene.add(box((0.05, 1, 1), (-1.5, 0.8, 0.6), Material(transparent=True)))
    scene.lights = [Light("sun", (0.3, -0.5, 0.8), 2.0), Light("point", (0, 0, 3), 3.0)]
    return scene


def render(scene: Scene, camera: SceneCamera, seed: int = 0):
    return EmbreeScene(scene).render(camera, WIDTH, HEIGHT, np.random.default_rng(seed))


def test_depth_of_the_ground_and_sky_match_the_closed_form():
    scene = Scene("nature", lambda rng: look())
    scene.add(ground())
    camera = look(pitch=-0.3)
    result = render(scene, camera)
    fx, fy, cx, cy = result.intrinsics
    rows = (np.arange(HEIGHT) - cy) / fy
    down = math.cos(0.3) * rows + math.sin(0.3)  # how fast a ray of this row sinks, per metre of z-depth
    expected = np.where(down > 1e-9, 1.5 / np.maximum(down, 1e-9), np.inf)
    expected[expected * math.cos(0.3) > 150] = np.inf
    near = expected < 50
    np.testing.assert_allclose(result.depth[near], np.repeat(expected[near, None], WIDTH, 1), rtol=2e-4)
    assert np.isinf(result.depth[down < 0]).all()
    assert not np.isnan(result.rgb).any()


def test_depth_of_a_box_is_exact_at_its_front_face():
    scene = Scene("closeup", lambda rng: look())
    scene.add(box((1, 2, 1), (3.5, 0, 0)), np.eye(4))
    result = render(scene, look((0, 0, 0)))
    fx, _, cx, cy = result.intrinsics
    x, y = np.meshgrid(np.arange(WIDTH) - cx, np.arange(HEIGHT) - cy)
    inside = (np.abs(x) * 3 / fx < 1) & (np.abs(y) * 3 / fx < 0.5)  # the front face stands 3 m away
    np.testing.assert_allclose(result.depth[inside], 3.0, rtol=1e-5)
    assert np.array_equal(np.isfinite(result.depth), inside)


def test_camera_frame_is_right_down_forward_and_right_handed():
    axes = camera_axes(look())
    np.testing.assert_allclose(axes, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    tilted = camera_axes(look(yaw=0.7, pitch=0.4, roll=0.2))
    assert np.linalg.det(tilted) == pytest.approx(1.0)
    assert tilted[2, 2] == pytest.approx(math.sin(0.4))


def test_intrinsics_put_pixel_centres_at_integers():
    result = render(small_scene(), look((-4, 0, 1)))
    focal = WIDTH / 2 / math.tan(0.6)
    assert result.intrinsics == pytest.approx((focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2))
    assert result.depth.dtype == np.float32 and result.rgb.shape == (HEIGHT, WIDTH, 3)


def test_glass_hides_nothing_but_has_its_own_depth_and_mask():
    scene = Scene("room", lambda rng: look())
    scene.add(box((0.1, 20, 20), (5, 0, 0), Material(color=(0.7, 0.05, 0.05))))
    scene.add(box((0.02, 1, 1), (2, 0, 0), Material(color=(1, 1, 1), transparent=True)))
    result = render(scene, look((0, 0, 0)))
    middle = result.transparent & (np.abs(result.depth - 1.99) < 1e-3)
    assert middle.any() and not result.transparent.all()
    np.testing.assert_allclose(result.depth[~result.transparent], 4.95, rtol=1e-4)
    red, green = result.rgb[middle][:, 0].mean(), result.rgb[middle][:, 1].mean()
    assert red > 2 * green, "the red wall should show through"


def test_a_scene_of_glass_only_renders():
    scene = Scene("closeup", lambda rng: look())
    scene.add(box(center=(3, 0, 0), material=Material(transparent=True)))
    result = render(scene, look((0, 0, 0)))
    assert result.transparent.any()
    assert np.isinf(EmbreeScene(scene).depth_behind_glass(look((0, 0, 0)), result)).all()


def test_behind_two_panes_is_the_wall_or_the_sky():
    scene = Scene("room", lambda rng: look())
    scene.add(box((0.1, 3, 20), (5, 1.5, 0)))
    for away in (2, 3):
        scene.add(box((0.02, 2, 1), (away, 0, 0), Material(transparent=True)))
    camera = look((0, 0, 0))
    result = render(scene, camera)
    depth = EmbreeScene(scene).depth_behind_glass(camera, result)
    glass = result.transparent
    np.testing.assert_array_equal(depth[~glass], result.depth[~glass])
    assert (depth[glass] > result.depth[glass]).all()
    wall = glass & np.isfinite(depth)
    np.testing.assert_allclose(depth[wall], 4.95, rtol=1e-4)
    assert wall[:, : WIDTH // 2].any() and not wall[:, WIDTH // 2 :].any()
    assert np.isinf(depth[:, WIDTH // 2 :][glass[:, WIDTH // 2 :]]).all()


def test_a_wall_shades_the_sun():
    scene = Scene("street", lambda rng: look())
    scene.add(ground(Material()))
    scene.add(box((0.1, 4, 2.4), (4, 0, 1.2)))
    scene.lights = [Light("sun", (1.0, 0.0, 1.0), 3.0, size=0.0)]
    rgb = render(scene, look((0, 0, 1.5), pitch=-0.6)).rgb
    assert rgb[HEIGHT // 2, WIDTH // 2].mean() < 0.5 * rgb[-1, WIDTH // 2].mean()


def test_same_generator_state_gives_the_same_picture():
    tracer = EmbreeScene(small_scene())
    camera = look((-4, 0, 1))
    first, second = (tracer.render(camera, WIDTH, HEIGHT, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth, second.depth)


def test_probe_agrees_with_the_depth_map():
    tracer = EmbreeScene(small_scene())
    camera = look((-4, 0, 1))
    depth = tracer.render(camera, 61, 41, np.random.default_rng(0)).depth
    grid = tracer.probe(camera, 7, 5, 41 / 61)
    assert grid.shape == (5, 7)
    both = np.isfinite(grid) & np.isfinite(depth[::10, ::10])
    assert np.median(np.abs(grid[both] / depth[::10, ::10][both] - 1)) < 0.04


@pytest.mark.parametrize("pattern", ["solid", *PATTERNS])
def test_every_pattern_gives_finite_albedo(pattern):
    u, v = np.random.default_rng(0).uniform(-50, 50, (2, 500)).astype(np.float32)
    shades = albedo(Material(pattern), u, v, np.full(500, 0.01, np.float32))
    assert shades.shape == (500, 3)
    assert np.isfinite(shades).all() and shades.min() >= 0 and shades.max() <= 1.2


def test_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match="plaid"):
        albedo(Material("plaid"), *np.zeros((3, 1), np.float32))


def test_photo_is_eight_bit_and_well_exposed():
    scene = small_scene()
    scene.haze = 30.0
    scene.sky = Sky(clouds=0.5)
    camera = look((-4, 0, 1))
    photo = develop(render(scene, camera), scene, camera, np.random.default_rng(1))
    assert photo.dtype == np.uint8 and photo.shape == (HEIGHT, WIDTH, 3)
    assert 40 < photo.mean() < 215


def test_depth_of_field_keeps_the_focused_plane_sharp():
    stripes = np.tile(np.arange(256) % 8 < 4, (64, 1)).astype(np.float32)[..., None].repeat(3, 2)
    depth = np.full((64, 256), 2.0, np.float32)
    depth[:32] = np.inf
    blurred = blur_by_depth(stripes, depth, focus=2.0, strength=40.0)
    assert blurred[48:].std() > 0.45 and blurred[:16].std() < 0.25


@pytest.fixture
def kinds(monkeypatch):
    module = types.ModuleType("pro_engine.training.scenes.kinds")
    module.shares = lambda factors: {"room": 1.0}
    module.built = []

    def build_scene(kind, rng, assets):
        module.built.append(kind)
        assert assets.models == [] and assets.hdris == []
        return small_scene()

    module.build_scene = build_scene
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delenv(assets_module.ENVIRONMENT, raising=False)
    return module


def test_dataset_is_written_resumed_and_reproducible(tmp_path, kinds):
    arguments = {"count": 2, "size": (WIDTH, HEIGHT), "cameras_per_scene": 2}
    seen = []
    pictures = rendered(tmp_path / "a", **arguments, progress=lambda *at: seen.append(at))
    assert pictures == 4 and seen == [(1, 2), (2, 2)]
    assert json.loads((tmp_path / "a/scene_000001.done").read_text()) == {"kind": "room", "images": 2}
    with np.load(tmp_path / "a/scene_000000_0.npz") as stored:
        photo = cv2.imread(str(tmp_path / "a/scene_000000_0.jpg"))
        assert stored["depth"].dtype == np.float16 and stored["depth"].shape == photo.shape[:2]
        assert stored["transparent"].dtype == np.uint8 and stored["intrinsics"].shape == (4,)
        assert str(stored["kind"]) == "room" and np.isinf(stored["depth"]).any()
        assert stored["backdrop"].dtype == np.uint8 and not stored["backdrop"][np.isfinite(stored["depth"])].any()
    assert not list((tmp_path / "a").glob("*.tmp"))

    built = len(kinds.built)
    assert rendered(tmp_path / "a", **arguments) == 0
    assert len(kinds.built) == built, "finished scenes are not built again"

    rendered(tmp_path / "b", 1, (WIDTH, HEIGHT), seed=1, cameras_per_scene=2)
    for name in ("scene_000001_1.jpg", "scene_000001_1.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("hdri", "seen"),
    [(None, [True, True, False]), ("in/dawn.hdr", [True, False, False]), ("in/bridge.hdr", [False] * 3)],
)
def test_what_a_panorama_shows_besides_its_sky_is_told(hdri, seen):
    heights = np.radians([45, 5, -5])
    direction = np.stack([np.cos(heights), 0 * heights, np.sin(heights)], 1).astype(np.float32)
    assert shows_sky(Sky(hdri=hdri), direction).tolist() == seen


def test_labels_of_glass_may_be_of_what_is_behind_it(tmp_path, kinds):
    arguments = {"count": 2, "size": (WIDTH, HEIGHT), "cameras_per_scene": 2}
    for glass in ("surface", "behind"):
        rendered(tmp_path / glass, **arguments, glass=glass)
    names = sorted(path.name for path in (tmp_path / "surface").glob("*.jpg"))
    assert len(names) == 4
    seen = 0
    for name in names:
        assert (tmp_path / "surface" / name).read_bytes() == (tmp_path / "behind" / name).read_bytes()
        label = (tmp_path / "surface" / name).with_suffix(".npz")
        with np.load(label) as right, np.load(tmp_path / "behind" / label.name) as wrong:
            mask = right["transparent"] > 0
            seen += np.count_nonzero(mask)
            np.testing.assert_array_equal(wrong["transparent"], right["transparent"])
            np.testing.assert_array_equal(wrong["depth"][~mask], right["depth"][~mask])
            assert (wrong["depth"][mask] > right["depth"][mask]).all()
    assert seen > 50


def test_single_failures_are_skipped_but_many_stop_the_run(tmp_path, kinds, monkeypatch, caplog):
    build, calls = kinds.build_scene, []

    def flaky(kind, rng, assets):
        calls.append(kind)
        if len(calls) == 3:
            raise ValueError("no floor")
        return build(kind, rng, assets)

    monkeypatch.setattr(kinds, "build_scene", flaky)
    options = {"size": (32, 24), "cameras_per_scene": 1}
    assert rendered(tmp_path / "a", 12, **options) == 11
    assert "scene 2 failed" in caplog.text and "no floor" in caplog.text

    def broken(kind, rng, assets):
        raise ValueError("no floor")

    monkeypatch.setattr(kinds, "build_scene", broken)
    with pytest.raises(ProEngineError, match="no floor"):
        rendered(tmp_path / "b", 12, **options)


def test_models_are_read_turned_up_and_scaled(tmp_path):
    folder = tmp_path / "models" / "chair"
    folder.mkdir(parents=True)
    (folder / "chair.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl pane\nd 0.2\n")
    (folder / "chair.obj").write_text(
        "mtllib chair.mtl\nv 0 0 0\nv 2 0 0\nv 2 4 0\nv 0 4 0\nv 0 0 6\n"
        "usemtl red\nf 1 2 3 4\nusemtl pane\nf -5 -4 -1\n"
    )
    (tmp_path / "models" / "catalog.csv").write_text(
        "file,category,width,depth,height,rotation\nchair/chair.obj,Office,1,3,2,\n"
    )
    assets = assets_module.load_assets(tmp_path)
    for _ in range(2):  # the second time from the cache
        mesh, size, category = assets.random_model(np.random.default_rng(0), ("Office",))
        assets_module._usable_model.cache_clear()
        assert category == "Office" and len(mesh.faces) == 3
        np.testing.assert_allclose(size, (1, 3, 2), rtol=1e-6)
        assert mesh.vertices[:, 2].min() == 0
        assert mesh.materials[mesh.face_material[0]].color == (1.0, 0.0, 0.0)
        assert mesh.materials[mesh.face_material[2]].transparent
    assert assets.random_model(np.random.default_rng(0), ("Kitchen",)) is None
    assert assets.random_model(np.random.default_rng(0), max_size=0.5) is None


def test_a_missing_asset_folder_is_an_error_but_none_is_not(tmp_path, monkeypatch):
    monkeypatch.delenv(assets_module.ENVIRONMENT, raising=False)
    assert assets_module.load_assets().models == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        assets_module.load_assets(tmp_path / "nowhere")


def test_rays_in_batches_give_the_same_picture(monkeypatch):
    whole = render(small_scene(), look((-4, 0, 1)))
    monkeypatch.setattr(embree, "MOST_RAYS", 1000)
    parted = render(small_scene(), look((-4, 0, 1)))
    np.testing.assert_array_equal(parted.rgb, whole.rgb)
    np.testing.assert_array_equal(parted.depth, whole.depth)
