"""How long the ROS 2 node lets others wait: for answers while the model works, for a camera's first image, for its end.

    python benchmarks/ros_delays.py

Tests hold the node to what happens and in which order; these are the seconds, of a machine without other work. The
model is the tests' stand-in, which takes as long as it is told. Needs the extras `ros` and `dev`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ros2"))
from rig import (  # type: ignore[import-not-found]  # a folder of tests is no package
    Camera,
    NodeProcess,
    Rig,
    camera_image,
    stub_command,
    wait_for,
)

ANSWERS, STARTS, ENDS = 50, 5, 5
PASS_S, RATE_HZ, FRAMES = 0.2, 25.0, 40


@contextlib.contextmanager
def node(*, camera: bool = False, **parameters: Any) -> Iterator[tuple[NodeProcess, Rig]]:
    """A node that works, and a listener around it; with a camera, if wanted."""
    with tempfile.TemporaryDirectory() as folder:
        namespace = f"/delays{time.monotonic_ns()}"
        process = NodeProcess(Path(folder), stub_command(namespace, **parameters), {"STUB_REPORT_S": "0.1"})
        try:
            with contextlib.closing(Rig(namespace, ("relative_disparity",), camera=camera)) as rig:
                rig.ready()
                yield process, rig
        finally:
            process.end()


def seconds(do: Callable[[], Any]) -> float:
    """How long it takes; it must give something true."""
    begun_s = time.perf_counter()
    assert do()
    return time.perf_counter() - begun_s


def answers_s() -> list[float]:
    """Of the service that sets parameters, while the model is in a pass."""
    with node() as (process, rig), contextlib.closing(Camera(rig.namespace)):
        assert wait_for(lambda: rig.received["relative_disparity"])
        process.wish(hold=True)
        time.sleep(1.0)  # by now a pass is held
        assert len(process.events("infer")) > len(process.events("passed"))
        waits_s = [seconds(partial(rig.set, points__stride=1 + n % 9)) for n in range(ANSWERS)]
        process.wish()
    return waits_s


def first_images_s(reliability: str) -> list[float]:
    """From the start of a camera to the first depth of its images."""
    found = []
    with node() as (_, rig):

        def seen(frame_id: str) -> bool:
            return any(message.header.frame_id == frame_id for message in rig.received["relative_disparity"])

        for number in range(STARTS):
            with contextlib.closing(Camera(rig.namespace, reliability, frame_id=f"camera{number}")) as camera:
                assert wait_for(lambda n=number: seen(f"camera{n}"))
                found.append(time.monotonic() - camera.started_s)
    return found


def waits_before_work_s() -> list[float]:
    """Of images that come faster than the model takes them, from their arrival to the start of work."""
    with node() as (process, rig), contextlib.closing(Camera(rig.namespace, rate_hz=RATE_HZ)):
        process.wish(delay=PASS_S)
        rig.report(lambda report: int(report["frames finished"]) >= FRAMES)
        return [float(r["wait before work (s)"]) for r in rig.diagnostics if int(r["frames finished"]) > 2]


def ends_s(number: int, *, at_work: bool) -> list[float]:
    """From a signal to the end of the process."""
    found = []
    for _ in range(ENDS):
        with node(camera=True) as (process, rig):
            if at_work:
                process.wish(hold=True)
                rig.image.publish(camera_image(stamp=rig.stamp()))
                assert wait_for(lambda: process.events("infer"))
            found.append(seconds(lambda: process.end(number) == 0))
    return found


def main() -> None:
    """Measure all and print a table in Markdown."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform(terse=True)}\n")
    print("| what is waited for | times | median (s) | longest (s) |\n|---|---|---|---|")
    for what, found in (
        ("an answer while the model works", answers_s()),
        ("depth of a reliable camera that starts", first_images_s("reliable")),
        ("depth of a best-effort camera that starts", first_images_s("best_effort")),
        (f"work on an image, of {RATE_HZ:g} a second where {1 / PASS_S:g} can be done", waits_before_work_s()),
        ("the end after SIGINT, idle", ends_s(signal.SIGINT, at_work=False)),
        ("the end after SIGINT, in the model", ends_s(signal.SIGINT, at_work=True)),
        ("the end after SIGTERM, in the model", ends_s(signal.SIGTERM, at_work=True)),
    ):
        print(f"| {what} | {len(found)} | {statistics.median(found):.2f} | {max(found):.2f} |", flush=True)


if __name__ == "__main__":
    main()
