"""Meshes in every format, read back by trimesh: corners, triangles, colours, frame, order and count."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from pro_engine.errors import FileError
from pro_engine.io import mesh as mesh_module
from pro_engine.io.mesh import MESH_SUFFIXES, mesh_side_files, save_mesh
from pro_engine.types import Mesh

FLIP = np.array([1, -1, -1])
STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
METADATA = {"scale": "assumed", "near_m": 1.0, "text": "ü\nnew line"}

OF_TRIMESH = MESH_SUFFIXES - {".usdc", ".usdz"}


def grid(height: int, width: int, *, textured: bool = True) -> Mesh:
    """A grid as a photo of `height` x `width` pixels gives it, its texture the four corners' colours blended."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    z = 2 + 0.1 * x + 0.05 * y
    vertices = np.stack([(x - width / 2) * z / 50, (y - height / 2) * z / 50, z], -1).reshape(-1, 3)
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    uv = np.stack([(x + 0.5) / width, 1 - (y + 0.5) / height], -1).reshape(-1, 2)
    texture = np.stack([x * 255 / width, y * 255 / height, 128 + 0 * x], -1).astype(np.uint8)
    return Mesh(vertices, faces, uv if textured else None, texture if textured else None)


def load(path: Path) -> trimesh.Trimesh:
    return trimesh.load(path, force="mesh", process=False, maintain_order=True)


@pytest.fixture(params=[(2, 2), (2, 9), (5, 7)], ids=str)
def mesh(request: pytest.FixtureRequest) -> Mesh:
    return grid(*request.param)


def assert_same_shape(found: trimesh.Trimesh, mesh: Mesh, flip: np.ndarray[Any, Any]) -> None:
    assert found.vertices.shape == mesh.vertices.shape
    assert np.allclose(found.vertices, mesh.vertices * flip, rtol=1e-7, atol=1e-8)
    assert np.array_equal(found.faces, mesh.faces)
    corners = mesh.vertices * flip
    assert np.allclose(found.bounds, [corners.min(0), corners.max(0)], rtol=1e-7)


def gltf_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    magic, version, total, length, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON")
    size, kind = struct.unpack("<I4s", data[20 + length : 28 + length])
    assert (kind, size) == (b"BIN\0", len(data) - 28 - length)
    assert length % 4 == size % 4 == 0
    return dict(json.loads(data[20 : 20 + length]))


def test_glb(tmp_path: Path, mesh: Mesh) -> None:
    save_mesh(tmp_path / "m.glb", mesh, metadata=METADATA)
    found = load(tmp_path / "m.glb")
    assert_same_shape(found, mesh, FLIP)
    assert mesh.texture is not None
    texture = found.visual.material.baseColorTexture
    assert texture.size == mesh.texture.shape[1::-1]
    assert np.abs(np.asarray(texture).astype(int) - mesh.texture).mean() < 4
    assert np.allclose(found.visual.uv, mesh.uv, atol=1e-7)
    tree = gltf_of(tmp_path / "m.glb")
    assert tree["asset"]["extras"] == METADATA
    material = tree["materials"][0]
    assert material["doubleSided"]
    assert tree["images"][0]["mimeType"] == "image/jpeg"
    assert "KHR_materials_unlit" in material["extensions"]
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    positions = tree["accessors"][1]
    assert np.allclose([positions["min"], positions["max"]], found.bounds)


