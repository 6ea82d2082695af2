# SPDX-License-Identifier: GPL-3.0-or-later
"""Test engine: what the engine says of itself. Needs the standard library only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..engine.activity import Activity
from ..engine.why_it_ended import sentence_of_error
from ..errors import EngineError

HERE = ("bundled", "in the cache")  # how the engine tells of weights that need no download
LIMIT_S = 30.0  # a loaded machine imports torch in more than 10 s


class EngineTest(Activity):
    """Starts an engine, asks what it is and ends it.

    Args:
        engine: as of `Activity`.
        limit_s: seconds until there must be an answer.
        models, units: what is known from a test before.

    Attributes:
        models: names of those that the engine lists; as given until it does.
        units: of their maps, in the engine's words; as given until it tells.
    """

    def __init__(
        self,
        engine: str = "",
        *,
        limit_s: float = LIMIT_S,
        models: tuple[str, ...] = (),
        units: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(engine, start_s=limit_s)
        self.models, self.units = models, units or {}
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
                self.stop(self._said(event.get("result")))
                return
            if event["event"] == "error":
                raise EngineError(sentence_of_error(self.client.command, event))
        if time.monotonic() > self._end_s:
            raise EngineError(f"The engine did not answer within {self._limit_s:.0f} s; wait a little and try again.")

    def _said(self, result: Any) -> str:
        try:
            weights = {str(model["name"]): model["weights"] for model in result["models"]}
            text = "Engine {pro_engine} on {device}, Python {python}, PyTorch {torch}.".format(**result)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError("The engine's answer is not complete; update the engine.") from error
        self.models = tuple(weights)
        self.units = {str(model["name"]): str(model["units"]) for model in result["models"] if "units" in model}
        here = [f"{name} ({where})" for name, where in weights.items() if where in HERE]
        more = f", and {len(weights) - len(here)} more of the hub" if len(weights) > len(here) else ""
        return f"{text} Models: {', '.join(here) or 'none'}{more}."
