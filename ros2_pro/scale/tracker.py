"""Metres from relative disparity: gives every frame its scale and shift, and says how good they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pro_engine as pro
from ros2_pro.scale.fit import (
    BoolMap,
    Fit,
    FloatMap,
    Line,
    NoFitError,
    Vector,
    are_alike,
    carried,
    fit_line,
    quantiles_of,
    smoothed,
)
from ros2_pro.settings import ScaleSettings

if TYPE_CHECKING:
    from ros2_pro.scale.sensor_samples import Samples

FITTED = ("align", "ground")
"""Values of scale.mode by which frames are fitted to samples."""
CONFIRMATIONS = 3  # frames in a row that must agree before a fit far off the last good one is believed


@dataclass(frozen=True)
class FrameScale:
    """What turns the disparity of one frame into metres.

    scale_shift: None where nothing does.
    age_s: seconds since the last usable fit; 0 where nothing is fitted, infinite before the first fit.
    inlier_share, samples: of the fit tried last.
    state: "ok" (fitted to this frame, or given), "held" (the last good fit, carried over to this frame), "stale" (no
        usable fit for `stale_after_s`; `scale_shift` is given on until `hold_s`), "none" (nothing gives metres).
    reason: a sentence for diagnostics.
    rejected: whether samples came and gave no usable fit.
    """

    scale_shift: pro.ScaleShift | None
    age_s: float
    inlier_share: float
    samples: int
    state: str
    reason: str
    rejected: bool = False


@dataclass(frozen=True, eq=False)
class _Kept:
    """A line in the normalisation of the frame whose disparity has these quantiles."""

    line: Line
    inlier_share: float
    quantiles: Vector
    time_s: float  # as of `_Memory`

    def carried(self, quantiles: Vector) -> _Kept:
        """The same in the normalisation of another frame."""
        return replace(self, line=carried(self.line, self.quantiles, quantiles), quantiles=quantiles)


@dataclass
class _Memory:
    """What is known of earlier frames.

    time_s: what has passed by their stamps, or by the clock where those stand still: a simulation or a recording may
    run at any speed.
    """

    good: _Kept | None = None
    candidate: _Kept | None = None
    confirmations: int = 0
    stamp_s: float = -math.inf
    now_s: float = -math.inf
    time_s: float = 0.0
    since_s: float = math.inf  # time of the last usable fit, or of the first frame before there is one
    gap_s: float = 0.0  # of the clock, between the last two frames
    last: FrameScale | None = None

    def next(self, stamp_s: float, now_s: float) -> None:
        """A frame came."""
        if self.now_s > -math.inf:
            self.gap_s = now_s - self.now_s
            self.time_s += (stamp_s - self.stamp_s) or self.gap_s
        self.stamp_s, self.now_s, self.since_s = stamp_s, now_s, min(self.since_s, self.time_s)

    def age_s(self, time_s: float) -> float:
        """Of the last usable fit."""
        return math.inf if self.good is None else time_s - self.good.time_s


class ScaleTracker:
    """Follows the scale from frame to frame. `update`, `reset` and `configure` are of one thread, `status` of any."""

    def __init__(self, settings: ScaleSettings) -> None:
        self._settings = settings
        self._memory = _Memory()

    def configure(self, settings: ScaleSettings) -> None:
        """Use other settings from the next frame on; the last good fit stays."""
        self._settings = settings

    def reset(self) -> None:
        """Forget everything but the settings."""
        self._memory = _Memory()

    def update(
        self,
        disparity: FloatMap,
        valid: BoolMap,
        samples: Samples | None,
        stamp_s: float,
        now_s: float,
        *,
        metric: pro.ScaleShift | None = None,
        absence: str = "no samples came",
    ) -> FrameScale:
        """The scale of a frame.

        Args:
            disparity: (H, W) relative inverse depth, larger is nearer, NaN where unknown. Its scale and shift may be
                others in every frame.
            valid: (H, W) bool, the pixels to look at.
            samples: of the sensor at the time of the image, or of the ground, or None. Only `FITTED` look at them.
            stamp_s: of the image, in seconds. An earlier one than before means that time was turned back: fitting
                starts anew.
            now_s: of a clock that only goes forward, in seconds; ages are told by it where stamps stand still, and from
                the last frame on.
            metric: what the model itself gives, for `metric` and `estimated`.
            absence: why there are no samples, in words.
        """
        settings = self._settings
        modes: dict[str, Callable[[], FrameScale]] = {
            "none": lambda: _nothing("scale.mode is none."),
            "fixed": lambda: _given(pro.ScaleShift(settings.factor, settings.shift)),
            "metric": lambda: _own(metric, ("metric",)),
            "estimated": lambda: _own(metric, ("metric", "estimated", "assumed")),
            **dict.fromkeys(FITTED, lambda: self._align(disparity, valid, samples, stamp_s, now_s, absence)),
        }
        scale = modes[settings.mode]()
        self._memory.last = scale
        return scale

    def status(self, now_s: float) -> FrameScale:
        """The last frame's scale as it stands now: without new frames, what was good grows old.

        Frames that come slowly, as from a large model, are no silence: one may be as late as the last one was, again.
        """
        memory, settings = self._memory, self._settings
        last = memory.last
        if settings.mode == "none":
            return _nothing("scale.mode is none.")
        if last is None:
            return _nothing("There was no frame yet.")
        if settings.mode not in FITTED or memory.now_s == -math.inf:  # the last frame was of another mode
            return last
        time_s = memory.time_s + now_s - memory.now_s
        age_s, silent_s = memory.age_s(time_s), time_s - memory.since_s
        current = replace(last, age_s=age_s, scale_shift=last.scale_shift if age_s <= settings.hold_s else None)
        patience_s = max(settings.stale_after_s, 2 * memory.gap_s if last.state == "ok" else 0.0)
        if silent_s <= patience_s or last.state == "stale":
            return current
        why = "no frame came" if last.state == "ok" else last.reason
        return replace(current, state="stale", reason=_stale_reason(silent_s, why))

    def _align(
        self, disparity: FloatMap, valid: BoolMap, samples: Samples | None, stamp_s: float, now_s: float, absence: str
    ) -> FrameScale:
        if stamp_s < self._memory.stamp_s or now_s < self._memory.now_s:
            self.reset()
        memory, settings = self._memory, self._settings
        memory.next(stamp_s, now_s)
        time_s = memory.time_s
        quantiles = quantiles_of(disparity, valid)
        good = memory.good.carried(quantiles) if memory.good and memory.age_s(time_s) <= settings.hold_s else None
        if samples is None:
            return self._held(good, absence)
        try:
            fit = fit_line(
                disparity, valid, samples, quantiles,
                min_samples=settings.min_samples, min_inlier_share=settings.min_inlier_share,
            )  # fmt: skip
        except NoFitError as error:
            memory.candidate = None
            return self._held(good, str(error), error)
        kept = _Kept(fit.line, fit.inlier_share, quantiles, time_s)
        line = fit.line
        if good is not None and are_alike(fit, good.line):
            line = smoothed(fit, good.line, time_s - good.time_s, settings.smoothing_s)
        elif good is not None and not self._confirmed(fit, kept):
            return self._held(good, "the fit is far off the last good one", fit)
        memory.good, memory.candidate, memory.since_s = replace(kept, line=line), None, time_s
        return _fitted(line, fit)

    def _confirmed(self, fit: Fit, kept: _Kept) -> bool:
        """Whether a fit that is far off the last good one was found often enough in a row."""
        memory = self._memory
        known = memory.candidate
        again = known is not None and are_alike(fit, known.carried(kept.quantiles).line)
        memory.confirmations = memory.confirmations + 1 if again else 1
        memory.candidate = kept
        return memory.confirmations >= CONFIRMATIONS

    def _held(self, good: _Kept | None, why: str, tried: Fit | NoFitError | None = None) -> FrameScale:
        """The last good fit carried to this frame, if any; `tried` is what this frame's own samples gave, if any."""
        memory = self._memory
        share, samples = (tried.inlier_share, tried.samples) if tried is not None else (0.0, 0)
        silent_s = memory.time_s - memory.since_s
        stale = silent_s > self._settings.stale_after_s
        return FrameScale(
            None if good is None else pro.ScaleShift(*good.line, good.inlier_share, "fitted"),
            memory.age_s(memory.time_s),
            share,
            samples,
            "stale" if stale else "none" if good is None else "held",
            _stale_reason(silent_s, why) if stale else _sentence(why),
            rejected=tried is not None,
        )