def test_glb_parts_start_where_the_standard_wants(tmp_path: Path, mesh: Mesh) -> None:
    save_mesh(tmp_path / "m.glb", mesh)
    tree = gltf_of(tmp_path / "m.glb")
    end = 0
    for view in tree["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] >= end
        end = view["byteOffset"] + view["byteLength"]
    assert end <= tree["buffers"][0]["byteLength"]
    assert tree["samplers"][tree["textures"][0]["sampler"]]["wrapS"] == 33071  # the photo's edges do not bleed over


def test_normals_point_at_the_viewer(tmp_path: Path, mesh: Mesh) -> None:
    """Towards +z in the artists' frame, towards -z (the camera) in the camera frame."""
    for suffix, sign in ((".glb", 1), (".obj", 1), (".stl", 1), (".ply", -1)):
        save_mesh(tmp_path / f"m{suffix}", mesh)
        assert (load(tmp_path / f"m{suffix}").face_normals[:, 2] * sign > 0).all(), suffix


def test_obj_with_material_and_texture(tmp_path: Path, mesh: Mesh) -> None:
    save_mesh(tmp_path / "my photo.obj", mesh, metadata=METADATA)
    beside = mesh_side_files(tmp_path / "my photo.obj")
    assert set(tmp_path.iterdir()) == {tmp_path / "my photo.obj", *beside}
    assert all(re.fullmatch(r"my_photo_[0-9a-f]{8}(\.mtl|_texture\.jpg)", path.name) for path in beside)
    found = load(tmp_path / "my photo.obj")
    assert_same_shape(found, mesh, FLIP)
    assert mesh.texture is not None
    assert np.allclose(found.visual.uv, mesh.uv, atol=1e-7)
    assert found.visual.material.image.size == mesh.texture.shape[1::-1]
    assert json.dumps(METADATA) in (tmp_path / "my photo.obj").read_text()


@pytest.mark.parametrize("name", ["my photo.obj", "my  photo.obj", "my_photo.obj", "caf\udce9.obj", " .obj"])
def test_files_beside_an_obj_belong_to_it_alone(tmp_path: Path, mesh: Mesh, name: str) -> None:
    """Names that differ in spaces, or in letters that are not UTF-8, have files of different names."""
    for other in ("my\tphoto.obj", "caf\udce8.obj", "my_photo_.obj"):
        save_mesh(tmp_path / other, mesh)
    others = {path: path.read_bytes() for path in tmp_path.iterdir()}
    save_mesh(tmp_path / name, mesh)
    assert set(tmp_path.iterdir()) - set(others) == {tmp_path / name, *mesh_side_files(tmp_path / name)}
    assert all(path.read_bytes() == data for path, data in others.items())
    assert f"mtllib {mesh_side_files(tmp_path / name)[0].name}\n" in (tmp_path / name).read_text(encoding="utf-8")


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("suffix", sorted(OF_TRIMESH))
def test_ctrl_c_that_a_library_catches_is_not_lost(
    tmp_path: Path, mesh: Mesh, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trimesh.Trimesh.__init__

    def interrupted(*given: Any, **options: Any) -> None:
        with contextlib.suppress(BaseException):  # as trimesh does around its imports
            signal.raise_signal(signal.SIGINT)
        real(*given, **options)

    monkeypatch.setattr(trimesh.Trimesh, "__init__", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        save_mesh(tmp_path / f"m{suffix}", mesh)
    assert signal.getsignal(signal.SIGINT) is before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("heard")
def test_ctrl_c_in_the_uv_of_an_obj_is_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_text = trimesh.util.array_to_string

    def interrupted(array: np.ndarray[Any, Any], **options: Any) -> str:
        if array.shape[1] == 2:
            signal.raise_signal(signal.SIGINT)
        return str(to_text(array, **options))

    monkeypatch.setattr(trimesh.util, "array_to_string", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_mesh(tmp_path / "m.obj", grid(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_obj_holds_eight_decimals(tmp_path: Path) -> None:
    vertices = np.array([[0.1, 1e-20, 123456.789], [3.4e38, 1 / 3, 7e-41], [1, 2, 3]], np.float32)
    save_mesh(tmp_path / "m.obj", Mesh(vertices, np.array([[0, 1, 2]], np.int32)))
    lines = [line.split()[1:] for line in (tmp_path / "m.obj").read_text().splitlines() if line.startswith("v ")]
    assert np.abs(np.array(lines, dtype=np.float64) * FLIP - vertices).max() <= 0.5e-8


def test_obj_without_memory_for_its_uv_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trimesh only logs that, and would leave a mesh without its photo."""
    to_text = trimesh.util.array_to_string

    def no_memory(array: np.ndarray[Any, Any], **options: Any) -> str:
        if array.shape[1] == 2:
            raise MemoryError
        return str(to_text(array, **options))

    monkeypatch.setattr(trimesh.util, "array_to_string", no_memory)
    with pytest.raises(FileError, match=r"m\.obj does not fit into memory"):
        save_mesh(tmp_path / "m.obj", grid(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_obj_does_not_overwrite_the_photo_beside_it(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"the photo")
    save_mesh(tmp_path / "photo.obj", grid(2, 2))
    assert (tmp_path / "photo.jpg").read_bytes() == b"the photo"


def test_ply_has_the_photo_in_its_vertices(tmp_path: Path, mesh: Mesh) -> None:
    save_mesh(tmp_path / "m.ply", mesh, metadata=METADATA)
    found = load(tmp_path / "m.ply")
    assert_same_shape(found, mesh, np.ones(3))
    assert mesh.texture is not None
    assert np.array_equal(found.visual.vertex_colors[:, :3], mesh.texture.reshape(-1, 3))
    assert f"comment pro_engine {json.dumps(METADATA)}\n".encode() in (tmp_path / "m.ply").read_bytes()


def test_stl(tmp_path: Path, mesh: Mesh) -> None:
    save_mesh(tmp_path / "m.stl", mesh)
    found = trimesh.load(tmp_path / "m.stl", process=False)
    assert np.allclose(found.triangles, mesh.vertices[mesh.faces] * FLIP, rtol=1e-7)
    assert (tmp_path / "m.stl").stat().st_size == 84 + 50 * len(mesh.faces)
    records = np.frombuffer((tmp_path / "m.stl").read_bytes()[84:], dtype=STL_TRIANGLE)
    assert np.allclose(np.linalg.norm(records["normal"], axis=1), 1, atol=1e-6)


def test_stl_of_a_flat_triangle_has_no_normal(tmp_path: Path) -> None:
    save_mesh(tmp_path / "m.stl", Mesh(np.ones((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)))
    records = np.frombuffer((tmp_path / "m.stl").read_bytes()[84:], dtype=STL_TRIANGLE)
    assert not records["normal"].any()


@pytest.mark.parametrize("suffix", sorted(OF_TRIMESH))
def test_without_texture(tmp_path: Path, suffix: str) -> None:
    mesh = grid(5, 7, textured=False)
    save_mesh(tmp_path / f"m{suffix}", mesh)
    assert [path.name for path in tmp_path.iterdir()] == [f"m{suffix}"]
    assert load(tmp_path / f"m{suffix}").triangles.shape == (len(mesh.faces), 3, 3)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_uv_without_texture(tmp_path: Path, suffix: str) -> None:
    mesh = grid(5, 7)
    save_mesh(tmp_path / f"m{suffix}", Mesh(mesh.vertices, mesh.faces, mesh.uv))
    found = load(tmp_path / f"m{suffix}")
    assert_same_shape(found, mesh, np.ones(3) if suffix == ".ply" else FLIP)
    if suffix != ".ply":
        assert mesh.uv is not None
        assert np.allclose(found.visual.uv, mesh.uv, atol=1e-7)


def test_a_mesh_without_texture_is_lit(tmp_path: Path) -> None:
    """Unlit and without a photo it would be a white silhouette."""
    save_mesh(tmp_path / "m.glb", grid(2, 2, textured=False))
    (material,) = gltf_of(tmp_path / "m.glb")["materials"]
    assert material["doubleSided"]
    assert "extensions" not in material


def test_glb_ends_at_four_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_module, "_LARGEST_GLB", mesh_module._GLB_JSON + 100)
    with pytest.raises(FileError, match=r"m\.glb would have .* GB"):
        save_mesh(tmp_path / "m.glb", grid(5, 7))
    assert list(tmp_path.iterdir()) == []


def test_texture_is_a_good_jpeg_with_full_colour(tmp_path: Path) -> None:
    """Quality 92, no colour subsampling; the same file in .glb and beside .obj."""
    save_mesh(tmp_path / "m.obj", grid(9, 9))
    save_mesh(tmp_path / "m.glb", grid(9, 9))
    data = (tmp_path / "m_texture.jpg").read_bytes()
    assert data in (tmp_path / "m.glb").read_bytes()
    with Image.open(tmp_path / "m_texture.jpg") as picture:
        assert picture.format == "JPEG"
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}
        assert picture.quantization[0][0] == 3


def test_black_and_single_colours_stay(tmp_path: Path) -> None:
    mesh = grid(3, 3)
    for value in (0, 102):
        save_mesh(tmp_path / "m.ply", Mesh(mesh.vertices, mesh.faces, mesh.uv, np.full((3, 3, 3), value, np.uint8)))
        assert (load(tmp_path / "m.ply").visual.vertex_colors == [value, value, value, 255]).all()


def test_texture_too_large_for_graphics_cards_is_made_smaller(tmp_path: Path) -> None:
    mesh = grid(2, 2)
    wide = Mesh(mesh.vertices, mesh.faces, mesh.uv, np.full((4, 20000, 3), 90, np.uint8))
    save_mesh(tmp_path / "m.obj", wide)
    with Image.open(tmp_path / "m_texture.jpg") as picture:
        assert picture.size == (8192, 2)
        assert picture.getpixel((4000, 1)) == (90, 90, 90)


def test_vertices_that_no_triangle_uses_stay(tmp_path: Path) -> None:
    vertices = np.arange(15, dtype=np.float32).reshape(5, 3) + 1
    for suffix in (".glb", ".obj", ".ply"):
        save_mesh(tmp_path / f"m{suffix}", Mesh(vertices, np.array([[0, 2, 4]], np.int32)))
    assert len(load(tmp_path / "m.ply").vertices) == 5
    assert gltf_of(tmp_path / "m.glb")["accessors"][1]["count"] == 5
    assert (tmp_path / "m.obj").read_text().count("\nv ") == 5
