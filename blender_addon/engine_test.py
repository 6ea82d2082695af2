# SPDX-License-Identifier: GPL-3.0-or-later
"""Test engine: what the engine says of itself. Needs the standard library only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .activity import Activity
from .diagnosis import sentence_of_error
from .errors import EngineError

LIMIT_S = 30.0  # a loaded machine imports torch in more than 10 s


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself. `models` are mappings with `name`, `summary`, `licence`, `commercial`, `weights`.

    `weights` is "bundled", "in the cache", "fetched on first use", or what is missing.
    """

    version: str
    device: str
    python: str
    torch: str
    gpus: tuple[str, ...]
    models: tuple[Mapping[str, str], ...]


class EngineTest(Activity):
    """Starts an engine, asks what it is and ends it.

    Args:
        engine: as of `Activity`.
        limit_s: seconds until there must be an answer.
        info: what is known from a test before.

    Attributes:
        info: the last good answer.
    """

    def __init__(self, engine: str = "", *, limit_s: float = LIMIT_S, info: EngineInfo | None = None) -> None:
        super().__init__(engine, start_s=limit_s)
        self.info = info
        self._limit_s, self._end_s = limit_s, time.monotonic() + limit_s

    @property
    def doing(self) -> str:
        """The devices take longest to tell."""
        version = self.client.version if self.client is not None else ""
        return f"Engine {version} answers, and looks at its devices ..." if version else "Starting the engine ..."

    def _launch(self) -> None:
        super()._launch()
        assert self.client is not None
        self.client.ask("info")

    def _go_on(self) -> None:
        assert self.client is not None
        for event in self.client.poll():
            if event["event"] == "done":
                self.info = info = _info_of(event.get("result"))
                models = ", ".join(f"{model['name']} ({model['weights']})" for model in info.models)
                self.stop(
                    f"Engine {info.version} on {info.device}, Python {info.python}, PyTorch {info.torch}."
                    f" Models: {models}."
                )
                return
            if event["event"] == "error":
                raise EngineError(sentence_of_error(self.client.command, event))
        if time.monotonic() > self._end_s:
            raise EngineError(f"The engine did not answer within {self._limit_s:.0f} s; wait a little and try again.")


def _info_of(result: Any) -> EngineInfo:
    try:
        version, device, python, torch = (str(result[key]) for key in ("pro_engine", "device", "python", "torch"))
        gpus, models = tuple(map(str, result["gpus"])), tuple(dict(model) for model in result["models"])
        return EngineInfo(version, device, python, torch, gpus, models)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError("The engine's answer is not complete; update the engine.") from error
