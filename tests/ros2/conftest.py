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

_namespaces = (f"/test{os.getpid()}_{n}" for n in itertools.count())  # others may test beside us


@pytest.fixture(scope="module")
def module_namespace() -> str:
    """A namespace that no other test uses."""
    return next(_namespaces)


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


@pytest.fixture(scope="module")
def start_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """As `start`, for all tests of a module."""
    yield from _starter(tmp_path_factory.mktemp("ros2"))


@pytest.fixture(scope="module")
def shared(start_once: Callable[..., Any], module_namespace: str) -> Iterator[Any]:
    """The one node of most tests of a module about faults, with a rig around it."""
    from fault_rig import FaultRig, start_stub

    rig = FaultRig(start_stub(start_once, module_namespace), module_namespace)
    rig.ready()
    yield rig
    rig.close()


@pytest.fixture
def bench(start: Callable[..., Any], namespace: str) -> Iterator[Callable[..., Any]]:
    """Start a node with parameters; it comes with a rig around it, see `bench.py`."""
    from bench import Bench
    from rig import Rig, stub_command

    with contextlib.ExitStack() as stack:

        def started(env: dict[str, str] | None = None, **parameters: Any) -> Bench:
            node = start(stub_command(namespace, **parameters), env)
            rig = stack.enter_context(contextlib.closing(Rig(namespace)))
            rig.ready()
            return Bench(node, rig)

        yield started
