"""Where and how a model runs: device, precision, how many patches at a time, and what happens when memory runs out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from pro_engine.errors import CancelledError, DeviceError
from pro_engine.models.attention import PlainAttention
from pro_engine.models.contract import PsiSpec
from pro_engine.models.int8 import int8_supported
from pro_engine.models.packed import packing_supported
from pro_engine.options import ModelOptions, OptionError, check

Progress = Callable[[int, int], object]
"""progress(done, total): called after every batch; returning False, or raising CancelledError, stops the run."""

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Features of processors that multiply matrices in bfloat16 about twice as fast as in float32, or faster."""
_FAST_FLOAT16 = ("avx512_fp16", "amx_fp16")
# Working memory of a patch over the bytes of its features, Ψ's and the refiner's maps together. Peaks measured on a CPU
# in float32: 7 for the compact model, 9 and 11 for the published refiner on Depth Anything V2 small and large.
_MEMORY_FACTOR = 12
_UNKNOWN_CHANNELS = (256, 256, 256, 256, 256, 32)  # of a Ψ that shows none: those of Depth Anything V2 large
_MEMORY_SHARE = 0.5
_MAX_BATCH = {"cpu": 4, "mps": 8, "cuda": 64}
_FREE_IF_UNKNOWN = 2 * 2**30


def resolve_device(name: str = ModelOptions.device) -> torch.device:
    """The torch device for "auto" (CUDA, else MPS, else CPU), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        InputError: another name. DeviceError: a device that this machine or this build of torch does not have.
    """
    if not isinstance(name, str):
        raise OptionError(f"{{0}} is {name!r}; give a string: auto, cpu, cuda, cuda:N or mps.", "device")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdecimal())):
        raise OptionError(f"{{0}} is {name!r}; give auto, cpu, cuda, cuda:N or mps.", "device")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(f"{name} was asked for but torch {torch.__version__} sees no CUDA GPU; use cpu.")
        if int(index or 0) >= count:
            raise DeviceError(f"{name} was asked for but there are {count} CUDA GPUs, numbered from 0.")
    if kind == "mps" and not _has_mps():
        raise DeviceError("mps was asked for but torch sees no Apple GPU here; use cpu.")
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device, *, same_in_bfloat16: bool = False) -> torch.dtype:
    """The precision of the networks for "auto", "float32", "bfloat16", "float16" or "int8".

    auto: on CUDA bfloat16 where the GPU computes in it, else float16; on a processor `fastest_dtype` for networks of
    which it is shown that nothing is lost in bfloat16 (`DepthBase.same_in_bfloat16`); else float32. int8 is for the
    refiner on a CPU, which asks for speed: the rest is in `fastest_dtype`.

    Raises:
        InputError: another name. DeviceError: int8 where it does not run.
    """
    check(ModelOptions, "dtype", name)
    if name == "auto":
        if device.type != "cuda":
            return fastest_dtype() if same_in_bfloat16 and device.type == "cpu" else torch.float32
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    if name == "int8" and not (device.type == "cpu" and int8_supported()):
        raise DeviceError(
            f"dtype int8 needs an x86 processor with VNNI instructions, not {device} of this machine; use auto."
        )
    return _DTYPES[name]


def fastest_dtype() -> torch.dtype:
    """bfloat16 where this processor says that it multiplies matrices in it, else float32; nothing is timed."""
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = packing_supported() and any(has.get(feature) for feature in _FAST_BFLOAT16)
    return torch.bfloat16 if fast else torch.float32


