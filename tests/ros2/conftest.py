"""Fixtures of the ROS tests; `rig.py` beside this file has what they hand out."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `from rig import ...`
# Threads that look up types end one process in a few hundred at its start, be it a node or that of the tests.
os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(Path(__file__).with_name("fastdds_no_types.xml"))

# What `colcon test` runs: a few minutes' tests that need no more than a robot has. It tells pytest the package's name.
OF_COLCON = {f"test_{name}.py" for name in ("camera", "docs", "health", "launch", "lifecycle", "settings")}
if "--junit-prefix=ros2_pro" in os.environ.get("PYTEST_ADDOPTS", ""):
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name not in OF_COLCON]

_namespaces = (f"/test{os.getpid()}_{n}" for n in itertools.count())  # others may test beside us


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return next(_namespaces)


def _starter(folder: Path) -> Iterator[Callable[..., Any]]:
    from rig import NodeProcess

    running: list[NodeProcess] = []

    def run(command: list[str], env: dict[str, str] | None = None, **given: Any) -> NodeProcess:
        running.append(NodeProcess(folder / str(len(running)), command, env, **given))
        return running[-1]

    yield run
    for process in running:
        process.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a process of the node (or another command); it is ended after the test."""
    yield from _starter(tmp_path)


@pytest.fixture
def well(kept: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """well(kind, **parameters): a node with a rig of this kind around it, kept for a module's tests, as if nothing had
    ever happened to it; it has to be well afterwards, too.
    """
    from fault_rig import start_stub

    @contextlib.contextmanager
    def started(kind: type[Any], parameters: dict[str, Any]) -> Iterator[Any]:
        name = next(_namespaces)
        with contextlib.ExitStack() as closing:
            start = closing.enter_context(contextlib.contextmanager(_starter)(tmp_path_factory.mktemp("ros2")))
            rig = closing.enter_context(contextlib.closing(kind(start_stub(start, name, **parameters), name)))
            rig.ready()
            yield rig

    def hand_out(kind: type[Any], **parameters: Any) -> Any:
        handed.append(kept(kind, lambda: started(kind, parameters)))
        handed[-1].goes_on()
        return handed[-1]

    handed: list[Any] = []
    yield hand_out
    if kept.spoilt:
        return
    kept.spoilt = True  # unless it is well
    for rig in handed:
        rig.process.wish()
        rig.goes_on()
        rig.healthy()
    kept.spoilt = False


@pytest.fixture
def bench(start: Callable[..., Any], namespace: str) -> Iterator[Callable[..., Any]]:
    """Start a node with parameters; it comes with a rig around it, see `bench.py`."""
    from bench import Bench
    from rig import Rig, stub_command, wait_for

    with contextlib.ExitStack() as stack:

        def started(env: dict[str, str] | None = None, **parameters: Any) -> Bench:
            node = start(stub_command(namespace, **parameters), env)
            rig = stack.enter_context(contextlib.closing(Rig(namespace)))
            rig.ready()
            assert wait_for(lambda: " is loaded on " in node.text()), node.text()  # images before it are dropped
            return Bench(node, rig)

        yield started
