"""Meshes in files: .glb and .obj with the photo as texture, .ply with coloured vertices, .stl for printing.

Two frames are in use, chosen by who reads the format:
- .glb, .obj and .stl are for artists and printers: x right, y up, z towards the viewer (glTF 2.0; what Blender's
  importers of .glb and .obj expect), so y and z change sign. In a slicer the relief of an .stl lies on its back.
- .ply is for measuring, beside clouds and poses: the camera frame as it is, x right, y down, z forward.
Both are right-handed, so triangles keep their corners' order. Lengths are metres; an .stl does not say so, and slicers
take its numbers for millimetres. Vertices and faces keep their order and count in every format.

trimesh writes every format. What is left here: the frames, the photo as JPEG, where the metadata goes, and putting the
files of an .obj in place together.
"""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pro_engine.errors import FileError, InputError
from pro_engine.geometry.checks import check_image
from pro_engine.io.atomic import atomic_path
from pro_engine.io.cloud import check_points, with_alpha, write_ply
from pro_engine.io.interrupts import interruptible
from pro_engine.io.paths import PathLike, as_path, checked_metadata, writer_for
from pro_engine.types import ImageArray, LayeredMesh, Mesh

if TYPE_CHECKING:
    import trimesh

__all__ = ["MESH_SUFFIXES", "save_mesh"]

_TO_Y_UP = np.array([1, -1, -1], dtype=np.float64)
_LARGEST_TEXTURE = 8192  # the longest side that every graphics card takes
_TEXTURE_QUALITY = 92
_LARGEST_GLB = 1 << 32
_GLB_JSON = 1 << 20

_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071


