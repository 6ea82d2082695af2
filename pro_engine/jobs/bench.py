"""How long a picture takes, beside the floor: the same number of Ψ passes timed alone, in the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pro_engine.inference import runtime
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.tiling import Plan
from pro_engine.inference.work import flop_formulas
from pro_engine.jobs.options import BenchOptions
from pro_engine.options import InferenceOptions
from pro_engine.types import ImageArray

PHASES = ("preprocess", "coarse", "patches", "refiner", "canvas")
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Spread:
    """Median and interquartile range of some times, in seconds."""

    median: float
    iqr: float

    @classmethod
    def of(cls, times: list[float]) -> Spread:
        """The spread of at least one time."""
        low, middle, high = np.percentile(times, (25, 50, 75))
        return cls(float(middle), float(high - low))


@dataclass(frozen=True)
class BenchReport:
    """What `pro-engine bench` prints: times in seconds; memory in bytes, measured before the floor, None if unknown.

    `passes` are those of Ψ; `floor` is as many of Ψ alone, the patches `floor_batch` at a time, the fastest of those
    tried. `ratio` compares wall times, `cpu_ratio` processor times, which other programs on the machine disturb less.
    `floor_macs` and `total_macs` are multiply-adds of convolutions and matrices, 0 where PyTorch does not run them.
    """

    model: str
    device: str
    dtype: str
    threads: int
    image: tuple[int, int]
    tiles: tuple[int, int]
    patch: tuple[int, int]
    passes: int
    runs: int
    load: float
    phases: dict[str, Spread]
    total: Spread
    floor: Spread
    floor_batch: int
    ratio: float
    cpu_ratio: float | None
    floor_macs: int
    total_macs: int
    peak_host_bytes: int | None
    peak_device_bytes: int | None

    def title(self) -> str:
        """One line that says what was timed."""
        (height, width), (rows, cols), (patch_h, patch_w) = self.image, self.tiles, self.patch
        return (
            f"{self.model} on {self.device}, {self.dtype}, {self.threads} threads: {width}x{height}, {rows}x{cols} "
            f"patches of {patch_w}x{patch_h}, median of {self.runs} runs (IQR)"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Name and value of every figure, for people."""
        floor_name = f"floor: {self.passes} Ψ passes, {self.floor_batch} at a time"
        timed = {**self.phases, "total": self.total, floor_name: self.floor}
        rows = [("load", f"{self.load:.2f} s")]
        rows += [(name, f"{spread.median:.2f} s ({spread.iqr:.2f})") for name, spread in timed.items()]
        rows.append(("total / floor", f"{self.ratio:.2f}"))
        if self.cpu_ratio is not None:
            rows.append(("total / floor, CPU time", f"{self.cpu_ratio:.2f}"))
        if self.floor_macs:
            rows.append(("total / floor, multiply-adds", f"{self.total_macs / self.floor_macs:.2f}"))
        for name, peak in (("peak memory", self.peak_host_bytes), ("peak GPU memory", self.peak_device_bytes)):
            if peak is not None:
                rows.append((name, f"{peak / 2**20:.0f} MiB"))
        return list(rows)


class _Timed(NamedTuple):
    """Runs and floors in turn: the runs' timings, and wall and processor seconds of both."""

    timings: list[dict[str, float]]
    totals: list[float]
    floors: list[float]
    total_cpu: list[float]
    floor_cpu: list[float]


