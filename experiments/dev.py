"""Scores at dev sites, of train variants: what settings, checkpoints and seeds are chosen by.

    python experiments/dev.py --agent networld [--checkpoint runs/X] [--family access] [--variants 1] [--sites 4] [--episodes 4]

No held-out site, held-out variant or sealed site is played. A line for every family: the mean score (0 = random, 100 = genie)
at every number of shots, and its standard error over variants and sites. What random and genie have there is measured once and
kept in the cache of wbench.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict

from wbench.benchmark.agent import Agent
from wbench.benchmark.protocol.runner import run_cell
from wbench.benchmark.protocol.spec import FAMILIES, protocol
from wbench.benchmark.registry import get_family, make_agent
from wbench.benchmark.site import RANGES
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.model import NetWorld


def build(name: str, checkpoint: str | None, track: str | None, temperature: float) -> Agent:
    """The agent that is asked about."""
    if name != "networld":
        return make_agent(name, checkpoint, track=track)
    return NetWorldAgent(NetWorld.from_pretrained(checkpoint or "networld-small"), PlannerConfig(temperature=temperature))


def scores(agent: Agent, family: str, variants: int, sites: int, shots: list[int], episodes: int) -> dict[int, list[float]]:
    """Scores of all variants and sites, by number of shots; a cell in which the agent fails is left out and named."""
    names = [variant.name for variant in get_family(family).select("train")[:variants]]
    played = protocol("lite", variants=names, sites=RANGES["dev"][:sites], shots=shots, episodes=episodes)
    found: dict[int, list[float]] = defaultdict(list)
    for cell in played.cells():
        result = run_cell(agent, cell, episodes)
        if result.score is None:
            print(f"{cell}: {result.failure}", flush=True)
        else:
            found[cell.shots].append(result.score)
    return found


def main() -> None:
    """Print a line for every family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="networld")
    parser.add_argument("--checkpoint")
    parser.add_argument("--track")
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--variants", type=int, default=1, help="train variants a family")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--shots", default="0,5,20")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0, help="of NetWorld: a multiple of the checkpoint's own")
    given = parser.parse_args()
    shots = [int(part) for part in given.shots.split(",")]
    agent = build(given.agent, given.checkpoint, given.track, given.temperature)
    for name in given.family or FAMILIES:
        found = scores(agent, name, given.variants, given.sites, shots, given.episodes)
        shown = [
            f"{k} shots {statistics.mean(values):6.1f} ({statistics.stdev(values) / len(values) ** 0.5:.1f})"
            for k, values in found.items()
            if len(values) > 1
        ]
        print(f"{given.agent} {name}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
