"""Progress bars of a run, on standard error: one for each agent, in slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..benchmark.protocol.executor import AgentSpec, Task
from ..benchmark.protocol.spec import Protocol
from ..benchmark.registry import get_variant

_MEMORY = 3600.0  # seconds over which the time left is estimated: a step may take minutes
Told = Callable[[Task], None]


@contextmanager
def bars(
    labels: Mapping[AgentSpec, str], tasks: Sequence[Task], protocol: Protocol, shown: bool
) -> Iterator[tuple[Told, Told]]:
    """One function to call after a slot that is played here, one after a cell, which may have been played elsewhere.

    Args:
        labels: what the bars are called.
        tasks: what is still to be played.
        protocol: what is played in all.
        shown: False = no bars.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = BarColumn(pulse_style="bar.back")  # it does not pulse before it starts
    columns = (TextColumn("{task.description}"), bar, MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    slots = {name: get_variant(name)[1].horizon for name in protocol.variants}
    left = {spec: sum(slots[task.cell.variant] for task in tasks if task.agent == spec) for spec in labels}
    total = sum(slots[cell.variant] for cell in protocol.cells())
    counted: dict[Task, int] = {}
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=_MEMORY, disable=not shown) as display:
        rows = {s: display.add_task(label, False, total=total, completed=total - left[s]) for s, label in labels.items()}

        def advance(task: Task, steps: int) -> None:
            display.start_task(rows[task.agent])  # an agent's clock runs from its first slot on
            display.advance(rows[task.agent], steps)

        def on_slot(task: Task) -> None:
            counted[task] = counted.get(task, 0) + 1
            advance(task, 1)

        def on_cell(task: Task) -> None:
            advance(task, slots[task.cell.variant] - counted.pop(task, 0))

        yield on_slot, on_cell
