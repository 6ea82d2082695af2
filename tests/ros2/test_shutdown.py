"""SIGINT, twice SIGINT and SIGTERM at any moment: exit code 0 soon, nothing said, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rig import PATIENCE_S, Camera, NodeProcess, stub_command, wait_for

# Fast DDS has been seen to wait for ever as it leaves; the node then ends itself, with another exit code.
pytestmark = pytest.mark.flaky(reruns=1)

SIGNALS = {
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM": (signal.SIGTERM,),
}
STAYING = ("idle", "inferring", "inferring", "loading")
PASSING = ("importing", "importing", "starting", "starting")  # over within a second
TWICE_APART_S = 0.04
SHARED = Path("/dev/shm")


@dataclass
class Departure:
    """One node that was told to end: what is seen of it, looked at from a thread of its own."""

    node: NodeProcess
    moment: str
    shared: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    def reached(self) -> bool:
        """Whether it is where it is to be ended."""
        if self.moment == "importing":
            return catches(self.node.process.pid, signal.SIGTERM)
        if self.moment == "inferring":
            return bool(self.node.events("infer"))
        if self.moment == "loading":
            return bool(self.node.events("load"))
        return {"starting": "is loaded", "idle": "scale.mode is none"}[self.moment] in self.node.text()

    def leave(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            self.node.process.send_signal(number)
            if number is not numbers[-1]:
                time.sleep(TWICE_APART_S)

    def left_behind(self) -> set[str]:
        """Files of shared memory that it made and that are still there."""
        return {name for name in self.shared if (SHARED / name).exists()}

    def _watch(self) -> None:
        while self.node.process.poll() is None:
            self.shared |= segments(self.node.process.pid)
            time.sleep(0.02)


def segments(pid: int) -> set[str]:
    """Names of the segments of shared memory that a process made: Fast DDS keeps their locks open in the maker alone.

    Without ports: whoever sends to one that has just closed makes it again.
    """
    names = set()
    with contextlib.suppress(OSError):  # it has ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                names.add(os.readlink(link))
    locks = (re.fullmatch(rf"{SHARED}/(fastdds_[0-9a-f]{{16}})_el", name) for name in names)
    return {name for lock in locks if lock for name in (lock[1], f"{lock[1]}_el")}


def catches(pid: int, number: int) -> bool:
    """Whether a process has set a handler for a signal."""
    try:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def depart(start, namespace, moment, n):
    """Start a node that will be told to end; only where it is to infer, it sees the camera, and infers for ever."""
    image = f"image:={namespace}/{'image' if moment == 'inferring' else 'nothing'}"
    command = stub_command(f"{namespace}/n{n}", engine__always_run=True)
    wishes = {"hold": True, "load_hold": moment == "loading"}
    return Departure(start([*command, "-r", image], wishes=wishes), moment)


@pytest.mark.parametrize("asked", SIGNALS)
def test_it_ends_cleanly_8_times_of_8(start, namespace, asked):
    numbers = SIGNALS[asked]
    camera = Camera(namespace, rate_hz=5.0)
    try:
        departures = [depart(start, namespace, moment, n) for n, moment in enumerate(STAYING)]
        for departure in departures:
            assert wait_for(departure.reached), f"not {departure.moment}: {departure.node.text()}"
        for n, moment in enumerate(PASSING, len(STAYING)):
            departures.append(depart(start, namespace, moment, n))
            assert wait_for(departures[-1].reached), f"not {moment}: {departures[-1].node.text()}"
            departures[-1].leave(numbers)
        for departure in departures[: len(STAYING)]:
            departure.leave(numbers)
        for departure in departures:
            departure.watch.join(PATIENCE_S)
    finally:
        camera.close()
    for n, departure in enumerate(departures):
        told = f"{asked} {n}, {departure.moment}: {departure.node.text()}"
        assert departure.node.process.returncode == 0, told
        assert not re.search("Traceback|Error|terminate|abort", departure.node.text()), told
        assert not departure.left_behind(), told
    assert all(departure.shared for departure in departures if departure.moment in STAYING)
