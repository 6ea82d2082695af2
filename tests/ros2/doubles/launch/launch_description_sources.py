"""See the package."""

from __future__ import annotations

import runpy
from typing import Any

from launch import LaunchContext, LaunchDescription


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: Any) -> None:
        self._path = launch_file_path

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        description = runpy.run_path(context.text(self._path))["generate_launch_description"]()
        assert isinstance(description, LaunchDescription)
        return description
