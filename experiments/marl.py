"""Training speed: our MAPPO and QMIX beside BenchMARL's on VMAS simple_spread, at equal updates, in one run.

    pip install -e . benchmarl==1.5.2 vmas && python experiments/marl.py [--hidden 64 --hidden 256] [--repeats 3] [--json]

A round is 6,000 frames of three agents; after it MAPPO makes 45 epochs in minibatches of 400 frames (675 steps), QMIX 1,000
steps of 128 frames; networks have two layers, of 256 as BenchMARL's have, or of `--hidden` (64 in Yu et al. 2022, 128 in our
MAPPO for the families). Our MAPPO's critic judges each agent, BenchMARL's the frame, and our mixer takes any number of agents:
one row each has our learner with BenchMARL's networks. Frames a second of process-CPU time on one thread, play and learning
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
from simple_spread import OURS, ROUND, benchmarl, fresh_values, ours, practise
from spread import AGENTS, FAMILY, HORIZON, MOVES, OBS, Spread
from torch import Tensor, nn
from wbench.baselines.common.q_learning import ValueModel
from wbench.baselines.common.rollout import learn
from wbench.baselines.mappo import Mappo, MappoConfig
from wbench.baselines.qmix import Mix, Qmix
from wbench.benchmark.data.windows import Windows
from wbench.benchmark.family import FamilyShape

PPO = replace(OURS.ppo, epochs=45, batch_size=1200)
EQUAL = replace(OURS, hidden=256, episodes=ROUND // HORIZON, ppo=PPO, updates=1000, batch_size=384)


def plain(inputs: int, hidden: int) -> nn.Sequential:
    """BenchMARL's layers: linear and Tanh, twice."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


class Plain(nn.Module):
    """What stands for our trunk: features [..., I] -> [..., hidden]."""

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


class JointMixer(nn.Module):
    """TorchRL's mixer, whose weights are linear in everybody's observations; stands for ours."""

    def __init__(self, embedding: int = 32) -> None:
        super().__init__()
        state = AGENTS * OBS
        self.first, self.bias = nn.Linear(state, AGENTS * embedding), nn.Linear(state, embedding)
        self.second = nn.Linear(state, embedding)
        self.offset = nn.Sequential(nn.Linear(state, embedding), nn.ReLU(), nn.Linear(embedding, 1))

    def forward(self, obs: Tensor, batch: Windows, _: str) -> Mix:
        """The mixing weights at slots with the observations [R, S, O] of a batch's rows."""
        state = obs.unflatten(0, (-1, AGENTS)).transpose(1, 2).flatten(-2)
        first = self.first(state).abs().unflatten(-1, (AGENTS, -1)).transpose(1, 2).flatten(0, 1)
        return Mix(first, self.bias(state), self.second(state).abs(), self.offset(state).squeeze(-1))


def mappo_with_their_networks(_: str, seed: int, frames: int, hidden: int) -> tuple[None, float]:
    """Train BenchMARL's networks by our learner; no policy to evaluate, and the CPU seconds."""
    torch.manual_seed(seed)
    model = Mappo(MappoConfig({"spread": FamilyShape.of(FAMILY)}, hidden, history=1, layers=1))
    (inputs,) = model.config.inputs().values()
    model.policy, model.critic = Plain(inputs, hidden), JointCritic(inputs, hidden)
    begun = time.process_time()
    learn(model, [Spread(seed, frames)], frames // ROUND, EQUAL.episodes, EQUAL.ppo, seed)
    return None, time.process_time() - begun


def qmix_with_their_networks(_: str, seed: int, frames: int, hidden: int) -> tuple[ValueModel, float]:
    """Likewise."""
    model = fresh_values(Qmix, seed, EQUAL)
    model.trunk, model.mixer = Plain(model.inputs(model.config.families["spread"]), hidden), JointMixer()
    model.heads["spread"] = nn.Linear(hidden, MOVES)
    return practise(model, seed, frames, EQUAL)


def theirs(algorithm: str, seed: int, frames: int, hidden: int) -> tuple[object, float]:
    """Train BenchMARL at its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        return benchmarl(algorithm, seed, frames, Path(folder), hidden=hidden)


def ours_as_often(algorithm: str, seed: int, frames: int, hidden: int) -> tuple[object, float]:
    """Train ours with BenchMARL's numbers of updates and frames in each."""
    return ours(algorithm, seed, frames, replace(EQUAL, hidden=hidden))


Side = Callable[[str, int, int, int], tuple[object, float]]
BOTH: dict[str, Side] = {"benchmarl": theirs, "ours": ours_as_often}
SIDES = {
    "mappo": {**BOTH, "ours, their networks": mappo_with_their_networks},
    "qmix": {**BOTH, "ours, their networks": qmix_with_their_networks},
}


def measure(algorithm: str, sides: dict[str, Side], hidden: int, frames: int, repeats: int) -> list[tuple[str, float, float]]:
    """Frames a CPU second of each side, in turn, and the ratio to BenchMARL's."""
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for seed in range(repeats):
        for side, train in sides.items():
            speeds[side].append(frames / train(algorithm, seed, frames, hidden)[1])
    found = {side: statistics.median(values) for side, values in speeds.items()}
    return [(side, speed, speed / found["benchmarl"]) for side, speed in found.items()]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, action="append", help="width of the layers; may be repeated (256)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=2 * ROUND)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        (algorithm, hidden, *row)
        for algorithm, sides in SIDES.items()
        for hidden in options.hidden or [256]
        for row in measure(algorithm, sides, hidden, options.frames, options.repeats)
    ]
    if options.json:
        print(json.dumps([dict(zip(("algorithm", "hidden", "side", "frames", "ratio"), row, strict=True)) for row in rows]))
        return
    print("| algorithm | width | side | frames a CPU second | ratio |\n| --- | --- | --- | --- | --- |")
    for algorithm, hidden, side, speed, ratio in rows:
        print(f"| {algorithm} | {hidden} | {side} | {speed:.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
