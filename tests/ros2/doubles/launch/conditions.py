"""See the package."""

from __future__ import annotations

from typing import Any

from launch import LaunchContext


class IfCondition:
    def __init__(self, predicate_expression: Any) -> None:
        self._predicate = predicate_expression

    def evaluate(self, context: LaunchContext) -> bool:
        text = context.text(self._predicate).strip().lower()
        assert text in ("true", "1", "false", "0"), f"{text!r} is no truth"
        return text in ("true", "1")
