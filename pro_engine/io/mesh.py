"""Meshes in files: .glb and .obj with the photo as texture, .ply with coloured vertices, .stl for printing.

Two frames are in use, chosen by who reads the format:
- .glb, .obj and .stl are for artists and printers: x right, y up, z towards the viewer (glTF 2.0; what Blender's
  importers of .glb and .obj expect), so y and z change sign. In a slicer the relief of an .stl lies on its back.
- .ply is for measuring, beside clouds and poses: the camera frame as it is, x right, y down, z forward.
Both are right-handed, so triangles keep their corners' order. Lengths are metres; an .stl does not say so, and slicers
take its numbers for millimetres. Vertices and faces keep their order and count in every format.

The formats are written here, in chunks, rather than through a mesh library, whose float64 copies need several times the
memory of the mesh: a photo of 8 megapixels makes 16 million triangles.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pro_engine.errors import FileError, InputError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.cloud import check_points
from pro_engine.io.image import check_image
from pro_engine.io.paths import PathLike, as_path, checked_metadata, writer_for
from pro_engine.io.ply import chunks, write_ply
from pro_engine.types import ImageArray, Mesh

__all__ = ["MESH_SUFFIXES", "save_mesh"]

_TO_Y_UP = np.array([1, -1, -1], dtype=np.float32)
_LARGEST_TEXTURE = 16384
_TEXTURE_QUALITY = 92
_GREY = np.array([[200, 200, 200]], dtype=np.uint8)

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_UINT32, _FLOAT32 = 5125, 5126
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071


def save_mesh(path: PathLike, mesh: Mesh, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a triangle mesh atomically, in the format of the suffix; the module's docstring tells the frames.

    | suffix | colours                                             | metadata               |
    |--------|-----------------------------------------------------|------------------------|
    | .glb   | the texture as JPEG inside, unlit, both sides shown | asset.extras           |
    | .obj   | NAME.mtl and NAME_texture.jpg beside it             | a comment              |
    | .ply   | one a vertex, looked up in the texture              | a comment              |
    | .stl   | none                                                | none: there is no room |

    A texture with a side above 16384 pixels, more than graphics cards take, is made smaller.

    Args:
        path: a file with one of these suffixes.
        mesh: vertices (V, 3) float32 metres in the camera frame, faces (F, 3) int32, uv (V, 2) with v upwards or None,
            texture (H, W, 3) uint8 or None. F is at least 1.
        metadata: further facts to store, plain JSON.

    Raises:
        FileError: an unknown suffix, more than 4 GB for a .glb, or the system refuses.
        InputError: arrays of another shape or type, no faces, faces that name missing vertices, a texture without uv,
            or vertices that are not finite.
    """
    target = as_path(path)
    writer = _WRITERS[writer_for(target, _WRITERS, "a mesh")]
    _check_mesh(mesh)
    facts = checked_metadata(metadata)
    with atomic_path(target) as temporary:
        writer(temporary, mesh, facts, target)


def _check_mesh(mesh: Mesh) -> None:
    if not isinstance(mesh, Mesh):
        raise InputError(f"The mesh is a {type(mesh).__name__}; give a Mesh, such as depth_to_mesh returns.")
    check_points(mesh.vertices, "The mesh's vertices")
    faces, uv = mesh.faces, mesh.uv
    if not isinstance(faces, np.ndarray) or faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        found = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
        raise InputError(f"The mesh's faces are {found}; give an int32 array of shape (F, 3).")
    if len(faces) == 0:
        raise InputError("The mesh has no faces; check that the depth map has known values within the range.")
    if faces.min() < 0 or faces.max() >= len(mesh.vertices):
        raise InputError(
            f"The mesh's faces name vertices {faces.min()} to {faces.max()}; give indices from 0 to "
            f"{len(mesh.vertices) - 1}."
        )
    if uv is not None:
        expected = (len(mesh.vertices), 2)
        if not isinstance(uv, np.ndarray) or uv.shape != expected or uv.dtype.kind != "f" or not np.isfinite(uv).all():
            found = f"{uv.dtype} {uv.shape}" if isinstance(uv, np.ndarray) else type(uv).__name__
            raise InputError(f"The mesh's uv is {found}; give finite float32 of shape {expected}, one pair a vertex.")
    if mesh.texture is not None:
        check_image(mesh.texture, "The mesh's texture")
        if uv is None:
            raise InputError("The mesh has a texture but no uv; give uv of shape (V, 2), or no texture.")


