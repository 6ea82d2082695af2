"""Verbs of the command line, made from functions: options become flags, one for each field.

A parameter of the function that is a dataclass of options is filled from flags; every other parameter is typer's own.
Names, defaults, limits, choices and help of the flags come from the fields. `FLAGS` holds all that the command line
says in words of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import typer

from pro_engine.cli import stop
from pro_engine.cli.output import FAILED, own_stdout
from pro_engine.errors import CancelledError, InputError, ProEngineError
from pro_engine.options import (
    OptionError,
    check,
    choices_of,
    field_of,
    hint_of,
    members_of,
    options_of,
    range_in_words,
)

_Run = TypeVar("_Run", bound=Callable[..., None])
_Made = TypeVar("_Made")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print a JSON summary to stdout")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")]


class Flag(NamedTuple):
    """What the command line calls an option, instead of --field-name, and what its help calls the value."""

    names: tuple[str, ...] = ()
    value: str = ""


FLAGS = {
    "architecture": Flag(value="NAME"),
    "batch_size": Flag(("--batch",), "PATCHES"),
    "cluster": Flag(value="ADDRESS"),
    "data": Flag(("--data", "-d")),
    "device": Flag(value="DEVICE"),
    "camera_height_m": Flag(("--camera-height",)),
    "channel": Flag(value="NAME"),
    "distance": Flag(value="X,Y=METRES"),
    "exr_far_m": Flag(("--exr-far",)),
    "exr_half": Flag(("--half",)),
    "far_m": Flag(("--far",)),
    "fov_x_deg": Flag(("--fov",)),
    "length": Flag(value="X1,Y1,X2,Y2=METRES"),
    "kind": Flag(value="KIND"),
    "kinds": Flag(value="NAME=FACTOR"),
    "layer": Flag(value="NAME"),
    "mixed_sizes": Flag(("--mixed-sizes/--no-mixed-sizes",)),
    "name": Flag(("--model", "-m"), "NAME"),
    "near_m": Flag(("--near",)),
    "normal_maps": Flag(("--normals",)),
    "out": Flag(("--out", "-o")),
    "pitch_deg": Flag(("--pitch",)),
    "psi": Flag(value="NAME|PATH"),
    "refiner_weights": Flag(("--refiner",)),
    "roll_deg": Flag(("--roll",)),
    "scale_from": Flag(("--scale",)),
}
NO_FLAG = {"keep_alpha", "keep_coarse", "keep_normals", "keep_sky"}
"""Options that a verb sets itself."""

_VALUES = {Path: "PATH", int: "NUMBER", float: "NUMBER", str: "TEXT"}
_UNITS = {"m": "METRES", "mm": "MM", "degrees": "DEGREES", "pixels": "PIXELS"}


def flag_of(name: str) -> str:
    """The flag of the option `name`, as errors name it."""
    return _names_of(name)[0].partition("/")[0]


def flags_of(owner: type) -> Iterator[dataclasses.Field[Any]]:
    """The options of a dataclass that have a flag."""
    return (field for field in options_of(owner) if field.name not in NO_FLAG)


def verb(app: typer.Typer, name: str) -> Callable[[_Run], _Run]:
    """Add a function as the verb `name`; options that contradict each other are a mistake in the command.

    Every verb has --debug; a function that wants to know of it takes `debug`. Errors that it raises end the program
    with one line, see `errors_in_one_line`.
    """

    def add(run: _Run) -> _Run:
        hints: dict[str, Any] = get_type_hints(run, include_extras=True)
        taken = inspect.signature(run).parameters

        def command(debug: bool, **given: Any) -> None:
            given["debug"] = debug
            values = {name: _made(hints[name], given) if _is_options(hints[name]) else given[name] for name in taken}
            with errors_in_one_line(debug), own_stdout():
                run(**values)

        parameters: list[inspect.Parameter] = []
        for one in taken.values():
            owner = hints[one.name]
            if _is_options(owner):
                parameters += [_parameter(owner, field) for field in flags_of(owner)]
            elif one.name != "debug":
                parameters.append(_keyword(one.name, owner, one.default))
        parameters.append(_keyword("debug", DebugFlag, False))
        parameters.sort(key=lambda one: one.default is not one.empty)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__doc__ = run.__doc__
        app.command(name)(command)
        return run

    return add


@contextmanager
def errors_in_one_line(debug: bool = False) -> Iterator[None]:
    """Turn an error that ends a verb into one line on stderr and exit code 1; with `debug` let it through.

    A signal ends it, too, even where a library caught the exception or made an error of it.
    """
    try:
        with stop.working():
            yield
            stop.check()
    except typer.Exit:
        raise
    except CancelledError as stopped:
        print(stopped, file=sys.stderr)
        raise typer.Exit(stop.exit_code()) from None
    except (Exception, KeyboardInterrupt) as error:
        if stop.is_stop(error):
            print("Stopped.", file=sys.stderr)
            raise typer.Exit(stop.exit_code()) from None
        if debug or not isinstance(error, ProEngineError):
            raise
        print(f"pro-engine: {_worded(error)}", file=sys.stderr)
        raise typer.Exit(FAILED) from None


def usage(build: Callable[[], _Made]) -> _Made:
    """What `build` makes; a value that it refuses is a mistake in the command."""
    try:
        return build()
    except InputError as error:
        raise typer.BadParameter(_worded(error)) from error


def _worded(error: ProEngineError) -> str:
    return error.worded(flag_of) if isinstance(error, OptionError) else str(error)


def _is_options(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _made(owner: Any, given: dict[str, Any]) -> Any:
    """The options that the flags' values ask for."""
    return usage(
        lambda: owner(**{field.name: _form(owner, field.name).read(given[field.name]) for field in flags_of(owner)})
    )


