"""Episodes for tests that do not care where they are played: at dev sites, on which nobody trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wbench.benchmark.agent import Agent
from wbench.benchmark.family import Family, Variant
from wbench.benchmark.rollout import Rollout
from wbench.benchmark.rollout import play as play_at
from wbench.benchmark.site import RANGES

DEV = RANGES["dev"].start


def play(family: Family, variant: Variant, agent: Agent, seeds: Iterable[int], **options: Any) -> Rollout:
    """One episode a seed, at a site that follows from the seed alone."""
    scenarios = list(seeds)
    return play_at(family, variant, agent, [DEV + seed % 8 for seed in scenarios], scenarios, **options)