def _fitted(line: Line, fit: Fit) -> FrameScale:
    agree = f"{fit.inlier_share:.0%} of {fit.samples} samples agree"
    reason = f"1/depth = {line.slope:.4g} * disparity {line.offset:+.4g}; {agree}."
    scale_shift = pro.ScaleShift(*line, fit.inlier_share, "fitted")
    return FrameScale(scale_shift, 0.0, fit.inlier_share, fit.samples, "ok", reason)


def _given(scale_shift: pro.ScaleShift) -> FrameScale:
    reason = f"1/depth = {scale_shift.scale:.4g} * disparity {scale_shift.shift:+.4g}, {scale_shift.source}."
    return FrameScale(scale_shift, 0.0, scale_shift.inlier_share, 0, "ok", reason)


def _own(metric: pro.ScaleShift | None, sources: tuple[str, ...]) -> FrameScale:
    """The model's own metres, if they come from where they may."""
    if metric is None:
        return _nothing("The model gives no metres; take one that does, or another scale.mode.")
    if metric.source not in sources:
        guess = "follow from an assumed lens; give camera_info" if metric.source == "assumed" else "are an estimate"
        return _nothing(f"The model's metres {guess}, or set scale.mode to estimated to take them as they are.")
    return _given(metric)


def _nothing(reason: str) -> FrameScale:
    return FrameScale(None, 0.0, 0.0, 0, "none", reason)


def _stale_reason(silent_s: float, why: str) -> str:
    return _sentence(f"no usable fit for {silent_s:.1f} s: {why}")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."
