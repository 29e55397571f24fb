"""Scenario seeds: which range each use has, so that no two uses can meet."""

from __future__ import annotations

# Scenario seeds of the four uses. The ranges cannot meet: the largest offset within a use is below ten million.
TRAIN_SEEDS, SUPPORT_SEEDS, QUERY_SEEDS, REFERENCE_SEEDS = 0, 10_000_000, 20_000_000, 30_000_000


DRAW_SIZE = 1000


def support_seeds(draw: int, shots: int) -> list[int]:
    """Scenario seeds of the first `shots` episodes of a support draw."""
    return list(range(SUPPORT_SEEDS + draw * DRAW_SIZE, SUPPORT_SEEDS + draw * DRAW_SIZE + shots))


def query_seeds(seed: int, episodes: int) -> list[int]:
    """Scenario seeds of the query episodes that belong to a protocol seed."""
    return list(range(QUERY_SEEDS + seed * DRAW_SIZE, QUERY_SEEDS + seed * DRAW_SIZE + episodes))
