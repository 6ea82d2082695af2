"""Devices, precision, batch sizes, out-of-memory and cancelling."""

from __future__ import annotations

import pytest
import torch

from pro_engine.errors import CancelledError, DeviceError, InputError
from pro_engine.inference import runtime
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.contract import PsiSpec

pytestmark = pytest.mark.cpu  # other devices are named only

CPU = torch.device("cpu")
SPEC = PsiSpec((64, 64, 64, 64, 64, 32), input_area=512 * 384, multiple=32, keep_aspect=True)


def test_device_auto_is_one_that_torch_has():
    assert runtime.resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert runtime.resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "", "CUDA", 0, None])
def test_unknown_device_names(name):
    with pytest.raises(InputError, match="auto, cpu, cuda, cuda:N or mps"):
        runtime.resolve_device(name)


@pytest.mark.parametrize(("name", "has"), [("cuda", "cuda"), ("mps", "mps"), ("cuda:99", None)])
def test_missing_devices(name, has):
    if (has == "cuda" and torch.cuda.is_available()) or (has == "mps" and torch.backends.mps.is_available()):
        pytest.skip(f"this machine has {name}")
    with pytest.raises(DeviceError, match="asked for"):
        runtime.resolve_device(name)


@pytest.mark.parametrize(
    ("features", "wanted"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx2": True, "avx512_vnni": True}, torch.float32),
        ({"avx2": True, "avx512_bf16": True}, torch.bfloat16),
        ({"avx2": True, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.float32),  # no processor that our convolutions know
    ],
)
def test_the_fastest_goes_by_what_the_processor_says(monkeypatch, features, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert runtime.fastest_dtype() == wanted


@pytest.mark.parametrize(
    ("features", "slow"),
    [
        ({"avx2": True}, ["bfloat16", "float16"]),
        ({"avx2": True, "avx512_bf16": True}, ["float16"]),
        ({"avx2": True, "amx_bf16": True, "amx_fp16": True}, []),
        ({}, []),  # of another kind, of which nothing is known
    ],
)
def test_a_format_that_the_processor_lacks_is_noted(monkeypatch, tiny, features, slow):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    noted = [
        name
        for name in ("float32", "bfloat16", "float16")
        for note in DepthPredictor(tiny.Psi(), device="cpu", dtype=name).notes
        if name in note
    ]
    assert noted == slow and runtime.slow_dtype_notes(torch.float16, torch.device("cuda")) == ()


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_auto_is_the_fastest_for_networks_that_lose_nothing(monkeypatch, tiny, fast):
    monkeypatch.setattr(runtime, "fastest_dtype", lambda: fast)
    assert runtime.resolve_dtype("auto", CPU) == torch.float32
    assert runtime.resolve_dtype("auto", CPU, same_in_bfloat16=True) == fast
    same, other = tiny.Psi(), tiny.Psi()
    same.same_in_bfloat16 = True
    assert DepthPredictor(same, device="cpu").dtype == fast
    assert DepthPredictor(same, fine=other, device="cpu").dtype == torch.float32


def test_dtypes():
    assert runtime.resolve_dtype("bfloat16", CPU) == torch.bfloat16
    for name in ("half", 16, None):
        with pytest.raises(InputError, match="give auto, float32, bfloat16, float16 or int8"):
            runtime.resolve_dtype(name, CPU)


def test_int8_where_it_does_not_run_is_one_sentence(monkeypatch):
    monkeypatch.setattr(runtime, "int8_supported", lambda: True)
    assert runtime.resolve_dtype("int8", CPU) == torch.int8
    with pytest.raises(DeviceError, match="VNNI instructions, not cuda"):
        runtime.resolve_dtype("int8", torch.device("cuda"))
    monkeypatch.setattr(runtime, "int8_supported", lambda: False)
    with pytest.raises(DeviceError, match="use auto"):
        runtime.resolve_dtype("int8", CPU)


def test_auto_batch_follows_free_memory(monkeypatch):
    def batch(free: int, patches: int = 16) -> int:
        monkeypatch.setattr(runtime, "free_memory", lambda device: free)
        cuda = torch.device("cuda")  # named only: nothing runs there
        return runtime.auto_batch_size(patches, (384, 512), SPEC, device=cuda, dtype=torch.float32)

    assert batch(0) == 1
    assert batch(2**34) >= 2 * batch(2**32) > 1
    assert batch(2**60) == 16
    assert batch(2**60, patches=3) == 3


def test_free_memory_is_plausible():
    assert 2**26 < runtime.free_memory(CPU) < 2**50


def test_batches_cover_everything_once():
    seen: list[tuple[int, int]] = []
    runtime.run_batches(7, 3, lambda a, b: seen.append((a, b)), device=CPU)
    assert seen == [(0, 3), (3, 6), (6, 7)]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_batch(error):
    seen: list[tuple[int, int]] = []

    def step(start: int, stop: int) -> None:
        if stop - start > 2:
            raise error
        seen.append((start, stop))

    runtime.run_batches(9, 8, step, device=CPU)
    assert seen == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 9)]


def test_out_of_memory_at_one_patch_is_an_error():
    def step(start: int, stop: int) -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(DeviceError, match="does not hold even one patch"):
        runtime.run_batches(4, 4, step, device=CPU)


def test_other_errors_pass():
    def step(start: int, stop: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        runtime.run_batches(4, 4, step, device=CPU)


def test_failed_batch_is_freed_before_the_next_try():
    """Out of memory must not keep the tensors of the batch that failed alive while the smaller one runs."""

    class Tracked:
        alive = 0

        def __init__(self) -> None:
            Tracked.alive += 1

        def __del__(self) -> None:
            Tracked.alive -= 1

    counts: list[int] = []

    def step(start: int, stop: int) -> None:
        counts.append(Tracked.alive)
        held = Tracked()
        if stop - start > 1:
            raise torch.OutOfMemoryError("full")
        del held

    runtime.run_batches(2, 2, step, device=CPU)
    assert counts == [0, 0, 0]


def test_report():
    calls: list[tuple[int, int]] = []
    runtime.report(lambda done, total: calls.append((done, total)), 1, 3)
    runtime.report(None, 2, 3)
    assert calls == [(1, 3)]
    with pytest.raises(CancelledError, match="after 2 of 3"):
        runtime.report(lambda done, total: False, 2, 3)
