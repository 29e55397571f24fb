"""What the commands share: tables on standard output, progress and notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from .errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MEMORY = 3600.0  # seconds over which the time left is estimated: a step may take minutes

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class Advance(Protocol):
    """Advances a bar by so many steps; a text that is given stands behind its label."""

    def __call__(self, steps: int, text: str = "") -> None:
        """See above."""


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], Advance]]:
    """A progress display on standard error: add(label, total, done) gives a function that advances that bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=_MEMORY) as display:

        def add(label: str, total: int, done: int) -> Advance:
            task = display.add_task(label, total=total, completed=done)
            return lambda steps, text="": display.update(task, advance=steps, description=f"{label} {text}".rstrip())

        yield add


def training_bar(add: Callable[[str, int, int], Advance], label: str, steps: int) -> Callable[[int, Mapping[str, float]], None]:
    """A bar for a training of so many steps, from the first that is logged on; it shows the loss, or the return."""
    advance: Advance | None = None
    last = 0

    def on_step(step: int, figures: Mapping[str, float]) -> None:
        nonlocal advance, last
        advance = advance or add(label, steps, 0)
        advance(step + 1 - last, _headline(figures))
        last = step + 1

    return on_step


def _headline(figures: Mapping[str, float]) -> str:
    """Mean over the families of their loss, or of what they earned."""
    for wanted in ("loss", "return"):
        if values := [value for name, value in figures.items() if name.rpartition("/")[2] == wanted]:
            return f"{wanted} {sum(values) / len(values):.4g}"
    return ""


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
