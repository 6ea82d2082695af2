"""`pro-engine train scenes | base | heads | refiner | outlines | bundle`: flags from `training.options`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import typer

from pro_engine.cli.flags import verb
from pro_engine.cli.output import progress_bar, say
from pro_engine.errors import DependencyError
from pro_engine.training.options import (
    BaseConfig,
    BundleConfig,
    HeadsConfig,
    OutlinesConfig,
    RefinerConfig,
    ScenesConfig,
)

app = typer.Typer(help="Render scenes, train a base model and a refiner, bundle both.", no_args_is_help=True)


@verb(app, "scenes")
def _scenes(config: ScenesConfig) -> None:
    """Render scenes with exact depth; a set that was begun goes on."""
    try:
        from pro_engine.training.scenes.generate import render_dataset
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    with progress_bar() as show:
        pictures = render_dataset(config, lambda done, total: show("scenes", done, total))
    say(f"{config.out}: {pictures} pictures rendered")


@verb(app, "base")
def _base(config: BaseConfig) -> None:
    """Train the base model; a run that was stopped goes on."""
    try:
        from pro_engine.training.base import run_base
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_base, config)


@verb(app, "heads")
def _heads(config: HeadsConfig) -> None:
    """Train what tells lens, metres and sky; a run goes on."""
    try:
        from pro_engine.training.heads import run_heads
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_heads, config)


@verb(app, "refiner")
def _refiner(config: RefinerConfig) -> None:
    """Train the refiner of a frozen Ψ; a run that was stopped goes on."""
    try:
        from pro_engine.training.refiner import run_refiner
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_refiner, config)


@verb(app, "outlines")
def _outlines(config: OutlinesConfig) -> None:
    """Train what says where outlines are; a run goes on."""
    try:
        from pro_engine.training.outlines import run_outlines
    except ImportError as error:
        raise DependencyError(_needs_extra(error)) from error
    _run(run_outlines, config)


def _run(train: Callable[..., None], config: Any) -> None:
    """Train with a progress bar; of several processes only the first speaks."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        train(config)
        return
    with progress_bar() as show:
        train(config, lambda done, total, text: show(text, done, total))
    say(f"{config.out / 'model.safetensors'}: written")


@verb(app, "bundle")
def _bundle(config: BundleConfig) -> None:
    """Put a base and its refiner into the one file that ships."""
    from pro_engine.training.bundle import bundle

    bundle(config)
    say(f"{config.out}: written")


def _needs_extra(error: ImportError) -> str:
    return f"Training needs the extra `train` ({error.name} is missing); run: pip install 'pro-engine[train]'."
