"""For tests anywhere below: networks small enough to run many times that still obey the contract of Ψ, and `kept`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.base import DepthBase, PsiOutput, PsiSpec, Refiner, RefinerInput
from pro_engine.models.pro import ProRefiner

torch.set_num_threads(1)  # the networks are too small to share out, and tests often run beside other work

CHANNELS = (8, 8, 8, 8, 8, 4)
SPEC = PsiSpec(CHANNELS, input_area=64 * 96, multiple=32, keep_aspect=True)
PUBLISHED_SPEC = PsiSpec(CHANNELS, input_area=70 * 70, multiple=14, keep_aspect=False, published_resize=True)


class TinyPsi(DepthBase):
    """One convolution, then levels at strides 32 to 1; disparity grows towards the bottom of its input."""

    def __init__(self, spec: PsiSpec = SPEC) -> None:
        super().__init__()
        self.spec = spec
        self.mix = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> PsiOutput:
        x = self.mix(image)  # (B, 8, h, w)
        levels = tuple(F.avg_pool2d(x, stride, ceil_mode=True) for stride in (32, 16, 8, 4, 2))
        h = image.shape[2]
        ramp = torch.linspace(0, 1, h, device=image.device)[None, None, :, None]
        disparity = 2 * ramp + x.mean(1, keepdim=True) + image.mean(1, keepdim=True)
        return PsiOutput(disparity, (*levels, self.last(x)))


class FlatPsi(TinyPsi):
    """Sees nothing: one disparity everywhere."""

    def forward(self, image: Tensor) -> PsiOutput:
        output = super().forward(image)
        return PsiOutput(torch.full_like(output.disparity, 3.0), output.features)


class CoarseOnly(Refiner):
    """Adds no residual, so that the result is the coarse map, seen patch by patch."""

    def forward(self, patches: RefinerInput) -> Tensor:
        return (patches.coarse - patches.center) / patches.spread


class LimitedRefiner(ProRefiner):
    """Runs out of memory above `limit` patches at once; `batches` tells the sizes that went through."""

    def __init__(self, limit: int) -> None:
        super().__init__(CHANNELS)
        self.limit = limit
        self.batches: list[int] = []

    def forward(self, patches: RefinerInput) -> Tensor:
        count = patches.image.shape[0]
        if count > self.limit:
            raise torch.OutOfMemoryError(f"{count} patches are too many")
        self.batches.append(count)
        return super().forward(patches)


def tiny_predictor(
    refiner: Refiner | None = None, *, psi: DepthBase | None = None, trained: bool = True, dtype: str = "auto"
) -> DepthPredictor:
    """A predictor on the CPU with seeded random weights."""
    torch.manual_seed(0)
    psi = psi or TinyPsi()
    if refiner is None and trained:
        refiner = ProRefiner(CHANNELS)
    return DepthPredictor(psi, refiner, name="tiny", device="cpu", dtype=dtype)


class Kept:
    """kept(key, make): what is dear to start, started once for a module's tests: what the context manager that `make`
    gives yields. After a test that failed, or set `spoilt`, what it used is ended, so that neither another test nor the
    same one run once more meets what is left of it.
    """

    def __init__(self, things: dict[Hashable, tuple[Any, ExitStack]]) -> None:
        self._things = things
        self._used: set[Hashable] = set()
        self.spoilt = False

    def __call__(self, key: Hashable, make: Callable[[], AbstractContextManager[Any]]) -> Any:
        if key not in self._things:
            closing = ExitStack()
            self._things[key] = closing.enter_context(make()), closing
        self._used.add(key)
        return self._things[key][0]

    def end(self) -> None:
        for key in self._used:
            self._things.pop(key)[1].close()


@pytest.fixture(scope="module")
def kept_things() -> Iterator[dict[Hashable, tuple[Any, ExitStack]]]:
    """What `kept` keeps: anything by a key, with what ends it."""
    things: dict[Hashable, tuple[Any, ExitStack]] = {}
    yield things
    for _, closing in things.values():
        closing.close()


_KEPT = pytest.StashKey[Kept]()


@pytest.fixture
def kept(request: pytest.FixtureRequest, kept_things: dict[Hashable, tuple[Any, ExitStack]]) -> Iterator[Kept]:
    """See `Kept`."""
    made = request.node.stash[_KEPT] = Kept(kept_things)
    yield made
    if made.spoilt:
        made.end()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Tell `kept` of a failure before its test's fixtures are taken down."""
    if call.excinfo is not None and _KEPT in item.stash:
        item.stash[_KEPT].spoilt = True


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The tiny networks, for tests anywhere below this folder."""
    return SimpleNamespace(
        SPECS={"ours": SPEC, "published": PUBLISHED_SPEC},
        Psi=TinyPsi,
        FlatPsi=FlatPsi,
        CoarseOnly=CoarseOnly,
        LimitedRefiner=LimitedRefiner,
        predictor=tiny_predictor,
    )


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def tiny_config(transformers):
    """Depth Anything V2 as published, but tiny."""
    backbone = transformers.Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=70,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[4, 8, 12, 24],
        fusion_hidden_size=8,
    )


@pytest.fixture(scope="session")
def vivid() -> Callable[[nn.Module], nn.Module]:
    """Gives a network random weights large enough that the disparity varies instead of staying near zero."""

    def apply(network: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                spread = 1.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.2
                parameter.copy_(torch.randn_like(parameter) * spread)
        return network.eval()

    return apply
