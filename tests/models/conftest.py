"""Random patches for refiners of any width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import nn

from pro_engine.models.contract import RefinerInput

PatchMaker = Callable[..., RefinerInput]


def _patches(channels: Sequence[int], sizes: Sequence[tuple[int, int]], count: int = 2) -> RefinerInput:
    """Patches with feature maps of the given channels and sizes, deepest level first; the last size is the patch's."""

    def features() -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(count, c, h, w) for c, (h, w) in zip(channels, sizes, strict=True))

    height, width = sizes[-1]
    return RefinerInput(
        image=torch.rand(count, 3, height, width),
        coarse=torch.rand(count, 1, height, width) * 30,
        fine=torch.rand(count, 1, height, width) * 40,
        coarse_features=features(),
        fine_features=features(),
        center=torch.tensor(14.0),
        spread=torch.tensor(6.0),
    )


@pytest.fixture(scope="module", autouse=True)
def made_on_device(request: pytest.FixtureRequest, device: torch.device) -> Iterator[None]:
    """Networks and tensors of a module's tests are made on the device of --device, unless it is marked `cpu`."""
    if device.type == "cpu" or request.node.get_closest_marker("cpu"):
        yield
        return
    torch.set_default_device(device)
    yield
    torch.set_default_device(None)


@pytest.fixture
def make_patches() -> PatchMaker:
    torch.manual_seed(0)
    return _patches


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Gives a module random weights and batch statistics of a realistic size, in eval mode."""

    def apply(module: nn.Module) -> nn.Module:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                spread = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.3
                parameter.copy_(torch.randn_like(parameter) * spread)
            for part in module.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.weight.uniform_(0.5, 1.5)
                    part.running_mean.normal_(0, 0.3)
                    part.running_var.uniform_(0.5, 2)
        return module.eval()

    return apply