def slow_dtype_notes(dtype: torch.dtype, device: torch.device) -> tuple[str, ...]:
    """A sentence where this is an x86 processor that has no instructions for a format of 16 bits."""
    features = {torch.bfloat16: _FAST_BFLOAT16, torch.float16: _FAST_FLOAT16}.get(dtype)
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or features is None or not has.get("avx2") or any(has.get(name) for name in features):
        return ()
    return (f"This processor does not compute in {str(dtype).removeprefix('torch.')}; float32 is faster.",)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """The context in which networks run: autocast to `dtype`, or nothing for float32. int8 concerns the refiner's
    convolutions, the rest is in `fastest_dtype`."""
    if dtype == torch.int8:
        dtype = fastest_dtype()
    if dtype == torch.float32:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    stack.enter_context(torch.autocast(device.type, dtype))
    if device.type == "cpu" and dtype == torch.bfloat16:
        stack.enter_context(PlainAttention())
    return stack


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given, so that clocks tell the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory_bytes() -> int | None:
    """The most memory this process has held so far, None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes(device: torch.device) -> int | None:
    """The most memory that torch has held on a CUDA device since it started or `reset_peak_device_bytes`, else None."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def reset_peak_device_bytes(device: torch.device) -> None:
    """Start measuring `peak_device_bytes` anew; nothing on devices other than CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`; for a CPU within the limit of its container, if it has one."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    bounds = [value for value in (_host_memory(), _container_memory()) if value is not None]
    return min(bounds, default=_FREE_IF_UNKNOWN)


def auto_batch_size(
    patches: int, patch: tuple[int, int], spec: PsiSpec, *, device: torch.device, dtype: torch.dtype
) -> int:
    """How many patches of `patch` (h, w) pixels to run at once: what half the free memory holds, 1 to `patches`."""
    item = torch.finfo(dtype if dtype.is_floating_point else torch.float32).bits // 8
    # Levels 5 to 0 have 1, 1/4, 1/16, ... of the input's pixels; 8 stands for image, disparities, refiner input.
    channels = 8 + sum(c / 4**i for i, c in enumerate(reversed(spec.feature_channels or _UNKNOWN_CHANNELS)))
    per_patch = patch[0] * patch[1] * channels * item * _MEMORY_FACTOR
    fits = int(free_memory(device) * _MEMORY_SHARE / per_patch)
    limit = _MAX_BATCH[device.type]
    if device.type == "cpu" and torch.get_num_threads() == 1:
        limit = 1  # only threads that wait for each other gain from more at once; a single one leaves the cache
    if device.type == "cpu" and not spec.feature_channels:
        limit = 1  # nothing tells how much memory such a Ψ takes, and a CPU that has none left ends the process
    return max(1, min(fits, patches, limit))


def run_batches(
    count: int,
    batch_size: int,
    step: Callable[[int, int], None],
    *,
    device: torch.device,
    after: Callable[[int], None] | None = None,
) -> None:
    """Call `step(start, stop)` over range(count) in batches, halving the batch whenever memory runs out.

    `after(stop)` follows every batch that succeeded; what it raises ends the run.

    Raises:
        DeviceError: memory does not hold even a batch of one.
    """
    start = 0
    while start < count:
        stop = min(start + batch_size, count)
        try:
            step(start, stop)
            failed = False
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        # Outside the handler: the exception, which keeps the failed batch's tensors alive, is gone by now.
        if failed:
            _empty_cache(device)
            if stop - start == 1:
                raise out_of_memory(device)
            batch_size = (stop - start) // 2
            continue
        start = stop
        if after is not None:
            after(stop)


def out_of_memory(device: torch.device) -> DeviceError:
    """The error for a device that does not hold even one picture at Ψ's input size."""
    return DeviceError(
        f"The memory of {device} does not hold even one patch; close other programs, take a smaller model, "
        "or run on the cpu."
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory: its own error on accelerators, a plain RuntimeError of the CPU's allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def report(progress: Progress | None, done: int, total: int) -> None:
    """Tell `progress`, and raise CancelledError if it answers False."""
    if progress is not None and progress(done, total) is False:
        raise CancelledError(f"Stopped on request after {done} of {total} steps.")


class Stopwatch:
    """Seconds per named phase; one per image, so that threads do not share it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        start = time.perf_counter()
        yield
        synchronize(self._device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Seconds since the stopwatch was made; also kept as `total`."""
        self.seconds["total"] = time.perf_counter() - self._start
        return self.seconds["total"]


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _host_memory() -> int | None:
    """MemAvailable of Linux, None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kib) * 1024 if kib else None


def _container_memory() -> int | None:
    """What is left under the memory limit of this process's control group (v2, then v1), None without a limit."""
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            text = (root / limit).read_text().strip()
            if text == "max":
                return None
            return max(0, int(text) - int((root / used).read_text()))
        except (OSError, ValueError):
            continue
    return None
