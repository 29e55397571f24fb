"""Results for tests: of agents made up in a moment, whose numbers are as consistent as a real run's."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from wbench.benchmark.protocol.ledger import Ledger
from wbench.benchmark.protocol.references import references
from wbench.benchmark.protocol.runner import CellResult
from wbench.benchmark.protocol.spec import Cell, Protocol, protocol
from wbench.benchmark.registry import get_variant
from wbench.leaderboard.result import Run, document
from wbench.leaderboard.schema import Hardware, Origin, Package, Player

VARIANTS = ("access/n8-c1-load0.5", "offload/n10-e3-p0.4")
BITS, FLOATS = 32, 2


@cache
def small(seeds: int = 5, episodes: int = 3, shots: tuple[int, ...] = (0, 5)) -> Protocol:
    """Two variants of two families."""
    return protocol("quick", variants=VARIANTS, seeds=seeds, episodes=episodes, shots=shots)


def player(label: str, **changes: Any) -> Player:
    """An agent that sends two floats a slot and has a checkpoint from a folder."""
    agent, _, track = label.partition("/")
    known = {
        "agent": agent,
        "label": label,
        "track": track or "offline",
        "package": Package(name="wbench", version="0.1.0"),
        "checkpoint": hashlib.sha256(label.encode()).hexdigest(),
        "origin": Origin(kind="folder", name="", revision=""),
        "parameters": 12_345,
        "privileged": False,
        "privileged_training": False,
        "source_transitions": 1000,
        "source_steps": 0,
    }
    return Player(**{**known, **changes})


def cell_result(cell: Cell, episodes: int, share: float, online: bool, own: int = 0) -> CellResult:
    """A cell whose scores lie around 100 * share: luck is the episode's, common to all agents, and a little of its own."""
    variant, frame = get_variant(cell.variant)[1], references(cell.variant)
    luck = np.random.default_rng([cell.seed, len(cell.variant)]).normal(0, 0.1, episodes)
    luck += np.random.default_rng([cell.seed, cell.shots, own]).normal(0, 0.01, episodes) if own else 0
    returns = frame.random + (frame.reference - frame.random) * (share + luck)
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
    qos = {"goodput": tuple(np.round(luck + 1, 6).tolist()), "delay_mean": tuple(np.round(2 - luck, 6).tolist())}
    return CellResult(cell, tuple(np.round(returns, 6).tolist()), qos, ledger, {"kept": True, "loss": 0.5})


def run(label: str = "made-up", share: float = 0.5, played: Protocol | None = None, own: int = 0, **changes: Any) -> Run:
    """A finished run of a made-up agent."""
    played = played or small()
    found = Run(player(label, **changes), {}, Hardware(cpu="Some CPU", cores=4, threads=1, device="cpu"))
    for cell in played.cells():
        found = found.add(cell_result(cell, played.episodes, share, found.player.track != "offline", own))
    return found


def result(label: str = "made-up", share: float = 0.5, played: Protocol | None = None, **more: Any) -> dict[str, Any]:
    """The result document of one."""
    return document(played or small(), run(label, share, played, **more))


def save(path: Path, data: dict[str, Any]) -> Path:
    """Write it as `wbench eval` does."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def changed(data: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy that something was done to."""
    data = copy.deepcopy(data)
    change(data)
    return data
