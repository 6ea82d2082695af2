"""How an option is declared, checked and named; and the options that load a model and run it.

An option exists once: as a field of a frozen dataclass, made by `option`, with its default, help and limits. Flags, ROS
parameters, launch arguments, requests of the worker and panels are made from the fields. A host that needs the option
in a class of its own declares it by `same_as`, which takes over all but what is given by name.

`Checked` holds a dataclass to its fields' types and limits. Its `OptionError` names the options through `worded`, so
that each host speaks of them in its own language (`--near`, `scale.factor`, a label).
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pro_engine.errors import InputError


class OptionError(InputError):
    """Options that are not what they have to be. `names` are those of the fields concerned.

    `sentence` holds {0}, {1} ... where the names of the options belong.
    """

    def __init__(self, sentence: str, *names: str) -> None:
        self.sentence, self.names = sentence, names
        super().__init__(self.worded(str))

    def worded(self, name_of: Callable[[str], str]) -> str:
        """The message, with every option named as `name_of` says."""
        names = {f"{{{i}}}": name_of(name) for i, name in enumerate(self.names)}
        return re.sub(r"\{\d\}", lambda place: names.get(place[0], place[0]), self.sentence)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.sentence, *self.names)


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
    items: str = "",
    **notes: Any,
) -> Any:
    """A dataclass field that is an option.

    Args:
        default: left out where a value has to be given.
        help: what the option does, without a full stop; hosts show it.
        choices: the texts that are understood, where the field's type does not list them as a Literal.
        minimum, maximum: smallest and largest number, both included. above, below: not included.
        unit: of the number, such as "m" or "degrees".
        items: what several numbers are, such as "rows, columns".
        notes: whatever one host alone wants to know of the option.
    """
    given = {
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "unit": unit,
        "items": items,
    }
    limits = {name: value for name, value in given.items() if value not in (None, "")}
    return dataclasses.field(default=default, metadata={"help": help, **limits, **notes})


def same_as(owner: type, name: str, **changes: Any) -> Any:
    """The option `name` of the class `owner` as a field of another class; `changes` replace default, help and limits.

    A limit or note that is changed to None is dropped. The choices of a Literal type come along.
    """
    known = field_of(owner, name)
    given = {"default": known.default, **known.metadata, **changes}
    if "choices" not in given and (choices := choices_of(owner, name)):
        given["choices"] = choices
    return option(**{key: value for key, value in given.items() if value is not None or key == "default"})


def options_of(owner: type) -> Iterator[dataclasses.Field[Any]]:
    """The fields of a dataclass that are options, in their order."""
    return (field for field in dataclasses.fields(owner) if "help" in field.metadata)


def field_of(owner: type, name: str) -> dataclasses.Field[Any]:
    """The option `name` of the class `owner`; KeyError: there is none."""
    return {field.name: field for field in options_of(owner)}[name]


@cache
def hint_of(owner: type, name: str) -> Any:
    """The type of the option `name`."""
    return get_type_hints(owner)[name]


def choices_of(owner: type, name: str) -> tuple[str, ...]:
    """The texts that the option `name` understands; () if it takes other values alone."""
    known: tuple[str, ...] | None = field_of(owner, name).metadata.get("choices")
    if known is not None:
        return known
    literals = (hint for hint in members_of(hint_of(owner, name)) if get_origin(hint) is Literal)
    return tuple(choice for literal in literals for choice in get_args(literal))


def members_of(hint: Any) -> tuple[Any, ...]:
    """The types that a union consists of; any other type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def range_in_words(limits: Mapping[str, Any]) -> str:
    """The range that the notes of an option set: "from 1 to 32", "at least 1", "above 0 and below 180"; or ""."""
    low, high, above, below = (limits.get(name) for name in ("minimum", "maximum", "above", "below"))
    parts = [f"above {above:g}"] if above is not None else []
    if low is not None:
        parts.append(f"at least {low:g}" if high is None and below is None else f"from {low:g}")
    if high is not None:
        parts.append(f"to {high:g}" if low is not None else f"up to {high:g}")
    if below is not None:
        parts.append(f"to below {below:g}" if low is not None else f"{'and ' if parts else ''}below {below:g}")
    return " ".join(parts)


