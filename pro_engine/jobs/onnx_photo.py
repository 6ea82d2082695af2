"""A photo's disparity from the ONNX files beside this file, by numpy, onnxruntime and OpenCV alone; see docs/onnx.md.

    python run.py PHOTO OUT.npy [ROWSxCOLUMNS]

OUT.npy is float32 (H, W), larger is nearer: within 1e-3 of its range as `infer --keep-background` in float32."""

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

NOISE, TILE = 0.05, 256
ALIKE = np.exp(-0.5 * (np.arange(256) / 255 / NOISE) ** 2).astype(np.float32)  # by the distance of 8-bit colours


class _Network:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            sys.exit(f"{path} is not there; run.py needs all files of `pro-engine export` beside it.")
        self.session = ort.InferenceSession(str(path), providers=ort.get_available_providers())
        self.facts = json.loads(self.session.get_modelmeta().custom_metadata_map["pro_engine"])

    def __call__(self, **given: Any) -> dict[str, Any]:
        wanted, names = ([one.name for one in ends] for ends in (self.session.get_inputs(), self.session.get_outputs()))
        values = self.session.run(None, {name: np.ascontiguousarray(given[name], np.float32) for name in wanted})
        return dict(zip(names, values, strict=True))


def _resized(image: Any, size: tuple[int, int]) -> Any:
    between = tuple(min(pair) for pair in zip(image.shape, size, strict=False))
    if image.ndim == 2 or between != size:  # averaged where it shrinks
        return cv2.resize(cv2.resize(image, between[::-1], interpolation=cv2.INTER_AREA), size[::-1])
    for new in size[::-1]:  # of columns, then of rows: PyTorch's antialiased bicubic filter, in its whole numbers
        image, old = image.swapaxes(0, 1), image.shape[1]
        scale, at = old / new, (np.arange(new)[:, None] + 0.5) * (old / new)
        index = np.maximum((at - 2 * scale + 0.5).astype(int), 0) + np.arange(int(np.ceil(2 * scale)) * 2 + 1)
        d = np.abs(index - at + 0.5) / scale
        weights = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((2.5 - 0.5 * d) * d - 4) * d + 2, 0))
        weights *= (index < old) / (weights * (index < old)).sum(1, keepdims=True)
        bits = next(k for k in range(22) if int(0.5 + weights.max() * 2 ** (k + 1)) >= 2**15)
        taps = zip(np.round(weights * 2**bits).astype(np.int32).T, np.minimum(index, old - 1).T, strict=True)
        image = np.clip(sum((w[:, None, None] * image[at] for w, at in taps), 2 ** (bits - 1)) >> bits, 0, 255)
    return image.astype(np.uint8)


def _planes(image: Any) -> Any:
    return (image / np.float32(255)).transpose(2, 0, 1)[None]


def _region(maps: Any, box: Any, size: Any) -> Any:  # (C, H, W) over x0 y0 x1 y1 from 0 to 1 -> (1, C, h, w)
    lines = []
    for low, high, old, new in ((box[1], box[3], maps.shape[1], size[0]), (box[0], box[2], maps.shape[2], size[1])):
        at = np.clip((low + (np.arange(new) + 0.5) / new * (high - low)) * old - 0.5, 0, old - 1)
        lines.append(np.maximum(1 - np.abs(at[:, None] - np.arange(old)), 0).astype(np.float32))
    return (lines[0] @ maps @ lines[1].T)[None]


def _auto_grid(area: int, h: int, w: int) -> tuple[int, int]:
    most = 1 if h * w <= 1.3 * area and max(w / h, h / w) <= 4 else 64
    wanted, shape = min(max(h * w / (960 * 540), min(h * w / area, 16), 4), 64), min(max(w / h, 0.5), 2)
    grids = [(r, c) for r, c in product(range(1, 33), repeat=2) if r * c <= most]
    return min(grids, key=lambda g: np.log(g[0] * g[1] / wanted) ** 2 + np.log(w / h * g[0] / g[1] / shape) ** 2)


def _input_size(spec: dict[str, Any], height: float, width: float) -> tuple[int, int]:
    step, area, aspect = spec["multiple"], spec["input_area"], width / height if spec["keep_aspect"] else 1
    h, w = (max(2, round(side**0.5 / step)) * step for side in (area / aspect, area * aspect))
    most = max(2, round(area / min(h, w) / step)) * step if min(h, w) == 2 * step else max(h, w)
    return tuple(spec["fixed_size"] or (min(h, most), min(w, most)))


