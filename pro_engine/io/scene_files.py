"""Depth maps the way COLMAP, 3D Gaussian splatting and nerfstudio read them, and coloured points for surveyors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pro_engine.errors import DependencyError, FileError
from pro_engine.geometry.views import Agreement
from pro_engine.io.atomic import atomic_path
from pro_engine.io.reconstruction import Reconstruction, View
from pro_engine.types import FloatMap, Intrinsics, PointCloud

CODES = 1 << 16
MILLIMETRE = 0.001


def write_colmap_map(path: Path, values: NDArray[np.float32]) -> None:
    """A map (H, W) or (H, W, 3) as COLMAP's dense workspace holds it: width&height&channels&, then floats, x fastest,
    a channel after the other. 0 is unknown."""
    channels = values[..., None] if values.ndim == 2 else values
    height, width, count = channels.shape
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(f"{width}&{height}&{count}&".encode())
        np.ascontiguousarray(channels.transpose(2, 0, 1), dtype="<f4").tofile(file)


def write_consistency_graph(path: Path, agreement: Agreement, numbers: Mapping[str, int]) -> None:
    """Which views agree at which pixels, as COLMAP holds it: column, row, count and so many views, for each such pixel.

    numbers: of the views in the model, from 0.
    """
    height, width = agreement.who.shape
    bits = np.array([numbers[name] for name in agreement.names], dtype="<i4")
    row, column = np.nonzero(agreement.who)
    sees = (agreement.who[row, column][:, None] >> np.arange(len(bits), dtype=np.uint32)) & 1 == 1
    count = sees.sum(axis=1)
    table = np.full((len(row), 3 + len(bits)), -1, dtype="<i4")
    table[:, 0], table[:, 1], table[:, 2] = column, row, count
    table[:, 3:] = np.where(sees, bits, -1)
    keep = np.concatenate([np.ones((len(row), 3), dtype=np.bool_), sees], axis=1)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(f"{width}&{height}&1&".encode())
        table[keep].astype("<i4").tofile(file)


def write_colmap_model(
    folder: Path, source: Reconstruction, views: Sequence[View], cameras: Sequence[Intrinsics]
) -> None:
    """A COLMAP model in text of views without distortion; view i has the number i + 1 and the camera i + 1."""
    lenses: list[str] = []
    images: list[str] = []
    seen: dict[int, list[str]] = {}
    for number, (view, k) in enumerate(zip(views, cameras, strict=True), 1):
        lenses.append(f"{number} PINHOLE {k.width} {k.height} {k.fx!r} {k.fy!r} {k.cx + 0.5!r} {k.cy + 0.5!r}")
        turn = " ".join(f"{value:.17g}" for value in (*quaternion(view.pose[:, :3]), *view.pose[:, 3]))
        places = zip(view.pixels + 0.5, view.points, strict=True)
        images += [
            f"{number} {turn} {number} {view.name}",
            " ".join(f"{x:.4f} {y:.4f} {p + 1}" for (x, y), p in places),
        ]
        for place, point in enumerate(view.points):
            seen.setdefault(int(point), []).append(f"{number} {place}")
    points = []
    for point, track in sorted(seen.items()):
        x, y, z = source.xyz[point]
        red, green, blue = source.rgb[point]
        points.append(f"{point + 1} {x:.17g} {y:.17g} {z:.17g} {red} {green} {blue} 0 {' '.join(track)}")
    for name, lines in (("points3D", points), ("images", images), ("cameras", lenses)):
        write_text(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines))


def quaternion(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(w, x, y, z) of a rotation (3, 3): the eigenvector of Bar-Itzhack's matrix, for any angle."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    matrix = [[a - e - i, b + d, c + g, h - f], [b + d, e - a - i, f + h, c - g]]
    matrix += [[c + g, f + h, i - a - e, d - b], [h - f, c - g, d - b, a + e + i]]
    x, y, z, w = np.linalg.eigh(np.array(matrix))[1][:, -1]
    found: NDArray[np.float64] = np.array([w, x, y, z]) * (1 if w >= 0 else -1)
    return found


def write_inverse_depth(path: Path, depth: FloatMap, scale: float) -> None:
    """16-bit PNG of inverse depth, as the training of 3D Gaussian splatting reads it: code / 65536 * scale; 0 is none.

    scale: `depth_params.json` tells it for each picture; the largest inverse depth that there is room for.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth, 0)
    codes = np.clip(np.round(inverse / scale * CODES), 0, CODES - 1).astype(np.uint16)
    _save_png(path, codes)


def write_depth_params(path: Path, names: Sequence[str], scale: float) -> None:
    """The file of scales and offsets, by names without suffix."""
    write_json(path, {str(Path(name).with_suffix("").as_posix()): {"scale": scale, "offset": 0.0} for name in names})


def write_millimetres(path: Path, depth: FloatMap) -> float:
    """16-bit PNG of depth in thousandths of the unit, as nerfstudio reads it; 0 is none. Gives the share too far."""
    with np.errstate(invalid="ignore"):
        codes = np.where(np.isfinite(depth) & (depth > 0), np.round(depth / MILLIMETRE), 0)
    beyond = codes >= CODES
    codes[beyond] = 0
    _save_png(path, codes.astype(np.uint16))
    return float(beyond.mean())


def nerfstudio_frame(view: View, k: Intrinsics, picture: str, depth: str) -> dict[str, Any]:
    """A frame of transforms.json: its pose leads to the world, y up and z backwards; pixels count from the corner."""
    turn = np.diag([1.0, -1.0, -1.0]) @ view.pose[:, :3]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn.T, view.center
    lens = {"fl_x": k.fx, "fl_y": k.fy, "cx": k.cx + 0.5, "cy": k.cy + 0.5, "w": k.width, "h": k.height}
    return {"file_path": picture, "depth_file_path": depth, "transform_matrix": matrix.tolist(), **lens}


def write_json(path: Path, value: object) -> None:
    """A JSON document, whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _save_png(path: Path, codes: NDArray[np.uint16]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(codes).save(temporary, format="PNG")


def save_las(path: Path, cloud: PointCloud) -> None:
    """Coloured points in the world as LAS, or LAZ by the suffix, with a step of a ten-thousandth of their extent.

    Raises:
        DependencyError: the extra `photogrammetry` is not installed. FileError: the system refuses.
    """
    try:
        import laspy
    except ImportError as error:
        raise DependencyError(
            "LAS needs the extra `photogrammetry`; run: pip install 'pro-engine[photogrammetry]'."
        ) from error
    header = laspy.LasHeader(point_format=7, version="1.4")
    low, high = cloud.xyz.min(axis=0).astype(np.float64), cloud.xyz.max(axis=0).astype(np.float64)
    header.offsets = low
    header.scales = np.full(3, max(float((high - low).max()) * 1e-8, 1e-9))
    data = laspy.LasData(header)
    data.x, data.y, data.z = cloud.xyz.astype(np.float64).T
    if cloud.rgb is not None:
        data.red, data.green, data.blue = (channel.astype(np.uint16) * 257 for channel in cloud.rgb.T)
    with atomic_path(path) as temporary:
        try:
            data.write(str(temporary), do_compress=path.suffix.lower() == ".laz")
        except laspy.errors.LaspyException as error:
            raise FileError(f"{path} cannot be written: {error}") from error