def limits_in_words(owner: type, name: str) -> str:
    """What the option `name` takes: its choices, or the range of its numbers; "" where its type alone says it."""
    choices, limits = choices_of(owner, name), field_of(owner, name).metadata
    return _one_of(choices) if choices else range_in_words(limits)


class Checked:
    """A dataclass whose options are held to their types and limits when it is made.

    Raises:
        OptionError: a value of another type or outside its limits.
    """

    def __post_init__(self) -> None:
        for field in options_of(type(self)):
            check(type(self), field.name, getattr(self, field.name))


def check(owner: type, name: str, value: object) -> None:
    """Hold a value to the type and the limits of the option `name` of `owner`. Raises OptionError."""
    field = field_of(owner, name)
    limits, hints = field.metadata, members_of(hint_of(owner, name))
    if isinstance(value, tuple) and not value and field.default != ():
        raise OptionError("{0} is empty; give at least one.", name)
    if not any(_fits(hint, value, limits) for hint in hints):
        wanted = " or ".join(filter(None, (_wanted(hint, limits) for hint in hints)))
        raise OptionError(f"{{0}} is {_shown(value)}; give {wanted}.", name)


def _shown(value: object) -> str:
    """A value in a sentence: several texts as people type them."""
    is_list = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return repr(",".join(value)) if is_list else repr(value)  # type: ignore[arg-type]


