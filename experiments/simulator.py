"""Simulator speed: environment steps a CPU second of every family, beside VMAS and mobile-env in the same run.

    pip install -e . vmas mobile-env==2.1.0 && python experiments/simulator.py [--json]

Figures are medians of repeats in process-CPU seconds on one thread: a busy machine slows all sides alike, so trust the ratios.
Actions are drawn beforehand; wbench's reset (drawing the scenarios) is included, as an episode needs one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.families.handover.variant import MAX_STATIONS, HandoverVariant
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.families.power.variant import PowerVariant
from wbench.benchmark.family import Variant
from wbench.benchmark.processes import keep_memory
from wbench.benchmark.registry import get_family
from wbench.benchmark.site import RANGES

BATCHES, REPEATS = (1, 32, 1024), 5
VARIANTS: dict[str, Callable[[int], Variant]] = {
    "access": lambda n: AccessVariant(n, 1, 0.4, 32),
    "power": lambda n: PowerVariant(n),
    "offload": lambda n: OffloadVariant(n, 3, 0.3),
    "handover": lambda n: HandoverVariant(n, 8),
}


def median_rate(play: Callable[[], int]) -> float:
    """Environment steps a CPU second; `play` returns the steps that it made."""
    play()
    rates = []
    for _ in range(REPEATS):
        begun = time.process_time()
        steps = play()
        rates.append(steps / (time.process_time() - begun))
    return statistics.median(rates)


def ours(family: str, agents: int, batch: int) -> float:
    """A family with so many agents, played by random actions."""
    variant = VARIANTS[family](agents)
    found = get_family(family)
    env = found.make(variant, "cpu")
    shape = (variant.horizon, batch, agents)
    generator = torch.Generator().manual_seed(0)
    if family == "access":
        actions = (torch.rand(shape, generator=generator) < 1 / agents).long()
    elif family == "power":
        actions = torch.rand(shape, generator=generator)
    elif family == "handover":
        actions = torch.randint(MAX_STATIONS + 1, shape, generator=generator)
    else:
        actions = torch.rand((*shape, 2), generator=generator)
        actions[..., 0] = torch.randint(4, shape, generator=generator).float()

    def play() -> int:
        env.reset([RANGES["dev"].start] * batch, range(batch))
        for action in actions:
            env.step(action)
        return variant.horizon * batch

    return median_rate(play)


def vmas(batch: int, agents: int = 8) -> float | None:
    """VMAS simple_spread; None where it is not installed."""
    try:
        from vmas import make_env
    except ImportError:
        return None
    env = make_env("simple_spread", num_envs=batch, device="cpu", continuous_actions=True, n_agents=agents, seed=0)
    slots = 32 if batch > 32 else 64
    actions = torch.rand(slots, agents, batch, 2) * 2 - 1

    def play() -> int:
        env.reset()
        for action in actions:
            env.step(list(action))
        return slots * batch

    return median_rate(play)


def mobile_env(size: str) -> tuple[int, float] | None:
    """mobile-env's central scenario: number of users, and environment steps a CPU second; None where it is not installed."""
    try:
        import gymnasium
        import mobile_env  # noqa: F401
    except ImportError:
        return None
    env = gymnasium.make(f"mobile-{size}-central-v0")
    env.reset(seed=0)
    users = len(env.unwrapped.users)
    actions = [env.action_space.sample() for _ in range(50)]

    def play() -> int:
        env.reset(seed=0)
        for action in actions:
            env.step(action)
        return len(actions)

    return users, median_rate(play)


def by_batch() -> list[dict[str, Any]]:
    """Agent-steps a CPU second by episodes in a batch, eight agents everywhere."""
    rows = []
    for batch in BATCHES:
        row: dict[str, Any] = {"episodes": batch} | {name: 8 * ours(name, 8, batch) for name in VARIANTS}
        peer = vmas(batch)
        rows.append(row | {"VMAS simple_spread": 8 * peer if peer else None})
    return rows


def by_users() -> list[dict[str, Any]]:
    """Agent-steps a CPU second beside mobile-env at the same number of users, 1024 episodes on our side."""
    rows = []
    for size in ("small", "medium", "large"):
        peer = mobile_env(size)
        if peer:
            users, rate = peer
            theirs = users * rate
            row = {name: users * ours(name, users, 1024) for name in VARIANTS}
            rows.append({"users": users, **row, "mobile-env": theirs, "least ratio": min(row.values()) / theirs})
    return rows


def by_agents() -> list[dict[str, Any]]:
    """Nanoseconds an agent-step as agents grow, 100 episodes."""
    return [{"agents": n} | {name: 1e9 / (n * ours(name, n, 100)) for name in VARIANTS} for n in (10, 20, 50, 100)]


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    print(f"\n{title}")
    if not rows:
        print("  peer not installed")
        return
    print("  ".join(f"{key:>18}" for key in rows[0]))
    for row in rows:
        print("  ".join(f"{'-':>18}" if value is None else f"{value:18,.0f}" for value in row.values()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    keep_memory()  # for all sides alike
    found = {"agent-steps a CPU second, 8 agents": by_batch(), "agent-steps a CPU second beside mobile-env": by_users(),
             "nanoseconds an agent-step": by_agents()}  # fmt: skip
    if as_json:
        print(json.dumps(found))
        return
    for title, rows in found.items():
        show(title, rows)


if __name__ == "__main__":
    main()