def _texture_jpeg(texture: ImageArray) -> bytes:
    """The texture as a JPEG file, made smaller where graphics cards need it."""
    picture = Image.fromarray(texture)
    picture.thumbnail((_LARGEST_TEXTURE, _LARGEST_TEXTURE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_TEXTURE_QUALITY, subsampling=0)
    return buffer.getvalue()


# .glb (Khronos glTF 2.0, section 4)


def _write_glb(path: Path, mesh: Mesh, metadata: dict[str, Any], target: Path) -> None:
    image = None if mesh.texture is None else _texture_jpeg(mesh.texture)
    body: list[tuple[int, Callable[[IO[bytes]], None]]] = [
        (mesh.faces.size * 4, lambda file: _write_chunks(file, mesh.faces, lambda part: part.astype("<u4"))),
        (mesh.vertices.size * 4, lambda file: _write_chunks(file, mesh.vertices, _y_up)),
    ]
    uv = mesh.uv
    if uv is not None:
        body.append((uv.size * 4, lambda file: _write_chunks(file, uv, _v_downwards)))
    if image is not None:
        body.append((len(image), lambda file: _write_bytes(file, image)))
    starts = np.cumsum([0, *(_padded(size) for size, _ in body)]).tolist()
    text = json.dumps(_gltf(mesh, metadata, [size for size, _ in body], starts), separators=(",", ":")).encode()
    text += b" " * (_padded(len(text)) - len(text))
    total = 12 + 8 + len(text) + 8 + starts[-1]
    if total >= 1 << 32:
        raise FileError(f"{target} would have {total / 1e9:.1f} GB, and .glb ends at 4 GB; use .ply or thin it out.")
    with open(path, "wb") as file:
        file.write(b"glTF" + np.array([2, total, len(text)], dtype="<u4").tobytes() + b"JSON" + text)
        file.write(np.array([starts[-1]], dtype="<u4").tobytes() + b"BIN\0")
        for (size, write), start, end in zip(body, starts, starts[1:], strict=False):
            write(file)
            file.write(b"\0" * (end - start - size))


def _padded(size: int) -> int:
    """`size` rounded up to a multiple of 4, where every part of a .glb starts."""
    return -(-size // 4) * 4


def _write_chunks(file: IO[bytes], array: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    for rows in chunks(len(array)):
        file.write(np.ascontiguousarray(convert(array[rows])).data)


def _write_bytes(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def _y_up(xyz: NDArray[Any]) -> NDArray[np.float32]:
    """(n, 3) of the camera frame in the artists' frame: x right, y up, z towards the viewer."""
    return xyz.astype("<f4") * _TO_Y_UP


def _v_downwards(uv: NDArray[Any]) -> NDArray[np.float32]:
    """(n, 2) with v = 0 at the top, as glTF counts."""
    flipped = uv.astype("<f4")
    flipped[:, 1] = 1 - flipped[:, 1]
    return flipped


def _gltf(mesh: Mesh, metadata: dict[str, Any], sizes: list[int], starts: list[int]) -> dict[str, Any]:
    """The JSON part: buffer views in the order indices, positions, uv, image."""
    corners = [_y_up(corner[np.newaxis])[0] for corner in (mesh.vertices.min(axis=0), mesh.vertices.max(axis=0))]
    accessors: list[dict[str, Any]] = [
        {"bufferView": 0, "componentType": _UINT32, "count": mesh.faces.size, "type": "SCALAR"},
        {"bufferView": 1, "componentType": _FLOAT32, "count": len(mesh.vertices), "type": "VEC3"},
    ]
    accessors[1] |= {"min": np.min(corners, axis=0).tolist(), "max": np.max(corners, axis=0).tolist()}
    attributes = {"POSITION": 1}
    if mesh.uv is not None:
        accessors.append({"bufferView": 2, "componentType": _FLOAT32, "count": len(mesh.uv), "type": "VEC2"})
        attributes["TEXCOORD_0"] = 2
    views: list[dict[str, Any]] = [
        {"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in zip(starts, sizes, strict=False)
    ]
    for view in views[: len(accessors)]:
        view["target"] = _ARRAY_BUFFER
    views[0]["target"] = _ELEMENT_ARRAY_BUFFER
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "pro-engine", **({"extras": metadata} if metadata else {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "photo"}],
        "meshes": [{"name": "photo", "primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}],
        # A photo already holds its light. Viewers without the extension show a matt surface.
        "materials": [
            {
                "name": "photo",
                "pbrMetallicRoughness": surface,
                "doubleSided": True,
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "extensionsUsed": ["KHR_materials_unlit"],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": starts[-1]}],
    }
    if mesh.texture is not None:
        surface["baseColorTexture"] = {"index": 0}
        filters = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR}
        tree["samplers"] = [{**filters, "wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}]
        tree["images"] = [{"bufferView": len(views) - 1, "mimeType": "image/jpeg", "name": "photo"}]
        tree["textures"] = [{"source": 0, "sampler": 0}]
    return tree


# .obj with .mtl and texture


def _write_obj(path: Path, mesh: Mesh, metadata: dict[str, Any], target: Path) -> None:
    stem = "_".join(target.stem.split()) or "mesh"  # spaces in a name end it for many readers
    material = target.with_name(f"{stem}.mtl")
    texture = target.with_name(f"{stem}_texture.jpg")
    if mesh.texture is None:
        _write_obj_text(path, mesh, metadata, material=None)
        return
    with atomic_path(material) as new_material, atomic_path(texture) as new_texture:
        new_texture.write_bytes(_texture_jpeg(mesh.texture))
        lines = ["newmtl photo", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {texture.name}", ""]
        new_material.write_text("\n".join(lines), encoding="utf-8")
        _write_obj_text(path, mesh, metadata, material=material.name)


def _write_obj_text(path: Path, mesh: Mesh, metadata: dict[str, Any], *, material: str | None) -> None:
    corner = "%d" if mesh.uv is None else "%d/%d"
    repeats = 1 if mesh.uv is None else 2
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("# x right, y up, z towards the viewer; metres\n")
        if metadata:
            file.write(f"# pro_engine {json.dumps(metadata)}\n")
        if material is not None:
            file.write(f"mtllib {material}\n")
        _write_lines(file, mesh.vertices, _y_up, "v %.9g %.9g %.9g\n")
        if mesh.uv is not None:
            _write_lines(file, mesh.uv, lambda part: part, "vt %.9g %.9g\n")
        if material is not None:
            file.write("usemtl photo\n")
        _write_lines(
            file,
            mesh.faces,
            lambda part: np.repeat(part.astype(np.int64) + 1, repeats, axis=1),
            f"f {corner} {corner} {corner}\n",
        )


def _write_lines(
    file: IO[str], array: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[Any]], line: str
) -> None:
    """One formatted line for each row; one format operation a chunk, many times faster than one a row."""
    for rows in chunks(len(array)):
        values = convert(array[rows])
        file.write((line * len(values)) % tuple(values.ravel().tolist()))


# .ply and .stl


def _write_ply(path: Path, mesh: Mesh, metadata: dict[str, Any], _target: Path) -> None:
    colours = None if mesh.texture is None or mesh.uv is None else _vertex_colours(mesh.texture, mesh.uv)
    write_ply(path, mesh.vertices, colours, mesh.faces, metadata)


def _vertex_colours(texture: ImageArray, uv: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """(n, 3) uint8 for each chunk of vertices: the texture's pixel in which uv lies."""
    height, width = texture.shape[:2]
    for rows in chunks(len(uv)):
        columns = np.clip(uv[rows, 0] * width, 0, width - 1).astype(np.intp)
        lines = np.clip((1 - uv[rows, 1]) * height, 0, height - 1).astype(np.intp)
        yield texture[lines, columns]


_STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def _write_stl(path: Path, mesh: Mesh, _metadata: dict[str, Any], _target: Path) -> None:
    with open(path, "wb") as file:
        file.write(b"pro-engine; x right, y up, z towards the viewer; metres".ljust(80))
        file.write(np.array([len(mesh.faces)], dtype="<u4").tobytes())
        for rows in chunks(len(mesh.faces)):
            corners = mesh.vertices[mesh.faces[rows]].astype(np.float32) * _TO_Y_UP
            normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            length = np.linalg.norm(normal, axis=1, keepdims=True)
            triangles = np.zeros(len(corners), dtype=_STL_FACE)
            triangles["corners"] = corners
            triangles["normal"] = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
            triangles.tofile(file)


_WRITERS: dict[str, Callable[[Path, Mesh, dict[str, Any], Path], None]] = {
    ".glb": _write_glb,
    ".obj": _write_obj,
    ".ply": _write_ply,
    ".stl": _write_stl,
}

MESH_SUFFIXES = frozenset(_WRITERS)
"""Suffixes, in lower case, of the files that `save_mesh` writes."""