def _fits(hint: Any, value: object, limits: Any) -> bool:
    """Whether a value is of the type `hint`, and within the limits if it is a number, a list or a choice."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            return all(_fits(kinds[0], item, limits) for item in value)
        return len(value) == len(kinds) and all(map(lambda kind, item: _fits(kind, item, limits), kinds, value))
    if hint is int or hint is float:
        return _is_number(value, whole=hint is int) and _is_within(value, limits)  # type: ignore[arg-type]
    if hint is str:
        return isinstance(value, str) and value in limits.get("choices", (value,))
    return isinstance(value, hint)


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of a float
        return False


def _is_within(value: float, limits: Any) -> bool:
    low, high = limits.get("minimum", -math.inf), limits.get("maximum", math.inf)
    return bool(low <= value <= high and limits.get("above", -math.inf) < value < limits.get("below", math.inf))


def _wanted(hint: Any, limits: Any) -> str:
    """What a value of this type has to be, in words; "" for None, which nobody gives."""
    if hint is type(None):
        return ""
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint))
    if get_origin(hint) is tuple:
        return _several(get_args(hint), limits)
    if hint is bool:
        return "true or false"
    if hint is int or hint is float:
        kind = "a whole number" if hint is int else "a number" if _range(limits) else "a finite number"
        unit = f" ({limits['unit']})" if "unit" in limits else ""
        return kind + _range(limits) + unit
    if hint is Path:
        return "a path"
    return _one_of(limits["choices"]) if "choices" in limits else "a text" if hint is str else f"a {hint.__name__}"


def _one_of(choices: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))


def _several(kinds: tuple[Any, ...], limits: Any) -> str:
    if "choices" in limits:
        return f"one or more of {', '.join(limits['choices'])}"
    if kinds[-1] is Ellipsis and kinds[0] not in (int, float):
        return "a list"
    numbers = "numbers" if kinds[-1] is Ellipsis else f"{len(kinds)} numbers"
    if kinds[0] is int:
        numbers = numbers.replace("numbers", "whole numbers")
    each = f", each{_range(limits)}" if _range(limits) else ""
    return f"({limits['items']}){each}" if "items" in limits else f"{numbers}{each}"


def _range(limits: Any) -> str:
    """The limits behind what they are of: " from 1 to 32", " of at least 1"."""
    words = range_in_words(limits)
    return words and (" of " if words.startswith("at ") else " ") + words


Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Backend = Literal["torch", "onnxruntime"]
Refine = Literal["trained", "sharp", "blend", "none"]
NormalY = Literal["opengl", "directx"]
Sky = Literal["dome", "card", "drop"]


@dataclasses.dataclass(frozen=True)
class ModelOptions(Checked):
    """Which model, and what runs it.

    Raises:
        OptionError: a value outside its limits.
    """

    name: str = option("hybrid", "Name of the model; `pro-engine models` lists them")
    device: str = option("auto", "Where to run: auto (CUDA, else Apple's MPS, else the CPU), cpu, cuda, cuda:N or mps")
    dtype: Dtype = option(
        "auto",
        "Number format of the model: auto (float32, or where it computes faster and loses nothing bfloat16; on CUDA a "
        "16-bit one), or int8 for a CPU's refiner",
    )
    backend: Backend = option(
        "torch", "What runs the networks; onnxruntime takes the folder that `export` writes as weights"
    )
    weights: Path | None = option(
        None, "File of weights instead of the model's own; for onnxruntime an export's folder"
    )
    refiner_weights: Path | None = option(None, "File of weights of the refiner instead of the model's own")
    fine: str = option(
        "auto",
        "Name of the model that looks at the patches; same for the model itself; auto: compact beside hybrid, and on a "
        "CPU beside a model of more than 100 M parameters, else the same",
    )
    offline: bool = option(False, "Never use the network")
    cache_dir: Path | None = option(None, "Folder for downloads instead of the hub's own")

    def absolute(self) -> ModelOptions:
        """The same model for a process in another folder."""
        weights, refiner = (path and path.absolute() for path in (self.weights, self.refiner_weights))
        return dataclasses.replace(self, weights=weights, refiner_weights=refiner)

    any_revision: bool = option(
        False, "Take a model's weights of any revision, unchecked, instead of the pinned one alone"
    )


@dataclasses.dataclass(frozen=True)
class InferenceOptions(Checked):
    """How to infer.

    Raises:
        OptionError: a value outside its limits.
    """

    tiles: Literal["auto"] | tuple[int, int] = option(
        "auto", "Patch grid, or auto: from the image's size", minimum=1, maximum=32, items="rows, columns"
    )
    refine: Refine = option(
        "trained", "How to refine: by the trained refiner, it and sharp steps, the training-free blend, or not at all"
    )
    batch_size: Literal["auto"] | int = option(
        "auto", "Patches per forward pass, or auto: from the free memory", minimum=1, maximum=4096
    )
    passes: int = option(
        1,
        "Grids of patches: 1, or 4 that are averaged, moved by half a patch, at three times the time",
        minimum=1,
        maximum=4,
    )
    keep_coarse: bool = option(False, "Also return the unrefined map, resized to the image")
    keep_alpha: bool = option(
        False, "With sharp steps, also return which share of every pixel the near side of an outline fills"
    )
    keep_normals: bool = option(False, "Also return the model's own normals, if it gives any, resized to the image")
    keep_sky: bool = option(False, "Leave an estimated sky as the networks see it, not even and far")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes not in (1, 4):
            raise OptionError(f"{{0}} is {self.passes}; give 1 or 4.", "passes")


@dataclasses.dataclass(frozen=True)
class GeometryOptions(Checked):
    """How a map becomes a surface, and what is assumed of the camera and the scene where nothing else tells.

    Raises:
        OptionError: a value outside its limits.
    """

    edge_rtol: float = option(
        0.04, "Relative step in depth between neighbouring pixels that makes an outline", above=0, maximum=10
    )
    reveal: float = option(
        0.05,
        "How far the camera may move aside, as a share of the median depth: so much is continued behind outlines",
        above=0,
        maximum=1,
    )
    extend: bool = option(False, "The layer behind goes on beyond the border of the photo, as far as the reveal needs")
    sky: Sky = option(
        "dome",
        "What lies beyond the farthest surface: dome, a far sphere; card, a wall at that distance; drop, nothing",
    )
    near_m: float = option(1.0, "Distance of the nearest surface, assumed where it is not known", above=0, unit="m")
    far_m: float = option(20.0, "Distance of the farthest surface, assumed where it is not known", above=0, unit="m")
    fov_x_deg: float = option(
        55.0, "Field of view across the longer side, assumed where it is not known", above=0, below=180, unit="degrees"
    )
