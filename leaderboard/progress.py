"""Progress bars of a run, on standard error: one for each agent, in slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..benchmark.protocol.executor import AgentSpec, Task
from ..benchmark.protocol.spec import Protocol
from ..benchmark.registry import get_variant
from ..console import progress

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
    slots = {name: get_variant(name)[1].horizon for name in protocol.variants}
    left = {spec: sum(slots[task.cell.variant] for task in tasks if task.agent == spec) for spec in labels}
    total = sum(slots[cell.variant] for cell in protocol.cells())
    counted: dict[Task, int] = {}
    with progress(shown) as add:
        advance = {spec: add(label, total, total - left[spec]) for spec, label in labels.items()}

        def on_slot(task: Task) -> None:
            counted[task] = counted.get(task, 0) + 1
            advance[task.agent](1)

        def on_cell(task: Task) -> None:
            advance[task.agent](slots[task.cell.variant] - counted.pop(task, 0))

        yield on_slot, on_cell
