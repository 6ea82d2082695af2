"""Frames that follow one another: one scale for all of them, and reading, inference and writing at the same time.

A model knows nothing of the frame before, so its map jumps a little from frame to frame, as a whole and in parts, which
shows as flicker. `ScaleHold` maps each frame's map linearly onto the one before, by the median and spread of the pixels
that can be followed from one to the other; where the picture stays the same it also takes most of the difference that
is left away, smoothly, so that outlines stay those of the new frame. It begins anew where the shot is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.inference.ahead import ahead
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.options import InferenceOptions
from pro_engine.types import DepthResult, FloatMap, ImageArray, Intrinsics, LensSource, ScaleShift

_DEFAULTS = InferenceOptions()
_LOOK_PX, _LEAST_FLOW_PX = 160, 32
"""Longer side of the small copies that frames are compared on, and the shorter side below which motion is ignored."""
_EXPOSURE = 110.0
"""Mean of the small copies."""
_SAME_COLOR = 10.0
"""Mean difference of the channels, 0 to 255, at which a pixel counts e times less than one that did not change."""
_LEAST_SAME = 0.15
"""Below this share of pixels that can be followed, there was a cut."""
_ROUNDS = 4
"""How often pixels that do not fit are given less weight."""
_OUTLYING = 3.0
"""A pixel that is off by this many times the mean gets half the weight."""
_SURPRISING = 6.0
"""The same for what is taken away of local differences."""
_RELEASE = 0.002
"""How much of its own scale each frame gets back, so that many small errors do not add up."""
_NEWS = 0.1
"""How much of its own map each frame keeps where the picture stays the same: a mean over some ten frames."""
_BLUR_PX = 3.0
"""Standard deviation, in pixels of the small copies, by which local differences are smoothed."""
_LEAST_WEIGHT = 0.05
"""Where fewer of the pixels around can be followed, the map is less and less changed."""
_STEEPEST = 4.0
"""A frame whose scale differs from the one before by more than this factor shows something else."""
_AHEAD = 2
"""Frames that are read, and results that are ready, before their turn."""


class _Look(NamedTuple):
    """What is kept of a frame: small copies of its picture (h, w, 3), at an even exposure, and of its map (h, w)."""

    picture: FloatMap
    values: FloatMap


class _Match(NamedTuple):
    """How a frame fits the one before.

    scale, shift: put its map onto the other. usual: mean difference that is left. old: the other map (h, w), every
    pixel where it is in the new frame. same: (h, w), 1 where the picture stayed the same, 0 where it did not.
    """

    scale: float
    shift: float
    usual: float
    old: FloatMap
    same: FloatMap


class ScaleHold:
    """Keeps maps from jumping between the frames of a shot: their scale and shift, and parts that stay the same.

    Scale and shift change a relative map itself; of a metric one they change the metres, by their `scale_shift`. Frames
    of another size than the one before, and cuts, begin anew.

    Attributes:
        cuts: how often it began anew, but for the first frame.
        line: scale and shift that the last frame was changed by.
    """

    def __init__(self) -> None:
        self.cuts = 0
        self.line = (1.0, 0.0)
        self._last: _Look | None = None

    def reset(self) -> None:
        """Forget the frames so far, as before another shot."""
        self._last, self.line = None, (1.0, 0.0)

    def resume(self, image: ImageArray, disparity: FloatMap, scale_shift: ScaleShift | None = None) -> None:
        """Go on after a frame that was held earlier: its picture, its map as held, and the scale of a metric one."""
        self._last = _look(image, disparity, scale_shift)

    def apply(self, image: ImageArray, result: DepthResult) -> DepthResult:
        """The result on the scale of the frames before it.

        image: (H, W, 3) uint8 RGB, the frame that the result is of.
        """
        given = result.scale_shift if result.depth is not None else None
        look = _look(image, result.disparity, given)
        match = _match(look, self._last) if self._last is not None else None
        if match is None:
            self.cuts += self._last is not None
            self.line = scale, shift = 1.0, 0.0
        else:
            self.line = scale, shift = match.scale + _RELEASE * (1 - match.scale), match.shift * (1 - _RELEASE)
        values = scale * look.values + shift
        local = None if match is None else _local_change(values, match)
        self._last = look._replace(values=values if local is None else values + local)
        if given is not None:
            held = replace(given, scale=scale * given.scale, shift=scale * given.shift + shift)
            disparity = _moved(result.disparity, 1.0, 0.0, None if local is None else local / np.float32(held.scale))
            depth = disparity_to_depth(disparity, held, sky=result.sky)
            return replace(result, disparity=disparity).with_depth(depth, held)
        coarse = None if result.coarse is None else _moved(result.coarse, scale, shift, local)
        return replace(result, disparity=_moved(result.disparity, scale, shift, local), coarse=coarse)


class VideoPredictor:
    """A model for the frames of a video, an image sequence or a camera, with one scale throughout.

    Args:
        predictor: of `load_model`.
        options: for every frame.
        intrinsics: of every frame; None for those that the model gives for the first frame, if it gives any.
        hold_scale: whether `ScaleHold` is applied.
    """

    def __init__(
        self,
        predictor: DepthPredictor,
        *,
        options: InferenceOptions = _DEFAULTS,
        intrinsics: Intrinsics | None = None,
        hold_scale: bool = True,
    ) -> None:
        self.predictor, self.options, self.intrinsics = predictor, options, intrinsics
        self.hold = ScaleHold() if hold_scale else None
        self._own: Intrinsics | None = None

    def infer(self, image: ImageArray) -> DepthResult:
        """Depth of the next frame, (H, W, 3) uint8 RGB; errors as in `DepthPredictor.infer`."""
        if self._own is not None and image.shape[:2] != (self._own.height, self._own.width):
            self._own = None  # another shot
        lens: LensSource = "given" if self.intrinsics is not None else "model"
        result = self.predictor.infer(
            image, intrinsics=self.intrinsics or self._own, lens_source=lens, options=self.options
        )
        self._own = result.intrinsics if result.lens_source == "model" else None
        return result if self.hold is None else self.hold.apply(image, result)

    def stream(self, frames: Iterable[ImageArray]) -> Iterator[tuple[ImageArray, DepthResult]]:
        """Each frame with its depth, in order; while one is used, the next is inferred and those after it are read.

        `frames` is read in a thread of its own and inference runs in another, each up to two frames ahead. An error of
        either is raised here, after the results before it. Closing the iterator waits for the frames under way.
        """
        with closing(ahead(frames, _AHEAD)) as pictures:
            yield from ahead(((image, self.infer(image)) for image in pictures), _AHEAD)


def _look(image: ImageArray, disparity: FloatMap, given: ScaleShift | None) -> _Look:
    """Small copies; the map is in inverse metres where its scale is given."""
    height, width = disparity.shape
    factor = min(1.0, _LOOK_PX / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    values = np.asarray(cv2.resize(disparity, size, interpolation=cv2.INTER_AREA), np.float32)
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    picture *= _EXPOSURE / max(float(picture.mean()), 1.0)
    return _Look(np.minimum(picture, 255), values if given is None else given.scale * values + given.shift)


def _match(new: _Look, old: _Look) -> _Match | None:
    """How the new frame fits the old one, or None where the two show different things."""
    if new.values.shape != old.values.shape:
        return None
    old, inside = _followed(old, new)
    weights = same = np.exp(-np.abs(new.picture - old.picture).mean(2) / _SAME_COLOR) * inside
    if same.mean() < _LEAST_SAME:
        return None
    for _ in range(_ROUNDS):
        scale, shift = _line(new.values, old.values, weights)
        off = np.abs(scale * new.values + shift - old.values)
        usual = float((off * weights).sum() / weights.sum())
        weights = same * _trust(off, _OUTLYING * usual)
    return _Match(scale, shift, usual, old.values, same) if 1 / _STEEPEST < scale < _STEEPEST else None


def _local_change(values: FloatMap, match: _Match) -> FloatMap | None:
    """What to add to the small map (h, w), once it is on the old one's scale; None for a flat map, which tells nothing.

    Only differences of the usual size count: what is new in the picture, and jumps to it, stay.
    """
    if np.ptp(values) == 0:
        return None
    off = match.old - values
    change = match.same * _trust(off, _SURPRISING * match.usual) * off
    change, weight = (cv2.GaussianBlur(part, (0, 0), _BLUR_PX) for part in (change, match.same))
    return np.asarray((1 - _NEWS) * change / (weight + _LEAST_WEIGHT), np.float32)


def _trust(off: FloatMap, half_at: float) -> FloatMap:
    """Weights (h, w) of pixels by how much they are off: a half at `half_at`."""
    return np.asarray(1 / (1 + (off / (half_at + 1e-12)) ** 2), np.float32)


def _followed(old: _Look, new: _Look) -> tuple[_Look, FloatMap]:
    """The old frame with every pixel moved to where it is in the new one, by optical flow; and 1 where there is one."""
    grey = [np.clip(look.picture.mean(2), 0, 255).astype(np.uint8) for look in (new, old)]
    height, width = grey[0].shape
    if min(height, width) < _LEAST_FLOW_PX:
        return old, np.ones((height, width), np.float32)
    flow = np.zeros((height, width, 2), np.float32)
    cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(grey[0], grey[1], flow)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).astype(np.float32)
    moved = (cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in old)
    return _Look(*(np.asarray(part, np.float32) for part in moved)), inside


def _line(x: FloatMap, y: FloatMap, weights: FloatMap) -> tuple[float, float]:
    """Scale and shift that give x the weighted median and spread of y.

    Where the camera moves, pixels do not quite match; a line fitted through pairs would be too flat, and all the more
    so with each frame. Spreads do not suffer from that.
    """
    (x_center, x_spread), (y_center, y_spread) = _center_and_spread(x, weights), _center_and_spread(y, weights)
    scale = y_spread / x_spread if x_spread > 0 and y_spread > 0 else 1.0  # a flat map has no scale
    return scale, y_center - scale * x_center


def _center_and_spread(values: FloatMap, weights: FloatMap) -> tuple[float, float]:
    """Weighted median, and mean absolute deviation from it."""
    order = np.argsort(values, axis=None)
    sums = np.cumsum(weights.ravel()[order])
    center = float(values.ravel()[order[np.searchsorted(sums, sums[-1] / 2)]])
    return center, float((np.abs(values - center) * weights).sum() / sums[-1])


def _moved(values: FloatMap, scale: float, shift: float, local: FloatMap | None) -> FloatMap:
    """The map (H, W) on another scale, with a small map of local changes added."""
    moved = values * np.float32(scale) + np.float32(shift)
    if local is not None:
        moved += cv2.resize(local, (moved.shape[1], moved.shape[0]), interpolation=cv2.INTER_LINEAR)
    return moved
