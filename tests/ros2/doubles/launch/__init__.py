"""A small double of ROS 2's `launch`: what our launch files use of it, strict about types and names.

Executing a description fills `LaunchContext.processes` with what would be started; `test_launch.py` starts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """What would be started."""

    argv: list[str]
    env: dict[str, str]
    name: str


class LaunchContext:
    """Arguments, environment, and what came of them; files of parameters are written to `folder`."""

    def __init__(self, arguments: dict[str, str], environment: dict[str, str], folder: Path) -> None:
        self.launch_configurations = dict(arguments)
        self.environment = dict(environment)
        self.folder = folder
        self.processes: list[Process] = []
        self.declared: dict[str, str] = {}
        self.said: list[str] = []

    def text(self, value: Any) -> str:
        """A text, a substitution, or a list of both, as text."""
        if isinstance(value, list):
            return "".join(self.text(part) for part in value)
        if isinstance(value, Substitution):
            return value.perform(self)
        assert isinstance(value, str), f"{value!r} is neither text nor substitution"
        return value


class Substitution:
    """Something that becomes text when the launch runs."""

    def perform(self, context: LaunchContext) -> str:
        raise NotImplementedError


class Action:
    """Something that happens, if its condition holds."""

    def __init__(self, condition: Any = None) -> None:
        self._condition = condition

    def visit(self, context: LaunchContext) -> None:
        if self._condition is None or self._condition.evaluate(context):
            self.execute(context)

    def execute(self, context: LaunchContext) -> None:
        raise NotImplementedError


class LaunchDescription:
    """A list of actions."""

    def __init__(self, initial_entities: list[Action]) -> None:
        assert all(isinstance(entity, Action) for entity in initial_entities)
        self.entities = initial_entities

    def visit(self, context: LaunchContext) -> None:
        for entity in self.entities:
            entity.visit(context)
