"""The terminal: options of commands, tables on standard output, progress and notes on standard error."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Annotated, Protocol, TextIO

import typer

from .errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID

_PIPED = 100  # columns of a table that no terminal shows
_INTERVAL = re.compile(r"(?<=\d) (?=\[[-+.\d]+, )")
_MEMORY = 3600.0  # seconds over which the time left is estimated: a step may take minutes

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
OnlyFamilies = Annotated[list[str] | None, typer.Option(help="These families only; may be repeated. Left out: all of them.")]
OneFamily = Annotated[str | None, typer.Option(help="This family only. Left out: all of them.")]


class Messages(io.TextIOBase):
    """Standard error for notes and bars: a stream that is closed, full or gone loses them, and stops no command.

    Args:
        stream: the stream; default: what standard error is when something is written.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._given = stream

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._given is None else self._given

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError, AttributeError):  # closed, full or none: what is told to people is lost, no result
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        try:
            return self._stream.isatty()
        except (OSError, ValueError, AttributeError):
            return False


class Bar:
    """One bar of a progress display; its clock starts with its first step."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task

    def __call__(self, steps: int = 1) -> None:
        """Go on by so many steps."""
        self._display.start_task(self._task)
        self._display.advance(self._task, steps)

    def at(self, done: int, text: str = "") -> None:
        """Go to the step after so many that are done; a text that is given stands beside the bar."""
        self._display.start_task(self._task)
        self._display.update(self._task, completed=done, visible=True, text=text)

    def trained(self, step: int, figures: Mapping[str, float]) -> None:
        """Go to a step that a training has logged, and show its loss, or its return: the mean over the families."""
        for wanted in ("loss", "return"):
            if values := [value for name, value in figures.items() if name.rpartition("/")[2] == wanted]:
                return self.at(step + 1, f"{wanted} {sum(values) / len(values):.4g}")
        return self.at(step + 1)


class Add(Protocol):
    """Adds a bar to a display."""

    def __call__(self, label: str, total: int, done: int = 0, later: bool = False) -> Bar:
        """A bar of `total` steps, `done` of which are done; `later`: shown from its first step on."""


@contextmanager
def apart() -> Iterator[None]:
    """Send what somebody's code and its programs print to standard error: it is no part of what scripts read."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def progress(shown: bool = True) -> Iterator[Add]:
    """A progress display on standard error, unless none is `shown`: what it gives adds bars to it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bars = BarColumn(pulse_style="bar.back"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    columns = (TextColumn("{task.description}", markup=False), *bars, TextColumn("{task.fields[text]}", markup=False))
    console = Console(file=Messages())  # type: ignore[arg-type]
    with Progress(*columns, console=console, speed_estimate_period=_MEMORY, disable=not shown) as display:

        def add(label: str, total: int, done: int = 0, later: bool = False) -> Bar:
            return Bar(display, display.add_task(plain(label), False, total, done, visible=not later, text=""))

        yield add


def terminal() -> Console:
    """Standard output: as wide as the terminal is; piped, as wide as `COLUMNS` says, or 100."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED)


def print_rows(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on standard output; an interval stands below its number, so that no line breaks in it."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(*(escape(plain(_INTERVAL.sub("\n", cell), "\n")) for cell in row))
    terminal().print(table)


def answer(as_json: bool, data: object, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """What a command found: one JSON object for scripts, or a table for people."""
    if as_json:
        print(json.dumps(data))
    else:
        print_rows(header, rows)


def note(text: str) -> None:
    """A line on standard error."""
    print(f"wbench: {plain(' '.join(text.split()))}", file=Messages(), flush=True)


def plain(text: str, kept: str = "") -> str:
    """A text in which nothing is left that a terminal obeys, such as the escape codes in somebody's file name."""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


DIGITS = 18  # of a number that somebody may mean


def numbers(option: str, text: str, least: int = 0) -> list[int]:
    """Whole numbers with commas, each this great or more; raises `InvalidValueError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= DIGITS and int(part) >= least for part in parts):
        raise InvalidValueError(option, text, f"whole numbers of {least} or more with commas, e.g. {least},5")
    return [int(part) for part in parts]
