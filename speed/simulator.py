"""Simulator speed: environment steps a CPU second of every family, with VMAS in the same run.

    pip install -e . vmas && python speed/simulator.py [--json]

Figures are medians of repeats in process-CPU seconds on one thread: a busy machine slows both sides alike, so trust the ratios.
Actions are drawn beforehand; wbench's reset (drawing the scenarios) is included, as an episode needs one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from wbench import make

AGENTS, BATCHES, SLOTS, REPEATS = 8, (1, 32, 1024), 128, 5


def median_rate(play: Callable[[], int]) -> float:
    """Environment steps a CPU second; `play` returns the steps that it made."""
    play()
    rates = []
    for _ in range(REPEATS):
        begun = time.process_time()
        steps = play()
        rates.append(steps / (time.process_time() - begun))
    return statistics.median(rates)


def access(batch: int) -> float:
    """`access/n8-c1-load0.4`, eight agents."""
    env = make("access/n8-c1-load0.4")
    actions = (torch.rand(SLOTS, batch, AGENTS) < 1 / AGENTS).long()

    def play() -> int:
        env.reset(range(batch))
        for action in actions:
            env.step(action)
        return SLOTS * batch

    return median_rate(play)


def vmas(batch: int) -> float | None:
    """VMAS simple_spread, eight agents; None where it is not installed."""
    try:
        from vmas import make_env
    except ImportError:
        return None
    env = make_env("simple_spread", num_envs=batch, device="cpu", continuous_actions=True, n_agents=AGENTS, seed=0)
    slots = 32 if batch > 32 else 64
    actions = torch.rand(slots, AGENTS, batch, 2) * 2 - 1

    def play() -> int:
        env.reset()
        for action in actions:
            env.step(list(action))
        return slots * batch

    return median_rate(play)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    rows = []
    for batch in BATCHES:
        ours, theirs = access(batch), vmas(batch)
        rows.append({"episodes": batch, "access": ours, "vmas": theirs, "ratio": ours / theirs if theirs else None})
    if as_json:
        print(json.dumps(rows))
        return
    print(f"{'episodes':>8}  {'access':>10}  {'agent-steps':>12}  {'VMAS':>10}  {'ratio':>6}   (a CPU second, {AGENTS} agents)")
    for row in rows:
        peer = f"{row['vmas']:10.0f}  {row['ratio']:6.1f}" if row["vmas"] else "not installed"
        print(f"{row['episodes']:8d}  {row['access']:10.0f}  {row['access'] * AGENTS:12.0f}  {peer}")


if __name__ == "__main__":
    main()
