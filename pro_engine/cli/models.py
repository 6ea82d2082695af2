"""`pro-engine models` and `pro-engine info`, and what is told of a model before it runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from pro_engine.cli.flags import JsonFlag, flag_of
from pro_engine.cli.output import print_json, print_table, say
from pro_engine.errors import DeviceError
from pro_engine.options import InferenceOptions, ModelOptions


def models(as_json: JsonFlag = False) -> None:
    """The models: licences, what they give, and their weights."""
    from pro_engine.jobs.models import list_models

    rows = list_models()
    if as_json:
        print_json(rows)
        return
    header = ("name", "licence", "use", "units", "lens", "weights")
    lines: list[tuple[str, ...]] = [
        (
            row["name"],
            row["licence"],
            row["use"],
            row["units"],
            _yes(row["lens"]),
            f"{_size(row['megabytes'])} {row['weights']}",
        )
        for row in rows
    ]
    print_table(header, lines)
    say("")
    print_table(("", ""), [(row["name"], row["why"]) for row in rows if row["why"]])


def info(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", hidden=True)] = None, as_json: JsonFlag = False
) -> None:
    """The card of MODEL; without one, facts of this computer.

    Those are versions, devices, memory, weights and extras that are here.
    """
    from pro_engine.jobs.models import model_card
    from pro_engine.jobs.system import system_info

    facts = system_info() if model is None else model_card(model)
    if as_json:
        print_json(facts)
    elif model is None:
        print_table(("", ""), [(name.replace("_", " "), _text(value)) for name, value in facts.items()])
    else:
        print_table(("", ""), _card(facts))


def note_cost(model: ModelOptions, inference: InferenceOptions, size: tuple[int, int] | None = None) -> None:
    """Tell on stderr what a photo of this height and width is expected to take, if it is much."""
    from pro_engine.inference.cost import TYPICAL_SIZE, expected_cost

    height, width = size or TYPICAL_SIZE
    try:
        cost = expected_cost(model, inference, (height, width))
    except DeviceError:  # a cluster may have it; else loading says so
        return
    if cost.is_large:
        print(
            f"note: {model.name} is expected to take {cost} for a photo of {width}x{height}; another {flag_of('name')}"
            f", fewer {flag_of('tiles')} or a smaller {flag_of('fine')} take less.",
            file=sys.stderr,
        )


def _card(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    expected, pinned = facts["expected"], "not pinned"
    threads = f" with {expected['threads']} threads" if expected["device"] == "cpu" else ""
    seconds = expected["seconds"]
    time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    repository = facts["repository"]
    return [
        ("name", facts["name"]),
        ("summary", facts["summary"]),
        ("licence", facts["licence"]),
        ("use", f"{facts['use']}. {facts['why']}" if facts["why"] else facts["use"]),
        ("source", f"{facts['file']} of {repository} on the Hugging Face hub" if repository else "the package"),
        ("revision", facts["revision"] or (pinned if repository else "of the package")),
        ("sha256", facts["sha256"] or (pinned if repository else "of the package")),
        ("weights", f"{_size(facts['megabytes'])} {facts['weights']}"),
        ("parameters", f"{facts['parameters_m']:g} M"),
        ("units", facts["units"]),
        *((name, _yes(facts[name])) for name in ("lens", "sky", "normals", "prompt")),
        ("refiner", facts["refiner"]),
        (
            "expected",
            f"about {expected['memory_gb']:.1f} GB of memory and {time} for a photo of {expected['width']}x"
            f"{expected['height']} on {expected['device']}{threads}; by a table, not measured here",
        ),
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def _text(value: object) -> str:
    """A fact of `info` on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
