"""The processes of a run: Lightning Fabric by our options, and Ctrl-C that ends a run after its step."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from pro_engine.errors import DeviceError
from pro_engine.training.options import LoopConfig


class _Autocast(MixedPrecision):
    """Mixed precision that leaves the inputs in single: disparity in 8 bits of mantissa would be no disparity."""

    def convert_input(self, data: Any) -> Any:
        return data


def launch(config: LoopConfig) -> Fabric:
    """Fabric for the run. With several devices the other processes are started here, by giving the same command again;
    under torchrun, which has started them, they find each other.

    Raises:
        DeviceError: the devices or the precision are not to be had on this machine.
    """
    accelerator = _resolve(config.accelerator)
    if config.precision == "16-mixed" and accelerator != "cuda":
        raise DeviceError(f"precision 16-mixed needs CUDA, here is {accelerator}; use bf16-mixed or fp32.")
    if accelerator == "cuda":
        if torch.cuda.device_count() < config.devices:
            raise DeviceError(
                f"devices is {config.devices}, but {torch.cuda.device_count()} GPUs are here; give fewer."
            )
        torch.set_float32_matmul_precision("high")
    elif accelerator == "mps" and config.devices > 1:
        raise DeviceError(f"devices is {config.devices}, but a Mac has one GPU; give 1, or use --accelerator cpu.")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        # A refiner may have parameters without use: the published checkpoint has some.
        strategy=DDPStrategy(find_unused_parameters=True) if config.devices > 1 else "auto",
        plugins=None if config.precision == "fp32" else _Autocast(config.precision, accelerator),
    )
    fabric.launch()
    return fabric


def _resolve(accelerator: str) -> str:
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(name for name, there in here.items() if there)
    if not here[accelerator]:
        raise DeviceError(f"accelerator is {accelerator}, which this machine or its PyTorch lacks; use auto or cpu.")
    return accelerator


def gather_rows(row: Tensor, processes: int) -> Tensor:
    """The rows (n,) of all processes as (processes, n), the same in each of them."""
    if processes == 1:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(processes)]
    torch.distributed.all_gather(rows, row)
    return torch.stack(rows)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """While the block runs, the first SIGINT or SIGTERM only makes the function that is yielded return True; the next
    one acts as it would have. In other threads than the main one signals stay as they are."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def ask(*_: object) -> None:
        asked.set()
        restore()

    for number in earlier:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()


def ignore_interrupt(_: int) -> None:
    """For processes that read samples: Ctrl-C reaches the whole group, and the main process decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
