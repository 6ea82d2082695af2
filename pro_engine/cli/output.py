"""What the verbs of the command line print: a progress bar, complaints, JSON and tables; and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

FAILED, STOPPED = 1, 130


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """show(text, done, total) while the block runs: a bar on stderr, or nothing where stderr is no terminal.

    It tells the time so far and, where the total is known, the time left for it.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # results that go to a file or a pipe are not for the screen
    ) as bar:
        task = bar.add_task("", total=None)

        def show(text: str, done: int, total: int | None) -> None:
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

    console, table = Console(), Table(show_header=any(header), box=None, pad_edge=False)
    columns = list(zip(header, *rows, strict=True))
    least = [max((len(word) for text in column for word in text.split()), default=0) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) + 2 * len(widths) - 2 > console.width and widths != least:  # Rich alone would cut words
        widths[max(range(len(widths)), key=lambda i: widths[i] - least[i])] -= 1
    for title, width in zip(header, widths, strict=True):
        table.add_column(title, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
