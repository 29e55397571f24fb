"""Plays one cell of a protocol with one agent: adapts or lets it practise, scores it, and keeps its ledger."""

from __future__ import annotations

import math
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ...errors import WbenchError, foreign, require
from ..agent import Adaptation, Agent
from ..data.support import support
from ..family import closed
from ..meter import MeteredEnvironment
from ..processes import one_thread, plain_torch, seed_everything
from ..registry import get_variant
from ..rollout import Rollout, play
from ..seeds import query_seeds
from ..site import open_sealed, range_of
from .fields import Key, Name, Number, PerEpisode, Plain, Text, printable, record
from .ledger import Ledger
from .references import references
from .spec import Cell

DIGITS = 6  # of returns and quality of service, in memory as in a file
NOTES = 100  # figures that an agent may publish of its adaptation
LARGEST = 1e12  # of such a figure
MOST_CALLS = 2**53  # of a network, in a cell


@record
class CellResult(Cell):
    """A cell that was played, or one in which the agent failed."""

    return_mean: Number | None
    """Mean of `returns`; null where the agent failed."""
    score: Number | None
    """0 = random, 100 = genie; null where the agent failed."""
    returns: PerEpisode
    """Return of every query episode; empty where the agent failed."""
    qos: Annotated[dict[Name, PerEpisode], Field(max_length=64)]
    """Quality of service of every query episode, by name."""
    adaptation: Annotated[dict[Key, Plain], Field(max_length=NOTES)]
    """Figures that the agent published about its adaptation."""
    failure: Text
    """Why the agent has no score here; empty where it has one."""
    ledger: Ledger
    """What it consumed."""

    @property
    def cell(self) -> Cell:
        """Which cell it is."""
        return Cell(self.family, self.variant, self.site, self.shots)


def finished(
    cell: Cell,
    returns: Sequence[float],
    qos: Mapping[str, Sequence[float]],
    ledger: Ledger,
    notes: Mapping[str, float | int | str | bool],
) -> CellResult:
    """A cell that was played, with the score that follows from its returns."""
    mean = sum(returns) / len(returns)
    told: dict[str, Plain] = {name: printable(note) if isinstance(note, str) else note for name, note in notes.items()}
    measured = {name: tuple(values) for name, values in qos.items()}
    score = references(cell.variant, cell.site).score(mean)
    return CellResult(
        **vars(cell),
        return_mean=mean,
        score=score,
        returns=tuple(returns),
        qos=measured,
        adaptation=told,
        failure="",
        ledger=ledger,
    )


def failed(cell: Cell, reason: str, ledger: Ledger) -> CellResult:
    """A cell in which the agent failed."""
    return CellResult(
        **vars(cell),
        return_mean=None,
        score=None,
        returns=(),
        qos={},
        adaptation={},
        failure=printable(reason),
        ledger=ledger,
    )


def run_cell(
    agent: Agent,
    cell: Cell,
    episodes: int,
    device: str = "cpu",
    on_slot: Callable[[], None] | None = None,
    logs: str = "site",
) -> CellResult:
    """Adapt on the support of the cell's site, or practise there, then play its query episodes.

    Whatever the agent does wrong (raises, returns a wrong shape, type or number, asks for more than its budget) makes this one
    cell a failed one; with `WBENCH_DEBUG` set it is raised instead. The result depends on agent and cell alone: PyTorch
    is as it comes and computes on one thread, since sums depend on the number; the global generators are seeded from the cell.

    Args:
        agent: who plays.
        cell: which cell.
        episodes: number of query episodes.
        device: where the environment runs.
        on_slot: called after every slot of the query episodes, for progress bars.
        logs: whose support it adapts on, see `spec.Protocol.support`.
    """
    if range_of(cell.site) == "sealed":  # a protocol plays them for the referee alone
        open_sealed()
    with plain_torch(), one_thread():
        return _run_cell(agent, cell, episodes, device, on_slot, logs)


