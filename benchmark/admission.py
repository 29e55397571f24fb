"""What the reference policies earn on a variant, site by site, and whether shots can teach anybody anything there.

python -m wbench.benchmark.admission access/... --sites 50 --episodes 8
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .agent import Agent, Support
from .data.recorder import NoisyPolicy
from .family import Family, Variant
from .registry import get_variant
from .rollout import Slot, play
from .site import RANGES

SHOTS = (1, 5, 20)
BATCH = 128  # episodes played together
SUPPORT, QUERY = 10_000_000, 20_000_000  # first scenario seeds of support and query episodes


@dataclass(frozen=True)
class Admission:
    """Mean return by policy and site, [S] each, and what follows from it.

    Attributes:
        returns: by column: `random`, `prior`, `belief`, `oracle`, `genie`, and `estimator`, `wrong` (the estimator with
            the support of another site) and `revealed` (an estimator that is told the site) followed by `@K`.
    """

    returns: dict[str, np.ndarray]

    def scores(self, column: str) -> np.ndarray:
        """100 (R - R_random) / (R_genie - R_random), averaged over sites before the ratio is taken, site by site: [S]."""
        low, high = self.returns["random"].mean(), self.returns["genie"].mean()
        return 100.0 * (self.returns[column] - low) / (high - low)

    def difference(self, column: str, other: str) -> tuple[float, float]:
        """Mean of the paired difference of scores over sites, and its standard error."""
        gap = self.scores(column) - self.scores(other)
        return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))

    def failures(self) -> list[str]:
        """What keeps the variant from being admitted, and from being ranked; empty = both."""
        said = []
        room, _ = self.difference("oracle", "belief")
        if room < 10.0:
            said.append(f"oracle - belief is {room:.1f}, below 10 points")
        if room < 0.2 * self.difference("oracle", "random")[0]:
            said.append("oracle - belief is below a fifth of oracle - random")
        if (found := self.difference("estimator@20", "belief")[0]) < 0.6 * room:
            said.append(f"estimator@20 - belief is {found:.1f} of {room:.1f}, below 60 %")
        for low, high in (("belief", "estimator@1"), ("estimator@1", "estimator@20"), ("estimator@5", "estimator@20")):
            gain, error = self.difference(high, low)
            if gain <= 2.0 * error:
                said.append(f"{low} -> {high}: {gain:.1f} +- {error:.1f} is no rise")
        for shots in SHOTS:
            gain, error = self.difference(f"wrong@{shots}", "belief")
            if gain > 2.0 * error:
                said.append(f"wrong@{shots} - belief is {gain:.1f} +- {error:.1f}")
        gain, error = self.difference("revealed@20", "revealed@1")
        if abs(gain) > max(2.0 * error, 0.5):
            said.append(f"revealed@1 -> revealed@20: {gain:.1f} +- {error:.1f} is not flat")
        return said


def measure(family: Family, variant: Variant, sites: Sequence[int], episodes: int = 8) -> Admission:
    """Play all reference policies at these sites, the same episodes for each."""
    columns: dict[str, np.ndarray] = {}
    places, seeds = np.repeat(sites, episodes), np.tile(np.arange(QUERY, QUERY + episodes), len(sites))
    for name in ("random", "prior", "belief", "oracle", "genie"):
        agent = family.policies[name]()
        agent.adapt(family, variant, None)
        columns[name] = _returns(family, variant, agent, places, seeds).reshape(len(sites), episodes).mean(1)
    logs = [support(family, variant, site, max(SHOTS)) for site in sites]
    for name, policy, shift in (("estimator", "estimator", 0), ("wrong", "estimator", 1), ("revealed", "revealed", 0)):
        for shots in SHOTS:
            found = np.empty(len(sites))
            for k, site in enumerate(sites):
                agent = family.policies[policy]()
                agent.adapt(family, variant, first(logs[(k + shift) % len(sites)], shots))
                found[k] = _returns(family, variant, agent, [site] * episodes, range(QUERY, QUERY + episodes)).mean()
            columns[f"{name}@{shots}"] = found
    return Admission(columns)


def support(family: Family, variant: Variant, site: int, shots: int) -> Support:
    """The first `shots` joint episodes of a site, recorded by policies that are not told it; see `Family.support`."""
    parts: dict[tuple[str, float], list[int]] = defaultdict(list)
    for k in range(shots):
        parts[family.support[k % len(family.support)]].append(k)
    columns: dict[str, list[torch.Tensor]] = defaultdict(list)
    for (policy, noise), turns in parts.items():
        slots: list[Slot] = []
        agent = NoisyPolicy(family.policies[policy](), noise)
        play(family, variant, agent, [site] * len(turns), [SUPPORT + k for k in turns], record=slots.append)
        for name in ("obs", "action", "reward", "action_mask"):
            columns[name].append(torch.stack([getattr(slot, name) for slot in slots], dim=1))
    order = torch.tensor([k for turns in parts.values() for k in turns]).argsort()
    whole = {name: torch.cat(values)[order] for name, values in columns.items()}
    quality = tuple(family.support[k % len(family.support)][0] for k in range(shots))
    return Support(whole["obs"], whole["action"], whole["reward"], whole["action_mask"], quality)


def first(logs: Support, shots: int) -> Support:
    """The first K episodes of a support."""
    parts = (x[:shots] for x in (logs.obs, logs.action, logs.reward, logs.action_mask))
    return Support(*parts, logs.quality[:shots])


def _returns(family: Family, variant: Variant, agent: Agent, sites: Iterable[int], seeds: Iterable[int]) -> np.ndarray:
    return np.concatenate(list(_batches(family, variant, agent, list(sites), list(seeds))))


def _batches(
    family: Family, variant: Variant, agent: Agent, sites: Sequence[int], seeds: Sequence[int]
) -> Iterator[np.ndarray]:
    for k in range(0, len(sites), BATCH):
        yield play(family, variant, agent, sites[k : k + BATCH], seeds[k : k + BATCH]).returns.numpy()


def main() -> None:
    """Print the table of the named variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--range", default="dev", choices=RANGES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.variants:
        family, variant = get_variant(name)
        table = measure(family, variant, RANGES[options.range][: options.sites], options.episodes)
        print(name)
        for column, values in table.returns.items():
            scores = table.scores(column)
            error = scores.std(ddof=1) / np.sqrt(len(scores))
            print(f"  {column:14s} {values.mean():9.3f}  {scores.mean():7.1f} +- {error:.1f}")
        print(json.dumps({"variant": name, "failures": table.failures()}), flush=True)


if __name__ == "__main__":
    main()
