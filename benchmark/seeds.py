"""Scenario seeds: one table of which range each use has, so that no two uses can meet.

An episode is (variant, site, seed), so a seed may be played again at another site.
"""

from __future__ import annotations

_SIZE = 10_000_000
_USES = (
    "gym",  # what users of the adapters name themselves
    "support",  # logged episodes of a site that an agent may adapt on, and its metered practice there
    "query",  # episodes that an agent is scored on
    "reference",  # episodes behind the frozen references
    "practice",  # learners that play train sites in simulators (track `online`)
    "play",  # a learner's own play that goes into its replay
    "train",  # train files of the datasets; the index of the quality is the next digit
    "fidelity",  # fresh episodes that a world model is judged on
    "dev",  # experiments that choose settings
)
RANGES = {use: range(k * _SIZE, (k + 1) * _SIZE) for k, use in enumerate(_USES)}

SUPPORT_SEEDS, QUERY_SEEDS, REFERENCE_SEEDS = (RANGES[use].start for use in ("support", "query", "reference"))
PRACTICE_SEEDS, TRAIN_SEEDS, FIDELITY_SEEDS, DEV_SEEDS = (RANGES[use].start for use in ("practice", "train", "fidelity", "dev"))


def support_seeds(shots: int) -> list[int]:
    """Scenario seeds of the first `shots` support episodes of any site."""
    return list(range(SUPPORT_SEEDS, SUPPORT_SEEDS + shots))


def query_seeds(episodes: int) -> list[int]:
    """Scenario seeds of the query episodes of any site."""
    return list(range(QUERY_SEEDS, QUERY_SEEDS + episodes))


def train_seeds(index: int, episodes: int) -> list[int]:
    """Scenario seeds of the train file with this index among the qualities; each quality has scenarios of its own."""
    start = TRAIN_SEEDS + index * 1_000_000
    return list(range(start, start + episodes))