def _run_cell(
    agent: Agent, cell: Cell, episodes: int, device: str, on_slot: Callable[[], None] | None, logs: str
) -> CellResult:
    seed_everything(f"{cell.variant} {cell.site} {cell.shots}")
    attempt = _Attempt(agent, cell, logs, device)
    try:
        adaptation = attempt.prepare()
        played = attempt.play(episodes, on_slot)
        for name, values in {"returns": played.returns, **played.qos}.items():
            require(bool(values.isfinite().all()), f"{name} of {cell.variant}", "NaN or infinite", "finite")
    except BaseException as error:  # whatever it is: sys.exit, a cancelled coroutine
        reason = _reason(error)
        if os.environ.get("WBENCH_DEBUG"):
            raise
        return failed(cell, reason, attempt.ledger())
    qos = {name: [round(x, DIGITS) for x in values.tolist()] for name, values in played.qos.items()}
    returns = [round(x, DIGITS) for x in played.returns.tolist()]
    ledger = attempt.ledger(gradient_steps=adaptation.gradient_steps, message_bits=played.message_bits)
    return finished(cell, returns, qos, ledger, adaptation.notes)


class _Attempt:
    """An agent at a cell, with its clocks and meters: a ledger can be drawn up at any time, also after a failure."""

    def __init__(self, agent: Agent, cell: Cell, logs: str, device: str) -> None:
        self._agent, self._cell, self._device = agent, cell, device
        self._family, self._variant = get_variant(cell.variant)
        metered = agent.practises and cell.shots > 0
        self._support = None if metered else support(self._family, self._variant, cell.site, cell.shots, logs)
        if self._support is not None:
            self._support.require_fitting(self._family, self._variant)
        self._meter = MeteredEnvironment(self._family, self._variant, cell.site, cell.shots, device) if metered else None
        self._query_steps, self._act_seconds, self._calls = 0, 0.0, agent.planner_calls
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def prepare(self) -> Adaptation:
        """Let the agent learn the site."""
        with nullcontext() if self._agent.privileged else closed():
            if self._meter is not None:
                found = self._agent.practise(self._meter)
            else:
                found = self._agent.adapt(self._family, self._variant, self._support)
        return _checked(found, self._agent.name)

    def play(self, episodes: int, on_slot: Callable[[], None] | None) -> Rollout:
        """Play the query episodes."""
        sites, seeds = [self._cell.site] * episodes, query_seeds(episodes)
        start = time.perf_counter()
        played = play(self._family, self._variant, self._agent, sites, seeds, device=self._device, on_slot=on_slot)
        told = self._agent.planner_calls
        require(self._planned() is not None, f"planner_calls of {self._agent.name}", told, "a whole number that does not fall")
        self._act_seconds, self._query_steps = time.perf_counter() - start, played.environment_steps
        return played

    def ledger(self, gradient_steps: int = 0, message_bits: int = 0) -> Ledger:
        """What was consumed so far."""
        return Ledger(
            support_transitions=self._support.transitions if self._support else 0,
            environment_steps=self._meter.used if self._meter else 0,
            gradient_steps=gradient_steps,
            message_bits=message_bits,
            planner_calls=self._planned() or 0,
            query_steps=self._query_steps,
            act_seconds=round(self._act_seconds, 3),
            seconds=round(time.perf_counter() - self._wall, 3),
            cpu_seconds=round(time.process_time() - self._cpu, 3),
        )

    def _planned(self) -> int | None:
        """Network evaluations that the agent says its planner made here; None where it says no number."""
        before, now = self._calls, self._agent.planner_calls
        return now - before if type(now) is type(before) is int and 0 <= now - before <= MOST_CALLS else None


def _checked(found: object, name: str) -> Adaptation:
    """What an agent says of its adaptation, if it can be written to a result file."""
    require(isinstance(found, Adaptation), f"what {name} returned after adapting", type(found).__name__, "an Adaptation")
    assert isinstance(found, Adaptation)
    steps = found.gradient_steps
    require(type(steps) is int and steps >= 0, f"gradient_steps of {name}", steps, "a whole number, 0 or more")
    require(len(found.notes) <= NOTES, f"notes of {name}", len(found.notes), f"{NOTES} or fewer")
    for note, value in found.notes.items():
        named = isinstance(note, str) and re.fullmatch("[ -~]{1,64}", note)
        require(bool(named), f"a note's name of {name}", note, "1 to 64 printable ASCII characters")
        fine = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        require(fine, f"note {note!r} of {name}", value, "a text, a truth value or a finite number")
        small = not isinstance(value, float | int) or abs(value) <= LARGEST
        require(small, f"note {note!r} of {name}", value, f"within +-{LARGEST:g}")
    return found


def _reason(error: BaseException) -> str:
    """One line: what was raised, and where, if it was not raised on purpose; raises an interruption again."""
    said = foreign(error)[:300]
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, WbenchError) or not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
