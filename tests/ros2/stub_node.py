"""The real node with a model that takes no time and does what a file says.

The file named by the environment variable STUB holds JSON: `delay` seconds a pass, `raise` (a name of an exception),
`output` ("nan" or "shape"), `fail_load`, `metric` (scale and shift to metres), `weights_mb` (memory that a model
loaded from now on holds). Its disparity falls from 1 at the left edge to 0.1 at the right one. What it is called with
is written beside that file, a line an event.
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

    def infer(self, image, *, options, progress):
        wish = wishes()
        tell("infer", tiles=options.tiles, refine=options.refine, batch_size=options.batch_size)
        time.sleep(wish.get("delay", 0))
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
        metric = pro.ScaleShift(*wish["metric"], source="metric") if "metric" in wish else None
        return pro.DepthResult(disparity, np.ones(disparity.shape, dtype=np.bool_), scale_shift=metric, model="stub")


def load(name, **given):
    """In the place of pro_engine.load_model."""
    tell("load", model=name, **given)
    wish = wishes()
    if wish.get("fail_load") or name == "missing":
        raise pro.WeightsError("The weights are missing; fetch them.")
    return StubPredictor(wish.get("weights_mb", 0))


if __name__ == "__main__":
    sys.exit(main(load=load))
