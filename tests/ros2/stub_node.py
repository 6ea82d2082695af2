"""The real node with a model that takes no time and does what a file says.

The file named by the environment variable STUB holds JSON: `delay` seconds a pass, `hold` (true: a pass lasts until the
file no longer says so), `raise` (a name of an exception), `output` ("nan", "shape", "type" or "none"), `load_hold` (as
`hold`, of loading), `fail_load`, `metric` (scale and shift to metres), `metric_source`, `weights_mb` (memory that a
model loaded from now on holds), `publish` (text of an error of rcl that every output raises). Its disparity falls from
1 at the left edge to 0.1 at the right one. What it is called with is written beside that file, a line an event.

More of the environment: STUB_REPORT_S, seconds between two diagnostics; STUB_SNAPSHOT_S, how long a snapshot waits for
an image; STUB_LOG_S, how long a line of the log takes; STUB_ACK, a pipe that gets a byte for every frame that was
worked on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import pro_engine as pro
from ros2_pro.main import main

ERRORS = {"RuntimeError": RuntimeError, "MemoryError": MemoryError, "DeviceError": pro.DeviceError}


def wishes():
    """What the file says now."""
    path = Path(os.environ.get("STUB", ""))
    return json.loads(path.read_text()) if path.is_file() else {}


def tell(event, **facts):
    """Add a line to the events."""
    if "STUB" in os.environ:
        with Path(os.environ["STUB"]).with_suffix(".events").open("a") as events:
            events.write(json.dumps({"event": event, **facts}, default=str) + "\n")


class StubPredictor:
    """Of the form of pro_engine.DepthPredictor."""

    name, device = "stub", "cpu"

    def __init__(self, weights_mb):
        self._weights = np.ones(int(weights_mb * 1e6), dtype=np.uint8)

    def infer(self, image, *, options, progress, intrinsics=None, lens_source="given"):
        wish = wishes()
        tell("infer", tiles=options.tiles, refine=options.refine, batch_size=options.batch_size)
        time.sleep(wish.get("delay", 0))
        while wishes().get("hold"):
            time.sleep(0.01)
        tell("passed")
        if "raise" in wish:
            raise ERRORS[wish["raise"]]("as the test wants it")
        if not progress(1, 1):
            raise pro.CancelledError("stopped")
        height, width = image.shape[:2]
        if wish.get("output") == "shape":
            height //= 2
        disparity = np.broadcast_to(np.linspace(1, 0.1, width, dtype=np.float32), (height, width)).copy()
        if wish.get("output") == "nan":
            disparity[height // 2, width // 2] = np.nan
        if wish.get("output") == "type":
            disparity = disparity.astype(np.float64)
        if wish.get("output") == "none":
            return None
        source = wish.get("metric_source", "metric")
        metric = pro.ScaleShift(*wish["metric"], source=source) if "metric" in wish else None
        return pro.DepthResult(disparity, np.ones(disparity.shape, dtype=np.bool_), scale_shift=metric, model="stub")


def load(name, **given):
    """In the place of pro_engine.load_model."""
    tell("load", model=name, **given)
    wish = wishes()
    while wishes().get("load_hold"):
        time.sleep(0.01)
    if wish.get("fail_load") or name == "missing":
        raise pro.WeightsError("The weights are missing; fetch them.")
    return StubPredictor(wish.get("weights_mb", 0))


def arrange():
    """Change the node as the environment says."""
    from rclpy._rclpy_pybind11 import RCLError
    from rclpy.lifecycle import LifecyclePublisher

    from ros2_pro import node
    from ros2_pro.frames.processor import Processor

    node.DIAGNOSTICS_PERIOD_S = float(os.environ["STUB_REPORT_S"])
    node.SNAPSHOT_TIMEOUT_S = float(os.environ.get("STUB_SNAPSHOT_S", node.SNAPSHOT_TIMEOUT_S))
    publish, process, log = LifecyclePublisher.publish, Processor.process, node.ProNode._log

    def publish_or_fail(self, message):
        if error := wishes().get("publish"):
            raise RCLError(error)
        publish(self, message)

    def process_and_tell(self, frame):
        process(self, frame)
        os.write(pipe, b".")

    def log_late(self, *line):
        time.sleep(float(os.environ.get("STUB_LOG_S", 0)))
        log(self, *line)

    LifecyclePublisher.publish = publish_or_fail
    node.ProNode._log = log_late
    if path := os.environ.get("STUB_ACK"):
        pipe = os.open(path, os.O_WRONLY)
        Processor.process = process_and_tell


if __name__ == "__main__":
    if "STUB_REPORT_S" in os.environ:
        arrange()
    sys.exit(main(load=load))
