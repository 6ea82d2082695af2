"""A small double of ROS 2's `launch_ros`; see `launch` beside it."""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext


def prefix_of(package: str, context: LaunchContext) -> Path:
    """The folder that a package is installed in, by the index of ament."""
    for prefix in context.environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if (Path(prefix) / "share/ament_index/resource_index/packages" / package).is_file():
            return Path(prefix)
    raise LookupError(f"package {package} not found")
