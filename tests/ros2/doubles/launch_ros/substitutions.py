"""See the package."""

from __future__ import annotations

from launch import LaunchContext, Substitution
from launch_ros import prefix_of


class FindPackageShare(Substitution):
    def __init__(self, package: str) -> None:
        self._package = package

    def perform(self, context: LaunchContext) -> str:
        return str(prefix_of(self._package, context) / "share" / self._package)
