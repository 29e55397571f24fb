"""Latency of NetWorld's decisions, against networks as large as those of other diffusion planners.

`python experiments/planner.py` prints latencies: one thread, medians of process-CPU time, 8 agents, one decision for
all of them. Return against latency is drawn by `latency_curve.py`, latency against the number of agents by `scale.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from wbench.benchmark.family import Family, Variant
from wbench.benchmark.protocol.spec import FAMILIES
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES
from wbench.learning.checkpoint import count_parameters
from wbench.learning.precision import precision
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.model import NetWorld

AGENTS, OBS, HORIZON = 8, 32, 16  # of the peers' networks, as in their papers' settings
SETTINGS = (
    PlannerConfig(),
    PlannerConfig(plan=False),
    PlannerConfig(replan=4),
    *(PlannerConfig(replan=replan, bfloat16=True) for replan in (1, 4) if precision("cpu") == "bfloat16"),
)


class ResidualBlock(nn.Module):
    """Two temporal convolutions with group norm, and the time embedding in between (Janner et al. 2022)."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(inputs, outputs, 5, padding=2), nn.GroupNorm(4, outputs), nn.Mish())
        self.time = nn.Sequential(nn.Mish(), nn.Linear(time, outputs))
        self.second = nn.Sequential(nn.Conv1d(outputs, outputs, 5, padding=2), nn.GroupNorm(4, outputs), nn.Mish())
        self.skip = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Plans [R, width, H] and time embeddings [R, T] -> [R, width, H]."""
        return self.second(self.first(x) + self.time(time).unsqueeze(-1)) + self.skip(x)


class UNet(nn.Module):
    """The temporal U-Net of Diffuser and Decision Diffuser; MADiff runs one of the larger size for every agent."""

    def __init__(self, size: int, width: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        widths = [size, *(width * multiple for multiple in multiples)]
        self.embed = nn.Sequential(nn.Linear(1, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            nn.ModuleList([ResidualBlock(a, b, width), ResidualBlock(b, b, width), nn.Conv1d(b, b, 3, 2, 1)]) for a, b in pairs
        )
        self.middle = nn.ModuleList([ResidualBlock(widths[-1], widths[-1], width) for _ in range(2)])
        self.up = nn.ModuleList(
            nn.ModuleList(
                [nn.ConvTranspose1d(b, b, 4, 2, 1), ResidualBlock(2 * b, b, width), ResidualBlock(b, max(a, width), width)]
            )
            for a, b in reversed(pairs)
        )
        self.leave = nn.Conv1d(max(size, width), size, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Noisy plans [R, O, H] and times [R] -> clean plans [R, O, H]."""
        t, kept = self.embed(time.unsqueeze(-1)), []
        for first, second, halve in self.down:
            x = second(first(x, t), t)
            kept.append(x)
            x = halve(x)
        for block in self.middle:
            x = block(x, t)
        for double, first, second in self.up:
            x = second(first(torch.cat([double(x), kept.pop()], dim=1), t), t)
        return self.leave(x)


def median_ms(work: Callable[[], object], repeats: int = 5) -> float:
    """Median process-CPU milliseconds of a call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


@torch.no_grad()
def peer(name: str, net: UNet, calls: int, guided: int) -> None:
    """A decision of a peer: `calls` steps, `guided` forward passes a step (2 with classifier-free guidance)."""
    for episodes in (1, 32):
        x, t = torch.randn(episodes * AGENTS, OBS, HORIZON), torch.rand(episodes * AGENTS)
        once = median_ms(lambda x=x, t=t: net(x, t), 3)
        decision = once * calls * guided
        size = f"{count_parameters(net) / 1e6:5.1f} M"
        print(
            f"{name:34s} {size} {episodes:3d} episodes  forward {once:8.1f} ms  decision {decision:9.1f} ms  "
            f"an episode {decision / episodes:8.2f} ms"
        )


def decide_ms(agent: NetWorldAgent, family: Family, variant: Variant, episodes: int, slots: int = 24) -> float:
    """Milliseconds of a slot's decision for all agents of all episodes, the environment's own time taken off."""
    short = replace(variant, horizon=slots)  # type: ignore[type-var]
    agent.adapt(family, variant, None)
    idle = family.policies["random"]()
    sites, seeds = [RANGES["dev"].start] * episodes, range(episodes)
    own = median_ms(lambda: play(family, short, agent, sites, seeds), 3)
    return (own - median_ms(lambda: play(family, short, idle, sites, seeds), 3)) / slots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="networld-small")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    agent = NetWorldAgent(NetWorld.from_pretrained(asked.checkpoint))
    for variant_name in (get_family(name).select("train")[0].name for name in FAMILIES):
        for episodes in (1, 32):
            for setting in SETTINGS:
                agent.planner = setting
                ms = decide_ms(agent, *get_variant(variant_name), episodes)
                print(
                    f"networld {agent.parameters / 1e6:.1f} M  {variant_name:28s} {episodes:3d} episodes  "
                    f"replan {setting.replan}  "
                    f"{'plans' if setting.plan else 'no plans'}  "
                    f"{'bfloat16' if setting.bfloat16 else 'float32'}  "
                    f"decision {ms:8.2f} ms  an episode {ms / episodes:6.2f} ms",
                    flush=True,
                )
    peer("Diffuser-sized U-Net, 20 steps", UNet(OBS, 28, (1, 4, 8)).eval(), 20, 1)
    peer("MADiff-sized U-Net, DDIM-15, guided", UNet(OBS, 108, (1, 4, 8)).eval(), 15, 2)


if __name__ == "__main__":
    main()
