# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of models before the engine is asked. Needs nothing."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UserError

RELATIVE = "relative"  # the engine's word for a model without metres
_WITHOUT_METRES = (
    "hybrid",
    "compact",
    "depth-anything-v2-small",
    "depth-anything-v2-base",
    "depth-anything-v2-large",
    "da3-mono-large",
    "promptda-small",
    "promptda-large",
)
UNITS: Mapping[str, str] = dict.fromkeys(_WITHOUT_METRES, RELATIVE)
"""Of the models that give no metres, those of a prompt among them; any other one may."""


def check_metres(model: str, told: Mapping[str, str]) -> None:
    """UserError: metres of the model are wanted, and it gives none.

    Args:
        model: its name, or that of a file.
        told: units by model, as the engine told of them; `UNITS` where it did not.
    """
    if told.get(model, UNITS.get(model, "")).endswith(RELATIVE):
        raise UserError(
            f"The model {model} gives no metres; choose Near/Far or Point under Scale, or another model, such as "
            "moge-2-vits."
        )
