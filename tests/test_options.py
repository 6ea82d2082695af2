"""How options are declared, checked and worded."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pro_engine.errors import InputError
from pro_engine.options import (
    Checked,
    InferenceOptions,
    ModelOptions,
    OptionError,
    check,
    choices_of,
    option,
    options_of,
    same_as,
)


@dataclass(frozen=True)
class Made(Checked):
    count: int = option(2, "How many of them there are", minimum=1, maximum=9)
    share: float = option(0.5, "Which share of them is taken", above=0, below=1)
    width_m: float | None = option(None, "How wide each of them is", above=0, unit="m")
    size: Literal["auto"] | tuple[int, int] = option(
        "auto", "How large it is", minimum=1, maximum=32, items="rows, columns"
    )
    kind: Literal["old", "new"] = option("old", "Which kind it is")
    names: tuple[str, ...] = option(("a",), "What they are called", choices=("a", "b"))
    place: Path | None = option(None, "Where it is put")
    loud: bool = option(False, "Whether it says so")
    other: int = field(default=0)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count", 0, "count is 0; give a whole number from 1 to 9."),
        ("count", 2.0, "count is 2.0; give a whole number from 1 to 9."),
        ("count", True, "count is True; give a whole number from 1 to 9."),
        ("share", 1, "share is 1; give a number above 0 and below 1."),
        ("share", float("nan"), "share is nan; give a number above 0 and below 1."),
        ("share", 10**400, f"share is {10**400}; give a number above 0 and below 1."),
        ("width_m", -1.0, "width_m is -1.0; give a number above 0 (m)."),
        ("size", (0, 4), "size is (0, 4); give auto or (rows, columns), each from 1 to 32."),
        ("size", (4,), "size is (4,); give auto or (rows, columns), each from 1 to 32."),
        ("kind", "{odd}", "kind is '{odd}'; give old or new."),
        ("kind", "{9} {", "kind is '{9} {'; give old or new."),
        ("names", ("a", "c"), "names is 'a,c'; give one or more of a, b."),
        ("names", (), "names is empty; give at least one."),
        ("place", "here", "place is 'here'; give a path."),
        ("loud", "yes", "loud is 'yes'; give true or false."),
    ],
)
def test_a_value_outside_its_limits_is_refused_in_words(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        Made(**{name: value})
    assert str(caught.value) == sentence
    assert isinstance(caught.value, InputError)


def test_a_host_names_the_option_in_its_own_words() -> None:
    with pytest.raises(OptionError) as caught:
        Made(width_m=0.0)
    assert (
        caught.value.worded(lambda name: f"--{name.removesuffix('_m')}") == "--width is 0.0; give a number above 0 (m)."
    )
    two = OptionError("Only one of {0} and {1} is given.", "near_m", "far_m")
    assert two.worded({"near_m": "Near", "far_m": "Far"}.__getitem__) == "Only one of Near and Far is given."


def test_an_error_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(OptionError("{0} is off; give {1}.", "this", "that")))
    assert str(sent) == "this is off; give that." and sent.names == ("this", "that")


def test_an_option_of_another_class_comes_with_all_but_what_is_given() -> None:
    @dataclass(frozen=True)
    class Host(Checked):
        rows: int = same_as(Made, "count", default=3, help="Rows of the host", maximum=None)
        style: str = same_as(Made, "kind")

    assert [(f.name, f.default, f.metadata["help"]) for f in options_of(Host)] == [
        ("rows", 3, "Rows of the host"),
        ("style", "old", "Which kind it is"),
    ]
    assert Host(rows=100).rows == 100 and choices_of(Host, "style") == ("old", "new")
    for wrong in ({"rows": 0}, {"style": "odd"}):
        with pytest.raises(OptionError):
            Host(**wrong)


def test_one_value_can_be_checked_alone() -> None:
    check(ModelOptions, "backend", "onnxruntime")
    with pytest.raises(OptionError, match="backend is 'tensorflow'; give torch or onnxruntime"):
        check(ModelOptions, "backend", "tensorflow")


@pytest.mark.parametrize("owner", [ModelOptions, InferenceOptions])
def test_every_option_of_the_engine_explains_itself(owner: type) -> None:
    for one in options_of(owner):
        assert len(one.metadata["help"]) > 20 and not one.metadata["help"].endswith("."), one.name