def _center_and_spread(disparity: Any) -> tuple[Any, Any]:
    center = np.sort(disparity, None)[(disparity.size - 1) // 2]
    return center, max(np.abs(disparity - center).mean(), 1e-12 + 1e-6 * abs(center))


def _blended(coarse: Any, own: Any) -> Any:  # (h, w): low frequencies of one, high ones of the other
    own, side = (own - own.mean()) / (own.std() or 1), min(own.shape)
    step, r = side // 16, 3 * side // 16
    padded = (np.pad(one, r, "reflect", reflect_type="odd") for one in (own, coarse))
    low_own, low = (cv2.GaussianBlur(one, (2 * r + 1,) * 2, side / 16)[r:-r, r:-r] for one in padded)
    x, y, weights = (one[::step, ::step].ravel().astype(float) for one in (low_own, low, np.ones_like(low)))
    for _ in range(8):  # towards the least absolute deviation
        dx, dy = (one - np.average(one, weights=weights) for one in (x, y))
        variance, covariance = (np.average(dx * one, weights=weights) for one in (dx, dy))
        scale = covariance / variance if covariance > 0 and variance > 1e-12 else 0
        weights = 1 / np.maximum(off := np.abs(scale * dx - dy), 0.02)
    explained = 1 - off.sum() / max(np.abs(y - _center_and_spread(y)[0]).sum(), 1e-12) if scale else 0
    padded = (np.pad(one, [(0, -n % step) for n in own.shape], constant_values=-np.inf) for one in (coarse, -coarse))
    highest = (one.reshape(len(one) // step, step, -1, step).max((1, 3)) for one in padded)
    limit = cv2.resize(np.sum([cv2.dilate(one, np.ones((5, 5))) for one in highest], 0), own.shape[::-1]) + 0.5
    detail = np.clip(scale * (own - low_own) - (coarse - low), -limit, limit)
    return (coarse + np.clip((explained - 0.1) / 0.4, 0, 1) * detail).astype(np.float32)


def _weight(one: Any, other: Any) -> Any:
    if one.dtype == np.uint8:
        return cv2.LUT(cv2.transform(cv2.absdiff(one, other), np.full((1, 3), 3**-0.5, np.float32)), ALIKE)
    return np.exp(-np.minimum(((one - other) ** 2).sum(2) * (0.5 / NOISE**2), 20))


def _snapped(values: Any, colours: Any, strides: Any) -> Any:  # outlines of (h, w) to those of (h, w, 3)
    (h, w), colours = values.shape, cv2.blur(np.ascontiguousarray(colours), (3, 3), borderType=cv2.BORDER_REPLICATE)
    for s in strides:
        padded, guide = (cv2.copyMakeBorder(one, s, s, s, s, cv2.BORDER_REPLICATE) for one in (values, colours))
        around = [(slice(y, y + h), slice(x, x + w)) for y, x in product((0, s, 2 * s), repeat=2)]
        alike = [_weight(colours, guide[at]) for at in around]
        mean = sum(share * padded[at] for share, at in zip(alike, around, strict=True)) / sum(alike)
        values = values + np.clip(2 - sum(alike) * (2 / 9), 0, 1) * (mean - values)
    return values


def _level(canvas: Any, guide: Any, grid: Any, picture: Any) -> None:  # out of (h, w) steps, and noise where it is even
    for lines, whole, count, across in ((canvas, guide, grid[1], grid[0]), (canvas.T, guide.T, grid[0], grid[1])):
        size, sigma = lines.shape[1] // count, lines.shape[0] // across / 12
        for at in range(size, lines.shape[1], size):
            step = (lines[:, at] - lines[:, at - 1]) - (whole[:, at] - whole[:, at - 1])
            smooth = cv2.GaussianBlur(step[None], (0, 0), sigmaX=sigma, sigmaY=1e-3)[0]
            for part, reach in ((smooth, size // 4), (step - smooth, max(4, size // 24))):
                fade = part[:, None] * (0.5 - 0.5 * np.arange(reach, dtype=np.float32) / reach)
                lines[:, at - reach : at + reach] += np.hstack((fade[:, ::-1], -fade))
    grey, added = cv2.blur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (3, 3)), canvas - guide
    even = np.clip(1.5 - cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((13, 13))) / 16.0, 0, 1)
    canvas += cv2.blur(even, (5, 5)) * (cv2.blur(cv2.blur(added, (9, 9)), (9, 9)) - added)


def _sharpened(values: Any, image: Any, zoom: float) -> Any:  # outlines of a map (H, W) that was enlarged
    strides, found = [2**k for k in range(round(np.log2(2 * zoom)), -1, -1)], values.copy()
    halo, (low, high) = sum(strides) + 1, np.percentile(values[:: int(4 * zoom), :: int(4 * zoom)], (1, 99))
    for top, left in product(*(range(0, side, TILE) for side in values.shape)):
        y, x = max(0, top - halo), max(0, left - halo)
        around = slice(y, min(top + TILE, len(values)) + halo), slice(x, min(left + TILE, values.shape[1]) + halo)
        thinned = values[around][:: round(zoom), :: round(zoom)]
        if max(np.abs(np.diff(thinned, axis=axis)).max(initial=0) for axis in (0, 1)) > 0.03 * (high - low):
            inner = _snapped(values[around], image[around], strides)[top - y :, left - x :]
            found[top : top + TILE, left : left + TILE] = inner[:TILE, :TILE]
    return found


def infer(image: Any, folder: Path, grid: tuple[int, ...] = ()) -> Any:
    """Of an image (H, W, 3) uint8 RGB the disparity (H, W) in mean deviations from the median of the coarse map."""
    psi, refiner = _Network(folder / "psi.onnx"), _Network(folder / "refiner.onnx")
    fine, size = _Network(folder / "fine.onnx") if psi.facts["fine"] else psi, image.shape[:2]
    spec, whole = fine.facts["spec"], psi(image=_planes(_resized(image, _input_size(psi.facts["spec"], *size))))
    (rows, cols), disparity = grid or _auto_grid(spec["input_area"], *size), whole["disparity"][0, 0]
    if fine is not psi:
        whole = fine(image=_planes(_resized(image, _input_size(spec, *size))))
        (center, spread), (low, unit) = map(_center_and_spread, (disparity, whole["disparity"][0, 0]))
        own = cv2.resize(whole["disparity"][0, 0], disparity.shape[::-1], interpolation=cv2.INTER_CUBIC)
        disparity = disparity + np.float32(psi.facts["share"]) * ((own - low) / unit * spread + center - disparity)
    (h, w), (center, spread) = _input_size(spec, size[0] / rows, size[1] / cols), _center_and_spread(disparity)
    source, guide, out = (_resized(one, (rows * h, cols * w)) for one in (image, *[(disparity - center) / spread] * 2))
    for row, col in product(range(rows), range(cols)):
        cell = slice(row * h, (row + 1) * h), slice(col * w, (col + 1) * w)
        box, rgb = (col / cols, row / rows, (col + 1) / cols, (row + 1) / rows), _planes(source[cell])
        seen, coarse = fine(image=rgb), (_region(disparity[None], box, (h, w))[0, 0] - center) / spread
        start = _snapped(_blended(coarse, own := seen["disparity"][0, 0]), rgb[0].transpose(1, 2, 0), (16, 7, 3, 1))
        given: dict[str, Any] = {"maps": [[coarse, start, (own - own.min()) / (np.ptp(own) + 1e-8), *rgb[0]]]}
        for key in [key for key in seen if key.startswith("level")]:
            given |= {f"fine_{key}": seen[key], f"coarse_{key}": _region(whole[key][0], box, seen[key].shape[2:])}
        out[cell] = start + refiner(**given)["residual"][0, 0]
    _level(out, guide, (rows, cols), source)
    zoom = (size[0] * size[1] / out.size) ** 0.5
    return _resized(out, size) if zoom < 1.25 else _sharpened(_resized(out, size), image, zoom)


if __name__ == "__main__":
    tiles = tuple(int(one) for one in "".join(sys.argv[3:]).split("x") if one.isdecimal())
    is_asked = len(sys.argv) in (3, 4) and len(tiles) == 2 * len(sys.argv[3:]) and all(tiles)
    source, out = map(Path, sys.argv[1:3] if is_asked else ("", ""))
    if not source.is_file() or out.suffix != ".npy" or not out.parent.is_dir():
        sys.exit(f"{__doc__}\nPHOTO and the folder of OUT.npy are there.")
    data = np.frombuffer(source.read_bytes() or b"-", np.uint8)  # from memory, or half a JPEG would be read as a whole
    photo, stored = (cv2.imdecode(data, flag) for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED))
    if photo is None or stored is None:
        sys.exit(f"{source} is cut short, or no picture that OpenCV reads; copy it again or save it as PNG.")
    if stored.shape[2:] == (4,) and np.ptp(stored[..., 3]):
        sys.exit(f"{source} has transparent parts, which run.py does not see; save it without.")
    np.save(out, infer(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), Path(__file__).parent, tiles))
