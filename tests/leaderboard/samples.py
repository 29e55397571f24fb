"""Results for tests: of agents made up in a moment, whose numbers are as consistent as a real run's."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from wbench.baselines.bc import BcConfig, BehaviourCloning
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.protocol.ledger import Ledger
from wbench.benchmark.protocol.references import references
from wbench.benchmark.protocol.runner import CellResult, failed, finished
from wbench.benchmark.protocol.spec import Cell, Protocol, protocol
from wbench.benchmark.registry import OWN_AGENTS, get_family, get_variant
from wbench.benchmark.site import RANGES
from wbench.leaderboard.evaluate import compose, evaluate
from wbench.leaderboard.result import Result
from wbench.leaderboard.schema import AgentRecord, Hardware, Origin, Package
from wbench.leaderboard.verification.child import Answer, Job, answered, heard

VARIANTS = ("access/n8-c3-load0.15-l48", "offload/n8-e2-p0.15")
HELD_OUT = RANGES["held-out"].start
BITS, FLOATS = 32, 2


@cache
def small(sites: int = 5, episodes: int = 3, shots: tuple[int, ...] = (0, 5)) -> Protocol:
    """Two variants of two families, at held-out sites."""
    return protocol("quick", variants=VARIANTS, sites=RANGES["held-out"][:sites], episodes=episodes, shots=shots)


def record(label: str, **changes: Any) -> AgentRecord:
    """An agent that sends two floats a slot and has a checkpoint from a folder."""
    agent, _, track = label.partition("/")
    known = {
        "agent": agent,
        "label": label,
        "track": track or "offline",
        "package": Package(name="wbench" if agent in OWN_AGENTS else "some-lab", version="0.1.0"),
        "checkpoint": hashlib.sha256(label.encode()).hexdigest(),
        "settings": hashlib.sha256(b"settings").hexdigest(),
        "origin": Origin(kind="folder", name="", revision=""),
        "parameters": 12_345,
        "privileged": False,
        "privileged_training": False,
        "source_transitions": 1000,
        "source_steps": 0,
    }
    return AgentRecord(**{**known, **changes})


def cell_result(cell: Cell, episodes: int, share: float, online: bool, own: int = 0) -> CellResult:
    """A cell whose scores lie around 100 * share: luck is the episode's, common to all agents, and a little of its own."""
    variant, frame = get_variant(cell.variant)[1], references(cell.variant, cell.site)
    luck = np.random.default_rng([cell.site, len(cell.variant)]).normal(0, 0.1, episodes)
    luck += np.random.default_rng([cell.site, cell.shots, own]).normal(0, 0.01, episodes) if own else 0
    returns = frame.random + (frame.genie - frame.random) * (share + luck)
    steps, practised = episodes * variant.horizon, online and cell.shots > 0
    ledger = Ledger(
        support_transitions=0 if practised else cell.shots * variant.horizon * variant.agents,
        environment_steps=cell.shots * variant.horizon if practised else 0,
        gradient_steps=10,
        message_bits=BITS * FLOATS * variant.agents * steps,
        query_steps=steps,
        act_seconds=0.25,
        seconds=0.5,
        cpu_seconds=0.5,
    )
    bounds = get_family(cell.family).qos_range(variant)  # the middle of what physics allows, and luck
    qos = {name: np.round(low + (high - low) * (0.5 + luck / 4), 6).tolist() for name, (low, high) in bounds.items()}
    return finished(cell, np.round(returns, 6).tolist(), qos, ledger, {"kept": True, "loss": 0.5})


@dataclass
class Run:
    """A made-up agent and its cells."""

    record: AgentRecord
    cells: dict[Cell, CellResult] = field(default_factory=dict)

    def fail(self, cell: Cell, reason: str = "it raised") -> Run:
        """The same run, failed in one cell."""
        return Run(self.record, {**self.cells, cell: failed(cell, reason, Ledger())})


def run(label: str = "made-up", share: float = 0.5, played: Protocol | None = None, own: int = 0, **changes: Any) -> Run:
    """A finished run of a made-up agent."""
    played, who = played or small(), record(label, **changes)
    online = who.track != "offline"
    return Run(who, {cell: cell_result(cell, played.episodes, share, online, own) for cell in played.cells()})


def composed(played: Protocol, *runs: Run) -> Result:
    """The result of the first run, beside the others."""
    rows = [(one.record, [one.cells[cell] for cell in played.cells() if cell in one.cells]) for one in runs]
    return compose(played, rows, Hardware(cpu="Some CPU", cores=4, threads=1, device="cpu"))


def result(label: str = "made-up", share: float = 0.5, played: Protocol | None = None, **more: Any) -> Result:
    """The result of one."""
    return composed(played or small(), run(label, share, played, **more))


def document(*given: Any, **more: Any) -> dict[str, Any]:
    """The same as in a file."""
    return result(*given, **more).document()


def untrained(folder: Path, **settings: Any) -> Path:
    """A checkpoint of `bc` for `access` that nobody has trained."""
    torch.manual_seed(0)
    shapes = {"access": FamilyShape.of(get_family("access"))}
    BehaviourCloning(BcConfig(shapes, hidden=16, sampled=("access",), **settings)).save_pretrained(folder)
    return folder


def played(agent: str, checkpoint: str | None = None) -> dict:
    """A result that was really played."""
    sites = [HELD_OUT, HELD_OUT + 1]
    tiny = protocol("quick", variants=VARIANTS[:1], shots=[0], sites=sites, episodes=2)
    return evaluate(agent, tiny, checkpoint=checkpoint, progress=False).document()


@contextmanager
def played_again_here(job: Job) -> Iterator[tuple[AgentRecord, Iterator[Answer]]]:
    """`play_again` without a process of its own, which takes seconds to start: for tests of what is made of its answers."""
    yield heard(job, (line.encode() for line in answered(job)))


def save(path: Path, data: Result | dict[str, Any]) -> Path:
    """Write it as `wbench eval` does."""
    path.write_text(json.dumps(data.document() if isinstance(data, Result) else data), encoding="utf-8")
    return path


def changed(data: Result | dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy that something was done to."""
    data = data.document() if isinstance(data, Result) else copy.deepcopy(data)
    change(data)
    return data
