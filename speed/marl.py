"""Training speed: our MAPPO and QMIX beside BenchMARL's on VMAS simple_spread, at equal updates, in one run.

    pip install -e . benchmarl==1.5.2 vmas && python speed/marl.py [--repeats 3] [--json]

A round is 6,000 frames of three agents; after it MAPPO makes 45 epochs in minibatches of 400 frames (675 steps), QMIX 1,000
steps of 128 frames; networks have two layers of 256. Our MAPPO's critic judges each agent, BenchMARL's the frame: one row has
our learner with BenchMARL's networks. Frames a second of process-CPU time on one thread, play and learning
together, medians of repeats in turn: a busy machine slows all alike, so trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from simple_spread import OURS, ROUND, benchmarl, ours
from spread import AGENTS, FAMILY, HORIZON, Spread
from torch import Tensor, nn
from wbench.baselines.mappo import Mappo, MappoConfig, learn
from wbench.benchmark.family import FamilyShape

PPO = replace(OURS.ppo, epochs=45, minibatch=1200)
EQUAL = replace(OURS, hidden=256, episodes=ROUND // HORIZON, ppo=PPO, updates=1000, rows=384)


def plain(inputs: int, hidden: int) -> nn.Sequential:
    """BenchMARL's layers: linear and Tanh, twice."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


class Policy(nn.Module):
    """Features [R, I] -> [R, hidden]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.net = plain(inputs, hidden)

    def forward(self, features: Tensor, _: str) -> Tensor:
        """There is but one family."""
        return self.net(features)


class JointCritic(nn.Module):
    """One value for all agents of a frame, from everybody's features: [R, I] -> [R]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*plain(AGENTS * inputs, hidden), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, agents: Tensor, _: str) -> Tensor:
        """Features [R, I] of frames with so many agents [F] -> values [R]."""
        return self.net(features.view(len(agents), -1)).expand(-1, AGENTS).flatten().float()


def ours_with_their_networks(algorithm: str, seed: int, frames: int) -> tuple[None, float]:
    """Train BenchMARL's networks by our learner; no policy to evaluate, and the CPU seconds."""
    torch.manual_seed(seed)
    model = Mappo(MappoConfig({"spread": FamilyShape.of(FAMILY)}, EQUAL.hidden, history=1, layers=1))
    (inputs,) = model.config.inputs().values()
    model.policy, model.critic = Policy(inputs, EQUAL.hidden), JointCritic(inputs, EQUAL.hidden)
    begun = time.process_time()
    learn(model, [Spread(seed, frames)], frames // ROUND, EQUAL.episodes, EQUAL.ppo, seed)
    return None, time.process_time() - begun


def theirs(algorithm: str, seed: int, frames: int) -> tuple[object, float]:
    """Train BenchMARL at its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        return benchmarl(algorithm, seed, frames, Path(folder))


Side = Callable[[str, int, int], tuple[object, float]]
BOTH: dict[str, Side] = {"benchmarl": theirs, "ours": lambda *what: ours(*what, EQUAL)}
SIDES = {"mappo": {**BOTH, "ours, their networks": ours_with_their_networks}, "qmix": BOTH}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=2 * ROUND)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for algorithm, sides in SIDES.items():
        speeds: dict[str, list[float]] = {side: [] for side in sides}
        for seed in range(options.repeats):
            for side, train in sides.items():
                speeds[side].append(options.frames / train(algorithm, seed, options.frames)[1])
        rows += [(algorithm, side, statistics.median(values)) for side, values in speeds.items()]
    base = {algorithm: speed for algorithm, side, speed in rows if side == "benchmarl"}
    if options.json:
        print(json.dumps([{"algorithm": a, "side": side, "frames": v, "ratio": v / base[a]} for a, side, v in rows]))
        return
    print("| algorithm | side | frames a CPU second | ratio |\n| --- | --- | --- | --- |")
    for algorithm, side, speed in rows:
        print(f"| {algorithm} | {side} | {speed:.0f} | {speed / base[algorithm]:.1f} |")


if __name__ == "__main__":
    main()
