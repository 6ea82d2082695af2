"""See the package."""

from __future__ import annotations

import shlex
from typing import Any

import yaml
from launch import Action, LaunchContext, Process
from launch_ros import prefix_of


class Node(Action):
    def __init__(
        self,
        *,
        package: Any,
        executable: Any,
        name: Any = None,
        namespace: Any = None,
        exec_name: Any = None,
        parameters: Any = (),
        remappings: Any = (),
        arguments: Any = (),
        prefix: Any = None,
        output: Any = "log",
        condition: Any = None,
    ) -> None:
        super().__init__(condition)
        assert output in ("screen", "log", "both")
        self._package, self._executable, self._name, self._namespace = package, executable, name, namespace
        self._parameters, self._remappings, self._arguments = list(parameters), list(remappings), list(arguments)
        self._prefix, self._exec_name = prefix, exec_name

    def execute(self, context: LaunchContext) -> None:
        package = context.text(self._package)
        program = prefix_of(package, context) / "lib" / package / context.text(self._executable)
        assert program.is_file(), f"{program} does not exist"
        argv = shlex.split(context.text(self._prefix or ""))
        argv += [str(program), *(context.text(argument) for argument in self._arguments), "--ros-args"]
        if self._name is not None:
            argv += ["-r", f"__node:={context.text(self._name)}"]
        base = f"/{context.text(self._namespace or '').lstrip('/')}"
        if base != "/":
            argv += ["-r", f"__ns:={base}"]
        # Of a node whose name is known, parameters are given to that one alone.
        of = "/**" if self._name is None else f"{base.rstrip('/')}/{context.text(self._name)}"
        for part in self._parameters:
            argv += ["--params-file", self._file(part, of, context) if isinstance(part, dict) else context.text(part)]
        for source, target in self._remappings:
            argv += ["-r", f"{context.text(source)}:={context.text(target)}"]
        context.processes.append(
            Process(argv, dict(context.environment), context.text(self._exec_name or program.name))
        )

    @staticmethod
    def _file(values: dict[str, Any], of: str, context: LaunchContext) -> str:
        """A parameter file; the real one is written by YAML, too, so types are those of Python's values."""
        assert values, "an empty file of parameters is no file of parameters"
        items = [item for value in values.values() for item in (value if isinstance(value, list) else [value])]
        assert all(type(item) in (str, int, float, bool) for item in items), values
        path = context.folder / f"launch_params_{len(list(context.folder.iterdir()))}"
        path.write_text(yaml.safe_dump({of: {"ros__parameters": values}}), encoding="utf-8")
        return str(path)
