"""What a run is expected to take, told before anything is loaded: from a table, without timing anything.

    memory = the program itself + weights in float32 of all networks + the largest working set of a pass + maps
    time = operations of all passes / speed of the device + time for each pixel of the photo

Passes are those of the plan for the photo's size. `Effort` of each preset has parameters, operations and working set;
`benchmarks/cost.py` compares all of this with real runs. Speeds are of plain processors and graphics cards; a machine
may well be twice as fast or slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from pro_engine.inference import runtime, tiling
from pro_engine.inference.average import MOVES
from pro_engine.inference.load import fine_preset, preset_of
from pro_engine.models.presets import ModelPreset
from pro_engine.options import InferenceOptions, ModelOptions

TYPICAL_SIZE = (3000, 4000)
"""Height and width of a photo where none is at hand."""

_LARGE_BYTES = 4e9
_LONG_S = 120.0
_PROGRAM_BYTES = 400e6  # Python, PyTorch, OpenCV
_WEIGHT_BYTES = 4
_PIXEL_BYTES = 20  # the photo, its maps, and what files are made from
_PIXEL_S = 0.2e-6  # reading, resizing, sharpening
_REFINER_GFLOP = 31e-6  # for each pixel of a patch; the refiner for any Ψ
_GFLOP_PER_S = {"cpu": 60.0, "mps": 1000.0, "cuda": 10_000.0}  # of one thread, of a whole graphics card


@dataclass(frozen=True)
class Cost:
    """What one photo is expected to take: the most memory held at a time, in bytes, and seconds without loading."""

    memory_bytes: float
    seconds: float

    @property
    def is_large(self) -> bool:
        """Whether people want to know before they start: more than 4 GB, or more than two minutes."""
        return self.memory_bytes > _LARGE_BYTES or self.seconds > _LONG_S

    def __str__(self) -> str:
        """Such as "about 9.4 GB of memory and 4 min"."""
        seconds = self.seconds
        time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
        return f"about {self.memory_bytes / 1e9:.1f} GB of memory and {time}"


def expected_cost(
    model: ModelOptions, inference: InferenceOptions | None = None, size: tuple[int, int] = TYPICAL_SIZE
) -> Cost:
    """The cost of one photo of this height and width, on the device that the options ask for, with the threads that
    PyTorch has now.

    Raises:
        InputError: no such model or device; a side under 32 pixels. DeviceError: the device is not there.
    """
    inference = inference or InferenceOptions()
    device = runtime.resolve_device(model.device)
    preset = preset_of(model.name)
    fine = model.fine
    if model.refiner_weights is not None and fine == ModelOptions.fine:
        fine = "same"
    other = fine_preset(preset, fine, preset.effort.parameters_m * 1e6, device)
    looking = other or preset
    is_refined = inference.refine != "none"
    tiles = inference.tiles if is_refined else (1, 1)
    plan = partial(tiling.plan, *size, preset.spec, tiles, fine=None if other is None else other.spec)
    layout = plan()
    grids = {plan(shifted=move) for move in MOVES[: inference.passes]}
    patches = sum(grid.patches for grid in grids) if is_refined else 0
    passes = 0 if other is None and layout.grid == (1, 1) else patches  # the one patch is the whole picture
    share = layout.patch[0] * layout.patch[1] / looking.spec.input_area
    seen_twice = other is not None and (preset.share > 0 or other.refiner_weights is not None)
    gflop = preset.effort.gflop + (looking.effort.gflop if seen_twice else 0) + passes * looking.effort.gflop * share
    gflop += patches * layout.patch[0] * layout.patch[1] * _REFINER_GFLOP
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    pixels = size[0] * size[1]
    at_once = _patches_at_once(looking, layout, inference, device) if passes else 0
    working_mb = max(preset.effort.work_mb, at_once * share * looking.effort.work_mb)
    parameters_m = preset.effort.parameters_m + (other.effort.parameters_m if other else 0)
    return Cost(
        memory_bytes=_PROGRAM_BYTES + 1e6 * (_WEIGHT_BYTES * parameters_m + working_mb) + pixels * _PIXEL_BYTES,
        seconds=gflop / (_GFLOP_PER_S[device.type] * threads) + pixels * _PIXEL_S,
    )


def _patches_at_once(
    looking: ModelPreset, layout: tiling.Plan, inference: InferenceOptions, device: torch.device
) -> int:
    if isinstance(inference.batch_size, int):
        return min(inference.batch_size, layout.patches)
    return runtime.auto_batch_size(layout.patches, layout.patch, looking.spec, device=device, dtype=torch.float32)
