"""Meshes as USD, .usdc and .usdz, through the extra `usd`: metres, y up, camera with its shift, a material a layer."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pro_engine.errors import DependencyError, FileError
from pro_engine.io.interrupts import interruptible
from pro_engine.types import Mesh

_TO_Y_UP = np.array([1, -1, -1], np.float32)
_APERTURE_MM = 36.0
_ZIP_HEADER, _ZIP_EXTRA, _PADDING_ID, _ALIGNED = 30, 4, 0x1986, 64


def write_usd(
    path: Path,
    parts: Mapping[str, Mesh],
    pictures: Mapping[str, tuple[str, bytes]],
    metadata: Mapping[str, Any],
    *,
    packed: bool,
) -> None:
    """Write meshes by name. Their textures are in the file if it is packed, else they have to lie beside it.

    Args:
        path: the file.
        parts: meshes in the camera frame, by the names of their objects.
        pictures: file name and bytes of their textures as JPEG.
        packed: .usdz, not .usdc.
        metadata: facts for the file; `camera` (fx, fy, cx, cy, width, height in pixels) becomes a camera.

    Raises:
        DependencyError: usd-core is not installed.
        FileError: it cannot write.
    """
    try:
        from pxr import Tf, Usd, UsdGeom, UsdShade
    except ImportError as error:
        raise DependencyError("USD needs the package usd-core: pip install 'pro-engine[usd]'.") from error
    with tempfile.TemporaryDirectory(prefix="pro-usd-") as folder, interruptible():
        for file, data in pictures.values():
            (Path(folder) / file).write_bytes(data)
        whole = Path(folder) / "photo.usdc"
        try:
            stage = Usd.Stage.CreateNew(str(whole))
            UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
            UsdGeom.SetStageMetersPerUnit(stage, 1.0)
            root = UsdGeom.Xform.Define(stage, "/photo")
            stage.SetDefaultPrim(root.GetPrim())
            root.GetPrim().SetCustomDataByKey("pro_engine", json.dumps(metadata))
            for name, mesh in parts.items():
                shape = _add_mesh(UsdGeom.Mesh.Define(stage, f"/photo/{name}"), mesh)
                if mesh.uv is not None and name in pictures:
                    material = _add_material(stage, f"/photo/materials/{name}", pictures[name][0])
                    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
            if "camera" in metadata:
                _add_camera(UsdGeom.Camera.Define(stage, "/photo/camera"), metadata["camera"])
            stage.GetRootLayer().Save()
        except Tf.ErrorException as error:
            raise FileError(f"{path} cannot be written as USD ({' '.join(str(error).split())[:200]}).") from error
        files = {whole.name: whole.read_bytes(), **dict(pictures.values())}
        path.write_bytes(_package(files) if packed else files[whole.name])


def _package(files: Mapping[str, bytes]) -> bytes:
    """A .usdz: a zip without compression whose files begin at multiples of 64 bytes, the stage first."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980: the same mesh gives the same bytes
            start = buffer.tell() + _ZIP_HEADER + len(name.encode()) + _ZIP_EXTRA
            padding = -start % _ALIGNED
            entry.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            archive.writestr(entry, data)
    return buffer.getvalue()


def _add_mesh(shape: Any, mesh: Mesh) -> Any:
    """Points, faces and uv of a mesh."""
    from pxr import Gf, Sdf, UsdGeom, Vt

    points = (mesh.vertices * _TO_Y_UP).astype(np.float32)
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.reshape(-1).astype(np.int32)))
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateDoubleSidedAttr(True)
    shape.CreateExtentAttr([Gf.Vec3f(*map(float, edge)) for edge in (points.min(0), points.max(0))])
    if mesh.uv is not None:
        kind = Sdf.ValueTypeNames.TexCoord2fArray
        uv = UsdGeom.PrimvarsAPI(shape).CreatePrimvar("st", kind, UsdGeom.Tokens.vertex)
        uv.Set(Vt.Vec2fArray.FromNumpy(mesh.uv.astype(np.float32)))
    return shape


def _add_material(stage: Any, place: str, picture: str) -> Any:
    """The photo as light: it already holds that of the scene."""
    from pxr import Sdf, UsdShade

    types = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, place)
    surface = UsdShade.Shader.Define(stage, f"{place}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", types.Color3f).Set((0, 0, 0))
    surface.CreateInput("roughness", types.Float).Set(1.0)
    reader = UsdShade.Shader.Define(stage, f"{place}/uv")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    texture = UsdShade.Shader.Define(stage, f"{place}/texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", types.Asset).Set(picture)
    texture.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
    for axis in ("wrapS", "wrapT"):
        texture.CreateInput(axis, types.Token).Set("clamp")
    coordinates = texture.CreateInput("st", types.Float2)
    coordinates.ConnectToSource(reader.CreateOutput("result", types.Float2))
    emission = surface.CreateInput("emissiveColor", types.Color3f)
    emission.ConnectToSource(texture.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    return material


def _add_camera(camera: Any, lens: Mapping[str, float]) -> None:
    """The photo's camera, with its shift; of aperture, offset and focal length only the ratios count."""
    ratio = lens["fx"] / lens["fy"]
    high = _APERTURE_MM * lens["height"] / lens["width"] * ratio
    camera.CreateHorizontalApertureAttr(_APERTURE_MM)
    camera.CreateVerticalApertureAttr(high)
    camera.CreateFocalLengthAttr(_APERTURE_MM * lens["fx"] / lens["width"])
    camera.CreateHorizontalApertureOffsetAttr(_APERTURE_MM * (0.5 - (lens["cx"] + 0.5) / lens["width"]))
    camera.CreateVerticalApertureOffsetAttr(high * ((lens["cy"] + 0.5) / lens["height"] - 0.5))
    camera.CreateClippingRangeAttr((0.01, 100000.0))
