"""One picture by which people judge a result: photo | coarse | refined, side by side and labelled."""

from __future__ import annotations

import cv2
import numpy as np

from pro_engine.geometry.color import colorize
from pro_engine.inference.resize import resized
from pro_engine.types import DepthResult, FloatMap, ImageArray

_MAX_PANEL_PX = 1280
_MIN_PANEL_PX = 320
_PAPER = 255
_INK = 32


def color_range(disparity: FloatMap) -> tuple[float, float]:
    """The disparities between which a preview has its colours."""
    low, high = (float(v) for v in np.percentile(disparity, (0.5, 99.5)))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def make_preview(
    image: ImageArray,
    result: DepthResult,
    *,
    colors: tuple[float, float] | None = None,
    max_panel_px: int = _MAX_PANEL_PX,
) -> ImageArray:
    """Photo, coarse map (when `result.coarse` was kept) and result, as (h, w, 3) uint8 RGB.

    Panels are 320 to `max_panel_px` pixels on their longer side; both maps share one colour range, `colors` or what
    `color_range` finds, near is red, far is blue. Panels of panoramas stand below each other.
    """
    h, w = image.shape[:2]
    longer = max(h, w)
    factor = min(max(longer, _MIN_PANEL_PX), max_panel_px) / longer
    size = max(1, round(h * factor)), max(1, round(w * factor))
    rows, cols = result.tiles
    final = resized(result.disparity, size)
    low, high = color_range(final) if colors is None else colors
    panels = [("photo", resized(image, size))]
    if result.coarse is not None:
        panels.append(("coarse", colorize(resized(result.coarse, size), low=low, high=high)))
        panels.append((f"refined, {rows}x{cols} patches", colorize(final, low=low, high=high)))
    else:
        panels.append(("disparity", colorize(final, low=low, high=high)))
    labelled = [_with_label(text, panel) for text, panel in panels]
    return np.concatenate(labelled, axis=0 if w > 2.5 * h else 1)


def _with_label(text: str, panel: ImageArray) -> ImageArray:
    """The panel under a strip with its name, with a thin margin all around."""
    width = panel.shape[1]
    strip = max(18, round(width * 0.03))
    label = np.full((strip, width, 3), _PAPER, dtype=np.uint8)
    scale = strip / 36
    thickness = max(1, round(scale))
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    scale *= min(1.0, 0.96 * width / max(text_width, 1))
    cv2.putText(
        label, text, (2, round(strip * 0.72)), cv2.FONT_HERSHEY_SIMPLEX, scale, (_INK,) * 3, thickness, cv2.LINE_AA
    )
    margin = max(2, strip // 8)
    return np.pad(np.concatenate([label, panel]), ((margin, margin), (margin, margin), (0, 0)), constant_values=_PAPER)
