"""For tests anywhere below: networks small enough to run many times that still obey the contract of Ψ, and `kept`.

`colcon test` comes here, too, where there may be no PyTorch; it runs tests of the ROS package alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

with suppress(ImportError):
    import torch

    torch.set_num_threads(1)  # the networks are too small to share out, and tests often run beside other work
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # No test bounds a measured time, and Hypothesis would: 200 ms an example.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
if TYPE_CHECKING:
    from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "helpers"))

COLCON = "--junit-prefix=ros2_pro" in os.environ.get("PYTEST_ADDOPTS", "")  # what it says
if COLCON:  # tests/ros2 has its choice
    collect_ignore = [path.name for path in HERE.iterdir() if path.name != "ros2"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--device."""
    parser.addoption(
        "--device",
        default="cpu",
        help="what tests/models and tests/inference run on: cpu, cuda, cuda:N or mps; not what is marked `cpu`",
    )


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    """What --device names; float32 is full float32 there."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device(pytestconfig.getoption("device"))


def pytest_configure(config: pytest.Config) -> None:
    """Say why a test was run once more; not by an option in pyproject.toml, which older plugins do not know. And leave
    warnings of packages that came with ROS to those who keep them.
    """
    if COLCON:
        config.addinivalue_line("filterwarnings", "default")
    if hasattr(config.option, "rerun_show_tracebacks"):
        config.option.rerun_show_tracebacks = True


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
    import networks

    return SimpleNamespace(
        SPECS={"ours": networks.SPEC, "published": networks.PUBLISHED_SPEC},
        Psi=networks.TinyPsi,
        FlatPsi=networks.FlatPsi,
        WallPsi=networks.WallPsi,
        ToldPsi=networks.ToldPsi,
        CoarseOnly=networks.CoarseOnly,
        LimitedRefiner=networks.LimitedRefiner,
        predictor=networks.tiny_predictor,
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
