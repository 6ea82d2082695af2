"""What the verbs of the command line print: a progress bar, complaints, lines, JSON and tables."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

FAILED = 1
"""The exit code where something failed."""

_stdout: TextIO | None = None


@contextmanager
def own_stdout() -> Iterator[None]:
    """While the block runs, `say` and its like write to stdout, and what libraries print there comes out on stderr.

    So does what their processes print, where stdout is that of this process and not a test's.
    """
    global _stdout
    before = _stdout = sys.stdout
    sys.stdout = sys.stderr
    is_whole = before is not None and before is sys.__stdout__ and sys.stderr is not None
    if is_whole:
        before.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        _stdout = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1)  # noqa: SIM115
    try:
        yield
    finally:
        if is_whole:
            os.dup2(kept, 1)
            _stdout.close()
        _stdout, sys.stdout = None, before


def say(text: str) -> None:
    """A line on stdout."""
    print(text, file=_stdout or sys.stdout)


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
    """A JSON document on stdout; bytes of names that are no UTF-8 stand as the escapes by which Python knows them."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    say(re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text))


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table without lines on stdout; a header of empty texts is left out.

    Words, and the names in the first column, are never cut. Where the columns do not fit so, each row becomes a list.
    """
    from rich.table import Table
    from rich.text import Text

    console, table = Console(file=_stdout or sys.stdout), Table(show_header=any(header), box=None, pad_edge=False)
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [widths[0]] + [max(len(word) for text in one for word in text.split() or [""]) for one in columns[1:]]
    room = console.width - 2 * len(widths) + 2
    if sum(least) > room:
        _print_lists(header, rows, console.width)
        return
    while sum(widths) > room:  # Rich alone would cut words
        widths[max(range(len(widths)), key=lambda i: widths[i] - least[i])] -= 1
    for title, width in zip(header, widths, strict=True):
        table.add_column(title, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _print_lists(header: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> None:
    """Each row as its first text and, below it, the others with their titles."""
    for first, *others in rows:
        say(first)
        for title, text in zip(header[1:], others, strict=True):
            line = f"{title}: {text}" if title else text
            say(
                textwrap.fill(
                    line,
                    width,
                    initial_indent="  ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
