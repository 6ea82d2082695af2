"""What the verbs of the command line share: errors in one line, the progress bar, tables, and flags from fields."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from pro_engine.errors import InputError, ProEngineError

FAILED, STOPPED = 1, 130
_Options = TypeVar("_Options")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print a JSON summary to stdout")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")]


def help_text(options: type, name: str) -> str:
    """The help text of the field `name` of an options dataclass, with its choices."""
    metadata = {field.name: field.metadata for field in dataclasses.fields(options)}[name]
    text, choices = str(metadata["help"]), metadata.get("choices")
    return f"{text}: {', '.join(choices)}" if choices else text


def usage(build: Callable[[], _Options]) -> _Options:
    """What `build` makes; a value that it refuses is a mistake in the command."""
    try:
        return build()
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def pair(name: str, text: str) -> tuple[int, int]:
    """`4x3` as (4, 3); anything else is a mistake in the flag --`name`."""
    match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())
    if match is None or "0" in match.groups():
        raise typer.BadParameter(f"--{name} is {text!r}; give two whole numbers above 0, such as 4x4.")
    return int(match[1]), int(match[2])


@contextmanager
def errors_in_one_line(debug: bool = False) -> Iterator[None]:
    """Turn an error that ends a verb into one line on stderr and exit code 1; with `debug` let it through."""
    try:
        yield
    except ProEngineError as error:
        if debug:
            raise
        print(f"pro-engine: {error}", file=sys.stderr)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise typer.Exit(STOPPED) from None


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """show(text, done, total) while the block runs: a bar on stderr, or nothing where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total)

        yield show


def complain(source: str, error: str) -> None:
    """One line on stderr about an input that failed; the rest of the job goes on."""
    text = error if source in error else f"{source}: {error}"
    print(f"pro-engine: {' '.join(text.split())}", file=sys.stderr)


def print_json(value: object) -> None:
    """A JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table without lines on stdout; a header of empty texts is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=any(header), box=None, pad_edge=False)
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
