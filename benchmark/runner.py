"""Plays the cells of a protocol with one agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .agent import Agent
from .data.collect import query_seeds, support
from .ledger import Ledger
from .protocol import Cell, Protocol
from .references import references
from .registry import get_variant
from .rollout import play


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        cell: which one.
        returns: return of every query episode.
        qos: quality of service of every query episode, by name.
        ledger: what the agent consumed.
        adaptation: figures that the agent published about its adaptation.
    """

    cell: Cell
    returns: tuple[float, ...]
    qos: Mapping[str, tuple[float, ...]]
    ledger: Ledger
    adaptation: Mapping[str, Any]

    @property
    def return_mean(self) -> float:
        """Mean return of the query episodes."""
        return sum(self.returns) / len(self.returns)

    @property
    def score(self) -> float:
        """0 = random, 100 = the genie reference."""
        return references(self.cell.variant).score(self.return_mean)


def run_cell(
    agent: Agent, cell: Cell, episodes: int, device: str = "cpu", on_slot: Callable[[], None] | None = None
) -> CellResult:
    """Adapt on the cell's support, then play its query episodes."""
    family, variant = get_variant(cell.variant)
    shots = support(family, variant, cell.seed, cell.shots)
    calls, wall, cpu = agent.planner_calls, time.perf_counter(), time.process_time()
    adaptation = agent.adapt(family, variant, shots)
    seeds = query_seeds(cell.seed, episodes)
    played = play(family, variant, agent, seeds, device=device, on_slot=on_slot)
    ledger = Ledger(
        support_transitions=shots.transitions if shots else 0,
        gradient_steps=adaptation.gradient_steps,
        message_bits=played.message_bits,
        planner_calls=agent.planner_calls - calls,
        query_steps=played.environment_steps,
        seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
    )
    qos = {name: tuple(round(x, 6) for x in values.tolist()) for name, values in played.qos.items()}
    returns = tuple(round(x, 6) for x in played.returns.tolist())
    return CellResult(cell, returns, qos, ledger, adaptation.notes)


def run(
    agent: Agent,
    protocol: Protocol,
    *,
    done: Mapping[Cell, CellResult] | None = None,
    device: str = "cpu",
    on_slot: Callable[[], None] | None = None,
) -> Iterator[CellResult]:
    """Play every cell that is not done yet, and yield all of them in the protocol's order."""
    for cell in protocol.cells():
        finished = (done or {}).get(cell)
        yield finished or run_cell(agent, cell, protocol.episodes, device, on_slot)
