"""A page that shows a layered mesh: one .html file with all in it, which needs a browser and no network.

Vertices lie on pixels, so column and row are small integers and depth is 16 bits of its inverse; the page puts them
into space. Numbers are stored as differences and deflated.
"""

from __future__ import annotations

import base64
import html
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pro_engine.errors import InputError
from pro_engine.geometry.camera import project
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike, as_path, checked_metadata, writer_for
from pro_engine.types import ImageArray, LayeredMesh, Mesh

_LARGEST_TEXTURE = {"front": 4096, "behind": 2048}  # what is behind is smooth
_TEXTURE_QUALITY = {"front": 87, "behind": 80}
_CODES = 65535


def save_page(
    path: PathLike,
    layers: LayeredMesh,
    *,
    reveal: float,
    texture: ImageArray | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a page that shows the photo in depth: drag to move the camera, a slider from photo to depth. Atomic.

    The camera moves by `reveal` of the median depth at most, which is what the layers are made for. Colours of the page
    end at 4096 pixels a side, those of what is behind at 2048.

    Args:
        path: an .html file.
        layers: what `depth_to_layers` returns.
        reveal: share of the median depth.
        texture: (H, W, 3) uint8 RGB, the photo in its own size where the layers are of a smaller one.
        metadata: further facts to store, plain JSON.

    Raises:
        FileError: another suffix, or the system refuses.
        InputError: it is no LayeredMesh.
    """
    target = as_path(path)
    writer_for(target, {".html": None}, "a page")
    if not isinstance(layers, LayeredMesh):
        raise InputError(f"The layers are a {type(layers).__name__}; give what depth_to_layers returns.")
    parts = {"front": layers.front} if layers.behind is None else {"front": layers.front, "behind": layers.behind}
    depth = np.concatenate([mesh.vertices[:, 2] for mesh in parts.values()])
    inverse = float(1 / depth.min()), float(1 / depth.max())
    margin = (layers.covered.shape[1] - layers.intrinsics.width) // 2
    median = float(np.median(layers.front.vertices[:, 2]))
    told, data = {}, []
    for name, mesh in parts.items():
        assert mesh.texture is not None
        height, width = mesh.texture.shape[:2]
        told[name] = {
            "vertices": len(mesh.vertices),
            "indices": mesh.faces.size,
            "plate": [margin if name == "behind" else 0, width, height],
        }
        picture = mesh.texture if texture is None or name == "behind" else texture
        data.append(_script(f"{name}-mesh", _packed(mesh, layers, inverse)))
        data.append(_script(f"{name}-texture", _jpeg(picture, _LARGEST_TEXTURE[name], _TEXTURE_QUALITY[name])))
    facts: dict[str, Any] = {
        "camera": asdict(layers.intrinsics),
        "inverse": inverse,
        "median_m": median,
        "reach_m": reveal * median,
        "near_m": float(f"{1 / inverse[0]:.3g}"),
        "far_m": float(f"{1 / inverse[1]:.3g}"),
        "layers": told,
        "about": checked_metadata(metadata),
    }
    title = str(facts["about"].get("photo", target.stem))
    with atomic_path(target) as temporary:
        temporary.write_text(_page(title, facts, data), encoding="utf-8")


def _page(title: str, facts: dict[str, Any], data: list[str]) -> str:
    """The frame of the page, filled."""
    page = files("pro_engine.io").joinpath("viewer.html").read_text("utf-8")
    filled = {
        "@TITLE@": html.escape(title),
        "@FACTS@": json.dumps(facts).replace("<", "\\u003c"),
        "@DATA@": "\n".join(data),
    }
    for mark, text in filled.items():
        page = page.replace(mark, text, 1)
    return page


def _packed(mesh: Mesh, layers: LayeredMesh, inverse: tuple[float, float]) -> bytes:
    """Columns, rows and codes of inverse depth as differences in 16 bits, then corners as differences in 32 bits."""
    pixels, depth = project(mesh.vertices, layers.intrinsics)
    span = inverse[0] - inverse[1] or 1.0
    codes = np.rint((1 / depth.astype(np.float64) - inverse[1]) / span * _CODES).astype(np.uint16)
    lines = [*np.rint(pixels).astype(np.int16).T, codes.view(np.int16)]
    parts = [_differences(line).tobytes() for line in lines]
    if len(depth) % 2:
        parts.append(b"\0\0")  # so that the corners begin at a multiple of four bytes
    parts.append(_differences(mesh.faces.reshape(-1)).tobytes())
    return zlib.compress(b"".join(parts), 6)


def _differences(values: NDArray[Any]) -> NDArray[Any]:
    """Each value less the one before, in the same type, whose overflow the sum undoes."""
    result: NDArray[Any] = values.copy()
    result[1:] -= values[:-1]
    return result


def _jpeg(picture: ImageArray, largest: int, quality: int) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _script(name: str, data: bytes) -> str:
    return f'<script id="{name}" type="text/plain">{base64.b64encode(data).decode("ascii")}</script>'
