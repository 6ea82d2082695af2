"""The real node with a model that takes no time and does what a file says.

The file named by the environment variable STUB holds JSON: `delay` seconds a pass, `raise` (a name of an exception),
`output` ("nan" or "shape"), `fail_load`. Its disparity falls from 1 at the left edge to 0.1 at the right one.
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


class StubPredictor:
    """Of the form of pro_engine.DepthPredictor."""

    name, device = "stub", "cpu"

    def infer(self, image, *, options, progress):
        wish = wishes()
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
        return pro.DepthResult(disparity, np.ones(disparity.shape, dtype=np.bool_), model="stub")


def load(name, **_):
    """In the place of pro_engine.load_model."""
    if wishes().get("fail_load") or name == "missing":
        raise pro.WeightsError("The weights are missing; fetch them.")
    return StubPredictor()


if __name__ == "__main__":
    sys.exit(main(load=load))