def run_bench(
    predictor: DepthPredictor,
    image: ImageArray,
    options: InferenceOptions,
    *,
    load_seconds: float,
    runs: int = BenchOptions.runs,
    warm_up: int = BenchOptions.warm_up,
    on_step: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Time `predictor.infer(image)` and the floor in turn, `runs` times, after `warm_up` runs that do not count."""
    steps = warm_up + 2 + runs

    def after(done: int) -> None:
        if on_step is not None:
            on_step(done, steps)

    for i in range(warm_up):
        predictor.infer(image, options=options)
        after(i + 1)
    host, device = runtime.peak_memory_bytes(), runtime.peak_device_bytes(predictor.device)
    with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as total_work:
        predictor.infer(image, options=options)
    after(warm_up + 1)
    layout = predictor.plan(image.shape[0], image.shape[1], options.tiles)
    patches = sum(one.patches for one in predictor.plans(image.shape[0], image.shape[1], options))
    batch = _best_batch(predictor, layout)
    with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as floor_work:
        _floor(predictor, layout, batch, patches)
    after(warm_up + 2)
    timed = _Timed([], [], [], [], [])
    for i in range(runs):
        _time_once(timed, predictor, image, options, partial(_floor, predictor, layout, batch, patches))
        after(warm_up + 3 + i)
    total, floor = Spread.of(timed.totals), Spread.of(timed.floors)
    on_cpu = predictor.device.type == "cpu"
    return BenchReport(
        model=predictor.full_name,
        device=str(predictor.device),
        dtype=predictor.dtype_name,
        threads=torch.get_num_threads(),
        image=layout.image,
        tiles=layout.grid,
        patch=layout.patch,
        passes=1 + patches,
        runs=runs,
        load=load_seconds,
        phases={name: Spread.of([timings.get(name, 0.0) for timings in timed.timings]) for name in PHASES},
        total=total,
        floor=floor,
        floor_batch=batch,
        ratio=total.median / floor.median,
        cpu_ratio=float(np.median(timed.total_cpu) / np.median(timed.floor_cpu)) if on_cpu else None,
        floor_macs=floor_work.get_total_flops() // 2,
        total_macs=total_work.get_total_flops() // 2,
        peak_host_bytes=host,
        peak_device_bytes=device,
    )


def sample_picture(height: int, width: int) -> ImageArray:
    """A picture to time on when none is given: a lit floor, a sky and seeded discs of detail at all scales."""
    rng = np.random.default_rng(0)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    base = np.where(y < 0.4, 200 - 60 * y, 60 + 130 * y) * np.ones((1, width), dtype=np.float32)
    picture = np.stack([base * share for share in (0.9, 0.95, 1.0)], axis=2).astype(np.uint8)
    for _ in range(200):
        centre = int(rng.integers(width)), int(rng.integers(height * 2 // 5, height))
        radius = max(1, int(height * 0.1 * rng.random() ** 2))
        cv2.circle(picture, centre, radius, tuple(int(v) for v in rng.integers(0, 240, 3)), -1, cv2.LINE_AA)
    noise = rng.integers(0, 16, (math.ceil(height / 2), math.ceil(width / 2), 3), dtype=np.uint8)
    picture += np.repeat(np.repeat(noise, 2, axis=0), 2, axis=1)[:height, :width]
    return picture


def _time_once(
    timed: _Timed,
    predictor: DepthPredictor,
    image: ImageArray,
    options: InferenceOptions,
    floor: Callable[[], float],
) -> None:
    cpu = time.process_time()
    result = predictor.infer(image, options=options)
    timed.total_cpu.append(time.process_time() - cpu)
    timed.timings.append(result.timings)
    timed.totals.append(result.seconds)
    cpu = time.process_time()
    timed.floors.append(floor())
    timed.floor_cpu.append(time.process_time() - cpu)


def _floor(predictor: DepthPredictor, layout: Plan, batch: int, patches: int) -> float:
    """Seconds of one coarse pass and one pass for each of so many patches through Ψ alone."""
    coarse = torch.rand(1, 3, *layout.coarse, device=predictor.device)
    rgb = torch.rand(batch, 3, *layout.patch, device=predictor.device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), runtime.autocast(predictor.device, predictor.dtype):
        runtime.synchronize(predictor.device)
        start = time.perf_counter()
        predictor.psi(coarse)
        for first in range(0, patches, batch):
            (predictor.fine or predictor.psi)(rgb[: min(batch, patches - first)])
        runtime.synchronize(predictor.device)
        return time.perf_counter() - start


def _best_batch(predictor: DepthPredictor, layout: Plan) -> int:
    """Of the batch sizes up to the number of patches the one with the fastest floor; those without memory drop out."""
    times: dict[float, int] = {}
    for batch in _BATCHES:
        if batch > layout.patches:
            break
        try:
            times[_floor(predictor, layout, batch, layout.patches)] = batch
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
            break
    return times[min(times)] if times else 1
