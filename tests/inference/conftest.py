"""The tiny predictor on the device that --device names."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture(scope="session")
def tiny(tiny: SimpleNamespace, device: torch.device) -> SimpleNamespace:
    """As above, but on the device; in float32, as on a CPU, unless a test says otherwise."""
    if device.type == "cpu":
        return tiny
    return SimpleNamespace(**vars(tiny) | {"predictor": partial(tiny.predictor, device=str(device), dtype="float32")})