def _names_of(name: str) -> tuple[str, ...]:
    return FLAGS.get(name, Flag()).names or ("--" + name.replace("_", "-"),)


def _parameter(owner: type, field: dataclasses.Field[Any]) -> inspect.Parameter:
    """The flag of a field as typer wants it: a switch or a text. Reading texts ourselves, all errors speak alike."""
    form, names, default = _form(owner, field.name), _names_of(field.name), field.default
    notes = [form.limits] if form.limits else []
    if default is True:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}", *names[1:])
        notes.append("default: on")
    elif default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    elif default is not None and default is not False:
        shown, default = f"{default:g}" if isinstance(default, float) else "", form.write(default)
        notes += [f"default: {shown or default}"] if default else []
    help = form.help + (f"  [{'; '.join(notes)}]" if notes else "")
    option = typer.Option(*names, help=help, metavar=form.value or None, show_default=False)
    kind = form.kind | None if default is None else form.kind
    return _keyword(field.name, Annotated[kind, option], default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


class _FlagForm(NamedTuple):
    """How an option stands on the command line.

    kind: what typer makes of it. value: what its help calls the value, "" for a switch. help, limits: in words. read:
    what the field holds, of what typer gives; a text that is none is left for the field's check. write: the other way.
    """

    kind: Any
    value: str
    help: str
    limits: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


@cache
def _form(owner: type, name: str) -> _FlagForm:
    """The form of an option, by its type: pairs as 4x3, lists with commas if their texts are known, else repeated."""
    notes, choices = field_of(owner, name).metadata, choices_of(owner, name)
    own, help, limits = FLAGS.get(name, Flag()).value, notes["help"], range_in_words(notes)
    kinds = [
        kind for kind in members_of(hint_of(owner, name)) if kind is not NoneType and get_origin(kind) is not Literal
    ]
    kind: Any = kinds[0] if kinds else str
    if get_origin(kind) is not tuple:
        if kind is bool:
            return _FlagForm(bool, "", help, limits, bool, bool)
        names = [own or _UNITS.get(notes.get("unit", "")) or _VALUES[kind]] if kinds else []
        return _FlagForm(str, "|".join((*names, *choices)), help, limits, partial(_read, kind), _write)
    item: Any = get_args(kind)[0]
    if get_args(kind)[-1] is not Ellipsis:
        value = "x".join(notes["items"].upper().split(", "))
        read = partial(_read_pair, owner, name, value)
        return _FlagForm(str, "|".join((value, *choices)), help, f"each {limits}" if limits else "", read, _write)
    if choices:
        named, read_list = f"{help}: {', '.join(choices)}", partial(_read_list, choices)
        return _FlagForm(str, own or "NAME,...", named, limits, read_list, ",".join)
    return _FlagForm(list[str], own or _VALUES[item], help, limits, lambda given: tuple(map(item, given)), list)


def _read(kind: Callable[[str], Any], given: str | None) -> Any:
    """A number, path or text of the type `kind`; another text as it is."""
    try:
        return None if given is None else kind(given)
    except ValueError:
        return given


def _read_list(choices: tuple[str, ...], given: str) -> tuple[str, ...]:
    """`npz,EXR` as a tuple of choices without repeats; what is none of them stays in lower case."""
    known = {choice.lower(): choice for choice in choices}
    parts = (part.strip().lower() for part in given.split(",") if part.strip())
    return tuple(dict.fromkeys(known.get(part, part) for part in parts))


def _read_pair(owner: type, name: str, value: str, given: str) -> tuple[int, int] | str:
    """`4x3` as (4, 3); other texts only where the option has them as a choice."""
    choices = choices_of(owner, name)
    if given in choices:
        return given
    match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", given.strip().lower())
    pair = (int(match[1]), int(match[2])) if match else None
    try:
        check(owner, name, pair)
    except OptionError:
        field = field_of(owner, name)
        example = "4x4" if isinstance(field.default, str) else _write(field.default)
        wanted, limits = " or ".join((*choices, value)), _form(owner, name).limits
        sentence = f"{flag_of(name)} is {given!r}; give {wanted}, such as {example}{limits and ', '}{limits}."
        raise typer.BadParameter(sentence) from None
    return pair  # type: ignore[return-value]


def _write(value: Any) -> str:
    """A value as the text that is read as it: (4, 3) as 4x3."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
