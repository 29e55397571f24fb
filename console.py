"""What the commands share: tables on standard output, progress and notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = 3600.0  # seconds over which the time left is estimated: a step may take minutes

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], Callable[[int], None]]]:
    """A progress display on standard error: add(label, total, done) gives a function that advances that bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=_MEMORY) as display:

        def add(label: str, total: int, done: int) -> Callable[[int], None]:
            task = display.add_task(label, total=total, completed=done)
            return lambda steps: display.advance(task, steps)

        yield add


def print_rows(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def note(text: str) -> None:
    """A line on standard error."""
    print(f"wbench: {' '.join(text.split())}", file=sys.stderr, flush=True)


def check_device(device: str) -> None:
    """Raise `InvalidValueError` unless this machine can compute there."""
    import torch

    if device not in ("cpu", "cuda"):
        raise InvalidValueError("--device", device, "cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidValueError("--device", device, "cpu here: this machine, or this build of torch, has no CUDA")
