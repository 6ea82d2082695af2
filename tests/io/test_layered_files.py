"""A photo as two meshes in files: what other programs read of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from pro_engine import FileError, InputError, Intrinsics, LayeredMesh, Mesh, depth_to_layers, save_mesh
from pro_engine.io.splats import save_splats
from pro_engine.io.viewer import save_page

HEIGHT, WIDTH = 40, 60
CAMERA = Intrinsics(50.0, 52.0, 24.0, 22.0, WIDTH, HEIGHT)  # its axis is off the middle
FLIP = np.array([1, -1, -1])
NPM = Path(os.environ.get("PRO_NPM", "none")) / "node_modules"  # packages that CI installs
VALIDATE = """
const file = require("fs").readFileSync(process.argv[1]);
require("gltf-validator").validateBytes(new Uint8Array(file)).then((report) => console.log(JSON.stringify(report)));
"""


@pytest.fixture(scope="module")
def layers() -> LayeredMesh:
    """A red square before a blue wall."""
    depth, image = np.full((HEIGHT, WIDTH), 4, np.float32), np.full((HEIGHT, WIDTH, 3), (0, 0, 250), np.uint8)
    depth[10:30, 20:40], image[10:30, 20:40] = 1, (250, 0, 0)
    return depth_to_layers(depth, CAMERA, image=image, extend=True)


def behind_of(layers: LayeredMesh) -> Mesh:
    assert layers.behind is not None
    return layers.behind


def test_glb_has_both_objects_and_the_camera(layers: LayeredMesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.glb", layers, metadata={"photo": "a.jpg"})
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    assert set(scene.geometry) == {"front", "behind"}
    for name, mesh in (("front", layers.front), ("behind", behind_of(layers))):
        found = scene.geometry[name]
        assert np.array_equal(found.vertices.astype(np.float32), mesh.vertices * FLIP.astype(np.float32))
        assert np.array_equal(found.faces, mesh.faces)
        assert mesh.texture is not None
        assert found.visual.material.baseColorTexture.size == mesh.texture.shape[1::-1]
    data = (tmp_path / "a.glb").read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (camera,) = tree["cameras"]
    assert camera["perspective"]["yfov"] == pytest.approx(2 * np.arctan(HEIGHT / 2 / CAMERA.fy))
    assert tree["asset"]["extras"]["camera"]["cx"] == CAMERA.cx
    assert [node["name"] for node in tree["nodes"] if "camera" in node] == ["camera"]


@pytest.mark.skipif(
    not (shutil.which("node") and (NPM / "gltf-validator").is_dir()),
    reason="no gltf-validator here; let PRO_NPM name a folder into which npm installed it",
)
@pytest.mark.parametrize("part", ["both", "front", "untextured"])
def test_khronos_has_nothing_to_say_of_a_glb(layers: LayeredMesh, tmp_path: Path, part: str) -> None:
    bare = replace(layers.front, texture=None, uv=None)
    save_mesh(tmp_path / "a.glb", {"both": layers, "front": layers.front, "untextured": bare}[part])
    command = ["node", "-e", VALIDATE, str(tmp_path / "a.glb")]
    paths = {**os.environ, "NODE_PATH": str(NPM)}
    report = json.loads(subprocess.run(command, env=paths, capture_output=True, check=True, timeout=300).stdout)
    assert report["info"]["totalVertexCount"] > 1000
    told = [message for message in report["issues"]["messages"] if message["severity"] < 2]  # 0 error, 1 warning
    assert told == []


def test_obj_has_two_objects_with_a_texture_each(layers: LayeredMesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.obj", layers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mtl", "a.obj", "a_behind.jpg", "a_front.jpg"]
    text = (tmp_path / "a.obj").read_text("utf-8")
    assert re.findall(r"^(?:o|usemtl) (.*)$", text, re.MULTILINE) == ["front", "a_front", "behind", "a_behind"]
    assert text.count("\nf ") == len(layers.front.faces) + len(behind_of(layers).faces)


def test_ply_tells_the_layer_of_each_vertex(layers: LayeredMesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.ply", layers)
    found = trimesh.load(tmp_path / "a.ply", process=False)
    layer = found.metadata["_ply_raw"]["vertex"]["data"]["layer"].reshape(-1)
    assert np.array_equal(found.vertices[layer == 0].astype(np.float32), layers.front.vertices)
    assert np.array_equal(found.vertices[layer == 1].astype(np.float32), behind_of(layers).vertices)
    assert len(found.faces) == len(layers.front.faces) + len(behind_of(layers).faces)


@pytest.mark.parametrize("suffix", [".usdc", ".usdz"])
def test_usd_opens_with_layers_materials_and_the_shifted_camera(
    layers: LayeredMesh, tmp_path: Path, suffix: str
) -> None:
    usd = pytest.importorskip("pxr.Usd")
    from pxr import UsdGeom, UsdShade

    save_mesh(tmp_path / f"a{suffix}", layers)
    stage = usd.Stage.Open(str(tmp_path / f"a{suffix}"))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdGeom.GetStageUpAxis(stage) == "Y"
    for name, mesh in (("front", layers.front), ("behind", behind_of(layers))):
        prim = stage.GetPrimAtPath(f"/photo/{name}")
        points = np.array(UsdGeom.Mesh(prim).GetPointsAttr().Get())
        assert np.array_equal(points, mesh.vertices * FLIP.astype(np.float32))
        material = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0]
        picture = stage.GetPrimAtPath(f"{material.GetPath()}/texture").GetAttribute("inputs:file").Get()
        assert picture.path == f"a_{name}.jpg" and picture.resolvedPath
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/photo/camera")).GetCamera()
    window = camera.frustum.window
    left, bottom = window.min / 1.0
    right, top = window.max / 1.0
    scale = camera.focalLength / camera.horizontalAperture * (right - left)
    columns = np.array([-0.5 - CAMERA.cx, WIDTH - 0.5 - CAMERA.cx]) / CAMERA.fx
    rows = np.array([CAMERA.cy - HEIGHT + 0.5, CAMERA.cy + 0.5]) / CAMERA.fy
    assert np.allclose([left, right], columns * scale, atol=1e-5)
    assert np.allclose([bottom, top], rows * scale, atol=1e-5)


def test_stl_has_the_front_alone(layers: LayeredMesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.stl", layers)
    assert len(trimesh.load(tmp_path / "a.stl").faces) == len(layers.front.faces)


def test_splats_lie_flat_on_every_cell_of_both_layers(layers: LayeredMesh, tmp_path: Path) -> None:
    save_splats(tmp_path / "a.ply", layers, metadata={"photo": "a"})
    data = (tmp_path / "a.ply").read_bytes()
    header, _, body = data.partition(b"end_header\n")
    names = re.findall(rb"property float (\w+)", header)
    rows = np.frombuffer(body, np.float32).reshape(-1, len(names))
    column = {name.decode(): rows[:, k] for k, name in enumerate(names)}
    assert len(rows) == (len(layers.front.faces) + len(behind_of(layers).faces)) // 2
    assert np.isfinite(rows).all()
    z = column["z"]
    assert z.min() == 1 and z.max() < 4.1
    front = rows[-len(layers.front.faces) // 2 :]
    near = front[np.abs(front[:, 2] - 1) < 1e-6]
    assert (near[:, 6] > 1).sum() > 350, "red: f_dc_0 of 250 / 255"
    turn = rows[:, 13:17]
    assert np.allclose(np.linalg.norm(turn, axis=1), 1, atol=1e-5)
    w, x, y, z = turn.T  # where the narrow axis points, z turned by the quaternion
    axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x**2 + y**2)], axis=1)
    normals = rows[:, 3:6]
    assert np.allclose(np.abs((axis * normals).sum(axis=1)), 1, atol=1e-4)
    assert (column["scale_2"] < column["scale_0"]).all()


def test_splats_of_a_steep_surface_are_long_in_depth_alone(tmp_path: Path) -> None:
    """A plane that goes away to the right by 4 % a pixel: each Gaussian is a pixel wide across, and that long along."""
    depth = np.tile(np.float32(1.04) ** np.arange(WIDTH, dtype=np.float32), (HEIGHT, 1))
    plane = depth_to_layers(depth, CAMERA, image=np.zeros((HEIGHT, WIDTH, 3), np.uint8), edge_rtol=0.1)
    save_splats(tmp_path / "a.ply", plane)
    _, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, np.float32).reshape(-1, 17).astype(float)
    w, x, y, z = rows[:, 13:17].T
    along = np.stack([1 - 2 * (y**2 + z**2), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)  # x turned
    across = np.stack([2 * (x * y - w * z), 1 - 2 * (x**2 + z**2), 2 * (y * z + w * x)], axis=1)
    middle = np.abs(rows[:, 1] / rows[:, 2]) < 0.1  # where the slope and the rays lie in one plane, nearly
    middle &= (rows[:, 2] > 1.01) & (rows[:, 2] < 0.99 * depth.max())  # the surface ends level
    assert np.abs(along[middle, 2]).min() > 0.6 and np.abs(across[middle, 1]).min() > 0.95
    sides = np.exp(rows[middle, 10:12]) / rows[middle, 2:3] / 0.55
    assert sides[:, 1] == pytest.approx(1 / CAMERA.fy, rel=0.1)
    assert sides[:, 0].min() > 1.7 / CAMERA.fx and (sides[:, 0] < 0.08).all()


def test_splats_of_bent_and_steep_cells_are_a_pixel_wide_for_the_camera(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(2, 2.09, (HEIGHT, WIDTH)).astype(np.float32)
    bent = depth_to_layers(depth, CAMERA, image=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    save_splats(tmp_path / "a.ply", bent)
    _, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, np.float32).reshape(-1, 17).astype(float)
    w, x, y, z = rows[:, 13:17].T
    turn = np.array(
        [
            [1 - 2 * (y**2 + z**2), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x**2 + z**2), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x**2 + y**2)],
        ]
    ).transpose(2, 0, 1)
    slopes = np.zeros((len(rows), 2, 3))  # of columns and rows by x, y and z, as viewers take them
    slopes[:, 0, 0], slopes[:, 1, 1] = CAMERA.fx / rows[:, 2], CAMERA.fy / rows[:, 2]
    slopes[:, :, 2] = -rows[:, :2] * (CAMERA.fx, CAMERA.fy) / rows[:, 2:3] ** 2
    sides = np.linalg.svd(slopes @ turn * np.exp(rows[:, None, 10:13]), compute_uv=False)
    assert sides == pytest.approx(0.55, abs=0.02)
    assert np.exp(rows[:, 10] - rows[:, 11]).max() > 1.5


@pytest.mark.parametrize(("save", "name"), [(save_splats, "a.obj"), (save_page, "a.htm")])
def test_other_suffixes_are_refused(layers: LayeredMesh, tmp_path: Path, save: object, name: str) -> None:
    more = {"reveal": 0.05} if save is save_page else {}
    with pytest.raises(FileError):
        save(tmp_path / name, layers, **more)  # type: ignore[operator]
    with pytest.raises(InputError):
        save(tmp_path / name.replace("obj", "ply").replace("htm", "html"), layers.front, **more)  # type: ignore[operator]


def page_state(browser: str, page: Path, picture: Path, where: str) -> str:
    """What the page says of itself once it has been looked at; it is asked again while it still loads."""
    state = "nothing"
    for seconds in (5, 15, 45):
        flags = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--hide-scrollbars"]
        flags += ["--enable-unsafe-swiftshader", "--window-size=500,400", f"--virtual-time-budget={seconds * 1000}"]
        profile = picture.with_suffix(".profile")
        flags += [f"--user-data-dir={profile}", f"--screenshot={picture}", "--dump-dom", f"{page.as_uri()}{where}"]
        done = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=300, check=False)
        state = next(iter(re.findall(r'data-state="(\w+)"', done.stdout)), "nothing")
        if state != "nothing":
            break
    return state


@pytest.mark.skipif(not (shutil.which("chromium") or shutil.which("google-chrome")), reason="no Chromium here")
def test_a_browser_shows_the_page_with_the_camera_aside(layers: LayeredMesh, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser is not None
    page, picture = tmp_path / "a.view.html", tmp_path / "shot.png"
    save_page(page, layers, reveal=0.05, metadata={"photo": "</script>.jpg"})
    assert "http" not in page.read_text("utf-8").replace("https://www.w3.org", "")
    assert page_state(browser, page, picture, "#x=1") == "shown"
    colours = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    red = (colours[..., 0] > 150) & (colours[..., 2] < 100)
    blue = (colours[..., 2] > 150) & (colours[..., 0] < 100)
    assert red.sum() > 5000 and blue.sum() > 40000
    rows, columns = np.nonzero(red)
    middle = colours[rows.min() : rows.max(), columns.min() - 12 : columns.max() + 12]
    assert (middle.sum(axis=2) > 150).all(), "no gap beside the square"