def save_mesh(path: PathLike, mesh: Mesh | LayeredMesh, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a mesh, or the two of a photo, atomically, in the format of the suffix; the module's docstring tells the
    frames.

    | suffix | colours                                             | metadata               |
    |--------|-----------------------------------------------------|------------------------|
    | .glb   | the texture as JPEG inside, unlit, both sides shown | asset.extras           |
    | .obj   | NAME.mtl and NAME_texture.jpg beside it             | a comment              |
    | .ply   | one a vertex, looked up in the texture              | a comment              |
    | .stl   | none                                                | none: there is no room |

    .usdc and .usdz, through the extra `usd`, hold the same as .glb, and the camera with its shift; the textures of a
    .usdc lie beside it.

    Of a `LayeredMesh`, .glb and USD have the objects `front` and `behind` and the camera, .obj the two objects with
    textures NAME_front.jpg and NAME_behind.jpg, .ply both in one with a property `layer` of each vertex, 0 in front and
    1 behind; .stl has the first alone. The camera's numbers are in the metadata as `camera`, in pixels.

    A mesh of 1 million vertices and 2 million triangles takes 0.5 s and 0.2 GB of memory beyond its own as .glb, 0.15 s
    and 0.2 GB as .ply, 1.6 s and 0.6 GB as .stl, 8 s and 0.9 GB as .obj; one of 2 million vertices 0.9 s and 0.43 GB,
    0.3 s and 0.4 GB, 3 s and 1.2 GB, 17 s and 1.8 GB (one core of a server).
    The files beside an .obj have another NAME where its own has spaces or is not UTF-8, see `mesh_side_files`. A
    texture with a side above 8192 pixels, the most that every graphics card takes, is made smaller. An .obj holds
    8 decimals, the binary formats every bit of a float32.

    Args:
        path: a file with one of these suffixes.
        mesh: what `depth_to_layers` returns, or vertices (V, 3) float32 metres in the camera frame, faces (F, 3) int32,
            uv (V, 2) with v upwards or None, texture (H, W, 3) uint8 or None. F is at least 1.
        metadata: further facts to store, plain JSON.

    Raises:
        FileError: an unknown suffix, more than 4 GB for a .glb, no memory for an .obj, or the system refuses.
        InputError: arrays of another shape or type, no faces, faces that name missing vertices, a texture without uv,
            or vertices that are not finite.
    """
    target = as_path(path)
    writer = _WRITERS[writer_for(target, _WRITERS, "a mesh")]
    parts = parts_of(mesh)
    for part in parts.values():
        _check_mesh(part)
    facts = checked_metadata(metadata)
    if isinstance(mesh, LayeredMesh):
        facts = {**facts, "camera": asdict(mesh.intrinsics)}
    with atomic_path(target) as temporary:
        writer(temporary, parts, facts, target)


def parts_of(mesh: Mesh | LayeredMesh) -> dict[str, Mesh]:
    """The meshes by the names of their objects; a single one is "photo"."""
    if not isinstance(mesh, LayeredMesh):
        return {"photo": mesh}
    return {"front": mesh.front} if mesh.behind is None else {"front": mesh.front, "behind": mesh.behind}


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
    if mesh.colors is not None and (mesh.colors.shape != mesh.vertices.shape or mesh.colors.dtype != np.uint8):
        raise InputError(f"The mesh's colors are {mesh.colors.dtype} {mesh.colors.shape}; give uint8 (V, 3).")
    if mesh.texture is not None:
        check_image(mesh.texture, "The mesh's texture")
        if uv is None:
            raise InputError("The mesh has a texture but no uv; give uv of shape (V, 2), or no texture.")


@dataclass(frozen=True)
class _Jpeg:
    """The photo as a JPEG file, for trimesh, which asks a material's picture for its format and to save itself.

    With a Pillow picture trimesh would leave the quality to Pillow, whose 75 shows in a close view.
    """

    data: bytes
    format: str = "JPEG"

    @classmethod
    def of(cls, texture: ImageArray) -> _Jpeg:
        """The texture at the quality chosen here, made smaller where graphics cards need it."""
        picture = Image.fromarray(texture)
        picture.thumbnail((_LARGEST_TEXTURE, _LARGEST_TEXTURE), Image.Resampling.BOX)
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=_TEXTURE_QUALITY, subsampling=0)
        return cls(buffer.getvalue())

    def save(self, fp: IO[bytes], format: str) -> None:
        fp.write(self.data)

    def tobytes(self) -> bytes:  # by which trimesh tells one material from another
        return self.data


def _shape(mesh: Mesh, vertices: NDArray[np.floating[Any]], **visual: Any) -> trimesh.Trimesh:
    import trimesh

    return trimesh.Trimesh(vertices, mesh.faces, process=False, validate=False, **visual)


def _y_up(mesh: Mesh) -> NDArray[np.float64]:
    """(V, 3) in the artists' frame: x right, y up, z towards the viewer; float64, the type that trimesh keeps."""
    return mesh.vertices * _TO_Y_UP


def _write_glb(path: Path, parts: Mapping[str, Mesh], metadata: dict[str, Any], target: Path) -> None:
    import trimesh
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    photos = {name: None if mesh.texture is None else _Jpeg.of(mesh.texture) for name, mesh in parts.items()}
    total = _GLB_JSON + sum(0 if photo is None else len(photo.data) for photo in photos.values())
    for mesh in parts.values():
        total += 4 * (mesh.faces.size + mesh.vertices.size + (0 if mesh.uv is None else mesh.uv.size))
    if total >= _LARGEST_GLB:
        raise FileError(f"{target} would have {total / 1e9:.1f} GB, and .glb ends at 4 GB; use .ply or thin it out.")

    def finish(tree: dict[str, Any]) -> None:
        if metadata:
            tree["asset"]["extras"] = metadata
        if "camera" in metadata:
            _add_camera(tree, metadata["camera"])
        if tree.get("textures"):
            # A photo already holds its light. Viewers without the extension show a matt surface.
            for material in tree["materials"]:
                material["extensions"] = {"KHR_materials_unlit": {}}
            tree["extensionsUsed"] = ["KHR_materials_unlit"]
            filters = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR}
            tree["samplers"] = [{**filters, "wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}]
            for texture in tree["textures"]:
                texture["sampler"] = 0

    scene = trimesh.Scene()
    for name, mesh in parts.items():
        surface = PBRMaterial(
            name=name, baseColorTexture=photos[name], metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
        )
        if mesh.colors is not None and mesh.texture is None:
            shape = _shape(mesh, _y_up(mesh), vertex_colors=with_alpha(mesh.colors))
        else:
            shape = _shape(mesh, _y_up(mesh), visual=TextureVisuals(uv=mesh.uv, material=surface))
        scene.add_geometry(shape, node_name=name, geom_name=name)
    path.write_bytes(export_glb(scene, include_normals=False, tree_postprocessor=finish))


def _add_camera(tree: dict[str, Any], camera: Mapping[str, float]) -> None:
    """Add the photo's camera, at the origin; glTF knows no shift of its axis, the metadata do."""
    fov_y = 2 * math.atan(camera["height"] / 2 / camera["fy"])
    aspect = camera["width"] / camera["height"] * camera["fy"] / camera["fx"]
    lens = {"yfov": fov_y, "aspectRatio": aspect, "znear": 0.01}
    tree["cameras"] = [{"name": "camera", "type": "perspective", "perspective": lens}]
    tree["nodes"].append({"name": "camera", "camera": 0})
    tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)


def mesh_side_files(path: Path, *, layered: bool = False) -> tuple[Path, ...]:
    """What lies beside an .obj or .usdc: the textures, that of what is behind last, and the material of an .obj."""
    textures = ("front", "behind") if layered else ("photo",)
    material = (path.with_name(f"{_side_stem(path)}.mtl"),) if path.suffix.lower() == ".obj" else ()
    return *material, *(path.with_name(f"{_texture_of(path, name)}.jpg") for name in textures)


def _texture_of(path: Path, name: str) -> str:
    """What the texture of the object `name` is called, without its suffix."""
    return f"{_side_stem(path)}_{'texture' if name == 'photo' else name}"


def _side_stem(path: Path) -> str:
    """What the files beside an .obj begin with: its stem without spaces, which end a name for many readers, and letters
    that are not UTF-8. A stem that has to be changed gets its checksum, so that the files of two never share a name."""
    stem = path.stem
    plain = "_".join(stem.encode("utf-8", "replace").decode().split()) or "mesh"
    return plain if plain == stem else f"{plain}_{zlib.crc32(os.fsencode(stem)):08x}"


def _write_obj(path: Path, parts: Mapping[str, Mesh], metadata: dict[str, Any], target: Path) -> None:
    import trimesh
    from trimesh.exchange.obj import export_obj
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import SimpleMaterial

    stem = _side_stem(target)
    white, black = [255, 255, 255], [0, 0, 0]
    scene = trimesh.Scene()
    for name, mesh in parts.items():
        visual = None
        if mesh.uv is not None:
            # trimesh names the picture after the material and, in lower case, its format.
            photo = None if mesh.texture is None else _Jpeg(_Jpeg.of(mesh.texture).data, format="jpg")
            material = SimpleMaterial(
                photo, name=_texture_of(target, name), diffuse=white, ambient=black, specular=black
            )
            visual = TextureVisuals(uv=mesh.uv, material=material)
        scene.add_geometry(_shape(mesh, _y_up(mesh), visual=visual, metadata={"name": name}), name, name)
    header = "x right, y up, z towards the viewer; metres"
    if metadata:
        header += f"\n# pro_engine {json.dumps(metadata)}"
    with interruptible():  # before the first file is in place
        text, files = export_obj(
            scene,
            include_normals=False,
            return_texture=True,
            mtl_name=f"{stem}.mtl",
            header=header,
        )
    if text.count("\nusemtl ") < sum(
        mesh.uv is not None for mesh in parts.values()
    ):  # trimesh goes on without the uv when it cannot write them
        raise FileError(f"{target} does not fit into memory; close other programs, thin it out, or write a .glb.")
    with ExitStack() as set_of_files:
        for name, data in files.items():
            set_of_files.enter_context(atomic_path(target.with_name(name))).write_bytes(data)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)


