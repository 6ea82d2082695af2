"""Fixtures of the ROS tests; `rig.py` beside this file has what they hand out."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `from rig import ...`

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


class Kept:
    """A node and a rig around it for many tests; after a test that failed another one takes its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closing = contextlib.ExitStack()
        self._rig: Any = None

    def get(self, kind: type[Any], parameters: dict[str, Any]) -> Any:
        """The rig of this kind, started where there is none."""
        from fault_rig import start_stub

        if self._rig is None:
            name = next(_namespaces)
            start = self._closing.enter_context(contextlib.contextmanager(_starter)(self._folder / name.strip("/")))
            self._rig = self._closing.enter_context(
                contextlib.closing(kind(start_stub(start, name, **parameters), name))
            )
            self._rig.ready()
        return self._rig

    def drop(self) -> None:
        """End both."""
        self._rig = None
        self._closing.close()


_FAILED = pytest.StashKey[bool]()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember for `well` that a test failed."""
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or call.excinfo is not None


@pytest.fixture(scope="module")
def kept_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[defaultdict[type[Any], Kept]]:
    """Nodes that are kept for a module's tests, by kind of rig; `well` hands them out."""
    made: defaultdict[type[Any], Kept] = defaultdict(lambda: Kept(tmp_path_factory.mktemp("ros2")))
    yield made
    for one in made.values():
        one.drop()


@pytest.fixture
def well(request: pytest.FixtureRequest, kept_nodes: Any) -> Iterator[Callable[..., Any]]:
    """The kept node of a kind of rig, as if nothing had ever happened to it; it has to be well afterwards, too.

    A node that is not, or whose test failed, is ended, so that neither another test nor the same one run once more
    meets what is left of it.
    """
    request.node.stash[_FAILED] = False
    with contextlib.ExitStack() as dropping, contextlib.ExitStack() as checking:

        def hand_out(kind: type[Any], **parameters: Any) -> Any:
            one = kept_nodes[kind]
            dropping.callback(one.drop)
            rig = one.get(kind, parameters)
            rig.goes_on()
            checking.callback(look_after, rig)
            return rig

        def look_after(rig: Any) -> None:
            rig.process.wish()
            rig.goes_on()
            rig.healthy()

        yield hand_out
        if request.node.stash[_FAILED]:
            checking.pop_all()
        else:
            checking.close()
            dropping.pop_all()


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
