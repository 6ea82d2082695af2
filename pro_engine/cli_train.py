"""`pro-engine train scenes | base | refiner | bundle`: the flags are made from the fields of `training.options`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from pro_engine.cli_shared import STOPPED, DebugFlag, errors_in_one_line, pair, progress_bar, usage
from pro_engine.errors import CancelledError, DependencyError, InputError
from pro_engine.training.options import BaseConfig, BundleConfig, RefinerConfig, ScenesConfig

app = typer.Typer(
    help="Render scenes, train a base model and a refiner on them, and put both into one file.", no_args_is_help=True
)


def _verb(config: type, name: str, run: Callable[[Any], None]) -> None:
    """Add the verb `name`, with a flag for every field of the dataclass `config`, that calls `run` with one of it."""
    hints = get_type_hints(config)
    fields = dataclasses.fields(config)

    def command(debug: bool = False, **flags: Any) -> None:
        values = {field.name: _value(field.name, hints[field.name], flags[field.name]) for field in fields}
        made = usage(lambda: config(**values))
        with errors_in_one_line(debug):
            try:
                run(made)
            except CancelledError as stopped:
                print(stopped, file=sys.stderr)
                raise typer.Exit(STOPPED) from None

    parameters = [_parameter(field, hints[field.name]) for field in sorted(fields, key=_has_default)]
    parameters.append(_keyword("debug", DebugFlag, False))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = run.__doc__
    app.command(name)(command)


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    """The flag of a field as typer wants it: pairs of numbers as 4x3, choices as an enumeration, folders repeated."""
    name, text = "--" + field.name.replace("_", "-"), field.metadata["help"]
    kind: Any = hint
    default: Any = field.default if _has_default(field) else inspect.Parameter.empty
    if hint is bool:
        name = f"{name}/--no-{name.removeprefix('--')}"
    elif hint == tuple[int, int]:
        kind, default = str, "x".join(map(str, default)) if _has_default(field) else default
    elif get_origin(hint) is tuple:
        kind = list[get_args(hint)[0]]  # type: ignore[misc]
    elif get_origin(hint) is Literal:
        choices: Any = Enum(field.name, [(choice, choice) for choice in get_args(hint)], type=str)  # type: ignore[misc]
        kind, default = choices, choices(default)
    return _keyword(field.name, Annotated[kind, typer.Option(name, help=text)], default)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _value(name: str, hint: Any, flag: Any) -> Any:
    """What the field holds, from what typer gives for its flag."""
    if hint == tuple[int, int]:
        return pair(name, flag)
    if get_origin(hint) is tuple:
        return tuple(flag)
    return flag.value if isinstance(flag, Enum) else flag


def _scenes(config: ScenesConfig) -> None:
    """Render scenes with exact depth; a set that was begun goes on."""
    try:
        from pro_engine.training.synthetic.generate import render_dataset
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    with progress_bar() as show:
        try:
            pictures = render_dataset(**vars(config), progress=lambda done, total: show("scenes", done, total))
        except RuntimeError as error:  # too many scenes failed, each for a reason that was logged
            raise InputError(f"Rendering was given up: {error}; mend that and give the same command again.") from error
    print(f"{config.out}: {pictures} pictures rendered")


def _base(config: BaseConfig) -> None:
    """Train the base model; a run that was stopped goes on."""
    try:
        from pro_engine.training.base import run_base
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_base, config)


def _refiner(config: RefinerConfig) -> None:
    """Train the refiner of a frozen Ψ; a run that was stopped goes on."""
    try:
        from pro_engine.training.refiner import run_refiner
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_refiner, config)


def _run(train: Callable[..., None], config: Any) -> None:
    """Train with a progress bar; of several processes only the first speaks."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        train(config)
        return
    with progress_bar() as show:
        train(config, lambda done, total, text: show(text, done, total))
    print(f"{config.out / 'model.safetensors'}: written")


def _bundle(config: BundleConfig) -> None:
    """Put a base and its refiner into the one file that ships."""
    from pro_engine.training.bundle import bundle

    bundle(config)
    print(f"{config.out}: written")


def _needs_extra(error: ImportError) -> str:
    return f"Training needs the extra `train` ({error.name} is missing); run: pip install 'pro-engine[train]'."


_verb(ScenesConfig, "scenes", _scenes)
_verb(BaseConfig, "base", _base)
_verb(RefinerConfig, "refiner", _refiner)
_verb(BundleConfig, "bundle", _bundle)
