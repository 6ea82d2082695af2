"""See the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from launch import Action, LaunchContext


class DeclareLaunchArgument(Action):
    def __init__(self, name: str, *, default_value: Any, description: str, condition: Any = None) -> None:
        super().__init__(condition)
        self._name, self._default, self._description = name, default_value, description

    def execute(self, context: LaunchContext) -> None:
        context.declared[self._name] = self._description
        if self._name not in context.launch_configurations:
            context.launch_configurations[self._name] = context.text(self._default)


class SetEnvironmentVariable(Action):
    def __init__(self, name: Any, value: Any, *, condition: Any = None) -> None:
        super().__init__(condition)
        self._name, self._value = name, value

    def execute(self, context: LaunchContext) -> None:
        context.environment[context.text(self._name)] = context.text(self._value)


class SetLaunchConfiguration(Action):
    def __init__(self, name: Any, value: Any, *, condition: Any = None) -> None:
        super().__init__(condition)
        self._name, self._value = name, value

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations[context.text(self._name)] = context.text(self._value)


class LogInfo(Action):
    def __init__(self, *, msg: Any, condition: Any = None) -> None:
        super().__init__(condition)
        self._msg = msg

    def execute(self, context: LaunchContext) -> None:
        context.said.append(context.text(self._msg))


class OpaqueFunction(Action):
    def __init__(self, *, function: Callable[[LaunchContext], list[Action] | None], condition: Any = None) -> None:
        super().__init__(condition)
        self._function = function

    def execute(self, context: LaunchContext) -> None:
        for action in self._function(context) or []:
            action.visit(context)


class IncludeLaunchDescription(Action):
    def __init__(
        self, launch_description_source: Any, *, launch_arguments: Iterable[tuple[str, Any]] = (), condition: Any = None
    ) -> None:
        super().__init__(condition)
        self._source, self._arguments = launch_description_source, tuple(launch_arguments)

    def execute(self, context: LaunchContext) -> None:
        for name, value in self._arguments:
            context.launch_configurations[name] = context.text(value)
        self._source.get_launch_description(context).visit(context)
