"""See the package."""

from __future__ import annotations

import os
from typing import Any

from launch import LaunchContext, Substitution


class LaunchConfiguration(Substitution):
    def __init__(self, variable_name: str) -> None:
        self._name = variable_name

    def perform(self, context: LaunchContext) -> str:
        assert self._name in context.launch_configurations, f"launch configuration {self._name} does not exist"
        return context.launch_configurations[self._name]


class PathJoinSubstitution(Substitution):
    def __init__(self, substitutions: list[Any]) -> None:
        self._parts = substitutions

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*(context.text(part) for part in self._parts))
