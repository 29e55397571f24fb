"""Latency of NetWorld's decisions against the number of agents, with no change of weights: data, picture and a straight line.

    pip install -e ".[docs]" && python experiments/scale.py [--most 200]

Writes docs/latency/agents.csv and docs/latency/agents.png. Milliseconds are medians of process-CPU time, one thread, of a
slot's decision for all agents of all episodes. The family is `offload`, where every agent decides in every slot: in `access`
one with nothing to send needs no plan.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from planner import decide_ms
from scipy.stats import linregress
from wbench.benchmark.family import Family, Variant
from wbench.benchmark.registry import get_variant
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES
from wbench.networld.agent import DEFAULT_CHECKPOINT, NetWorldAgent
from wbench.networld.model import NetWorld

FOLDER = Path(__file__).parents[1] / "docs" / "latency"
VARIANT = "offload/n8-e2-p0.15"
AGENTS, EPISODES = (8, 16, 32, 64, 100, 150, 200), (1, 8)
SLOTS = 8  # of a measured episode
FIELDS = ("episodes", "agents", "milliseconds", "message_bits")
Row = tuple[int, int, float, float]


def measure(agent: NetWorldAgent, family: Family, variant: Variant, episodes: int) -> Row:
    """Time of a decision, and the bits that an agent broadcasts a slot."""
    milliseconds = decide_ms(agent, family, variant, episodes, SLOTS)
    sites = [RANGES["dev"].start] * episodes
    played = play(family, replace(variant, horizon=1), agent, sites, range(episodes))
    bits = played.message_bits / (variant.agents * episodes)
    return episodes, variant.agents, round(milliseconds, 3), bits


def line(rows: Sequence[Row], episodes: int) -> tuple[list[int], list[float], float, float, float]:
    """Agents and milliseconds of so many episodes; slope, intercept and R^2 of the straight line through them."""
    agents, times = ([row[column] for row in rows if row[0] == episodes] for column in (1, 2))
    fit = linregress(agents, times)
    return agents, times, fit.slope, fit.intercept, fit.rvalue**2


def draw(rows: Sequence[Row], path: Path) -> None:
    """Milliseconds over agents, and the straight lines."""
    figure = Figure((6, 3.8), dpi=80, layout="constrained")
    axes = figure.subplots()
    for episodes in EPISODES:
        agents, times, slope, intercept, r2 = line(rows, episodes)
        label = f"{episodes} episode{'s' * (episodes > 1)}: {slope:.2f} ms an agent, $R^2$ {r2:.4f}"
        (fitted,) = axes.plot((0, agents[-1]), (intercept, intercept + slope * agents[-1]), linewidth=1, label=label)
        axes.plot(agents, times, "o", color=fitted.get_color())
    axes.set(title=f"{VARIANT} with more devices", xlabel="agents", ylabel="milliseconds a decision of all", ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure, write data and picture, print the straight lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--most", type=int, choices=AGENTS[2:], default=AGENTS[-1], help="greatest number of agents")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    agent = NetWorldAgent(NetWorld.from_pretrained(asked.checkpoint))
    family, variant = get_variant(VARIANT)
    rows = []
    for episodes in EPISODES:
        for agents in (number for number in AGENTS if number <= asked.most):
            rows.append(measure(agent, family, replace(variant, agents=agents), episodes))
            print(dict(zip(FIELDS, rows[-1], strict=True)), flush=True)
        _, _, slope, intercept, r2 = line(rows, episodes)
        print(f"{episodes} episodes: {slope:.3f} ms an agent + {intercept:.1f} ms, R^2 {r2:.4f}", flush=True)
    with (asked.out / "agents.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *rows])
    draw(rows, asked.out / "agents.png")
    if len({bits for *_, bits in rows}) > 1:
        raise SystemExit(
            f"message bits an agent and slot grow with the number of agents: {sorted({bits for *_, bits in rows})}"
        )


if __name__ == "__main__":
    main()