def _write_ply(path: Path, parts: Mapping[str, Mesh], metadata: dict[str, Any], _target: Path) -> None:
    mesh, layer = _as_one(parts)
    colours = [tint for part in parts.values() if (tint := _colours_of(part)) is not None]
    shape = _shape(mesh, mesh.vertices, vertex_colors=np.concatenate(colours) if len(colours) == len(parts) else None)
    if len(parts) > 1:
        shape.vertex_attributes["layer"] = layer
    write_ply(path, shape, metadata)


def _as_one(parts: Mapping[str, Mesh]) -> tuple[Mesh, NDArray[np.uint8]]:
    """Meshes behind one another in one, without colours, and of which of them each vertex is."""
    meshes = list(parts.values())
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([mesh.faces + np.int32(start) for mesh, start in zip(meshes, starts, strict=False)])
    layer = np.repeat(np.arange(len(meshes), dtype=np.uint8), np.diff(starts))
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), faces), layer


def _colours_of(mesh: Mesh) -> NDArray[np.uint8] | None:
    """(V, 4) of a mesh that has a texture or colours."""
    if mesh.texture is not None and mesh.uv is not None:
        return _vertex_colours(mesh.texture, mesh.uv)
    return None if mesh.colors is None else with_alpha(mesh.colors)


def _vertex_colours(texture: ImageArray, uv: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(V, 4) uint8: the texture's pixel in which each uv lies, opaque."""
    height, width = texture.shape[:2]
    columns = np.clip(uv[:, 0] * width, 0, width - 1).astype(np.intp)
    lines = np.clip((1 - uv[:, 1]) * height, 0, height - 1).astype(np.intp)
    return with_alpha(texture[lines, columns])


def _write_stl(path: Path, parts: Mapping[str, Mesh], _metadata: dict[str, Any], _target: Path) -> None:
    from trimesh.exchange.stl import export_stl

    mesh = next(iter(parts.values()))
    path.write_bytes(export_stl(_shape(mesh, _y_up(mesh))))


def _write_usd(path: Path, parts: Mapping[str, Mesh], metadata: dict[str, Any], target: Path) -> None:
    from pro_engine.io.usd import write_usd

    packed = target.suffix.lower() == ".usdz"
    pictures = {
        name: (f"{_texture_of(target, name)}.jpg", _Jpeg.of(mesh.texture).data)
        for name, mesh in parts.items()
        if mesh.texture is not None
    }
    with ExitStack() as set_of_files:
        for file, data in () if packed else pictures.values():
            set_of_files.enter_context(atomic_path(target.with_name(file))).write_bytes(data)
        write_usd(path, parts, pictures, metadata, packed=packed)


_WRITERS: dict[str, Callable[[Path, Mapping[str, Mesh], dict[str, Any], Path], None]] = {
    ".glb": _write_glb,
    ".obj": _write_obj,
    ".ply": _write_ply,
    ".stl": _write_stl,
    ".usdc": _write_usd,
    ".usdz": _write_usd,
}

MESH_SUFFIXES = frozenset(_WRITERS)
"""Suffixes, in lower case, of the files that `save_mesh` writes."""
