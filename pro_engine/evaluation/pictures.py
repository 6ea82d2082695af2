"""The pictures of an item on the page: photo, truth, coarse map, refined map and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.sample import EvalSample
from pro_engine.errors import ProEngineError
from pro_engine.evaluation.metrics import Aligned
from pro_engine.geometry.color import colorize
from pro_engine.inference.resize import resized
from pro_engine.types import BoolMap, FloatMap, ImageArray

PANEL_PX = 420
WORST_ERROR = 0.5  # relative error of the last colour
_UNKNOWN = (128, 128, 128)
_QUALITY = 85


@dataclass(frozen=True)
class PagePicture:
    """A picture as JPEG bytes, and the text below it."""

    title: str
    jpeg: bytes


def make_panels(
    sample: EvalSample,
    disparity: FloatMap,
    coarse: FloatMap | None,
    refined_fit: Aligned | None,
    coarse_fit: Aligned | None,
) -> tuple[PagePicture, ...]:
    """Panels of at most 420 pixels a side.

    Maps fitted to the truth share its colours: near is red, far is blue. Errors are |d - d*| / d* from black (0) to
    yellow (0.5 and more). Grey is unknown. Without depth, maps have colours of their own and a matte is the truth.
    """
    size = _panel_size(sample.image.shape[0], sample.image.shape[1])
    pictures: dict[str, ImageArray] = {"photo": resized(sample.image, size)}
    if refined_fit is None:
        if sample.matte is not None:
            pictures["matte"] = np.repeat(resized(sample.matte, size)[..., None], 3, axis=2)
        if coarse is not None:
            pictures["coarse"] = colorize(resized(coarse, size))
        pictures["refined" if coarse is not None else "map"] = colorize(resized(disparity, size))
    else:
        truth = _shrunk(refined_fit.truth, refined_fit.known, size)
        low, high = _range(truth)
        pictures["truth"] = colorize(truth, low=low, high=high, invalid=_UNKNOWN)
        for title, fit in (("coarse", coarse_fit), ("refined" if coarse_fit else "map", refined_fit)):
            if fit is not None:
                values = resized(fit.disparity.astype(np.float32), size)
                pictures[title] = colorize(values, low=low, high=high)
        for title, fit in (("error of coarse", coarse_fit), ("error", refined_fit)):
            if fit is not None:
                pictures[title] = _error_picture(fit, size)
    return tuple(PagePicture(title, _jpeg(picture)) for title, picture in pictures.items())


def _panel_size(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, PANEL_PX / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _error_picture(fit: Aligned, size: tuple[int, int]) -> ImageArray:
    error = np.zeros_like(fit.truth)
    error[fit.known] = np.abs(fit.depth - fit.true_depth) / fit.true_depth
    return colorize(_shrunk(error, fit.known, size), cmap="inferno", low=0, high=WORST_ERROR, invalid=_UNKNOWN)


def _shrunk(values: NDArray[np.float64], known: BoolMap, size: tuple[int, int]) -> FloatMap:
    """The mean of the known values under every pixel of `size` (h, w), nan where there is none; so that the few points
    of a laser scanner stay visible and unknown values do not bleed in."""
    weights = resized(known.astype(np.float32), size)
    sums = resized(np.where(known, values, 0).astype(np.float32), size)
    return np.where(weights > 1e-6, sums / np.maximum(weights, 1e-6), np.nan).astype(np.float32)


def _range(truth: FloatMap) -> tuple[float, float]:
    low, high = (float(v) for v in np.nanpercentile(truth, (0.5, 99.5)))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _jpeg(picture: ImageArray) -> bytes:
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ProEngineError(f"A picture of {picture.shape[1]}x{picture.shape[0]} pixels could not be encoded as JPEG.")
    return data.tobytes()
