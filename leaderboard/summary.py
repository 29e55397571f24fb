"""What follows from cells: scores, and per number of shots the interquartile mean over everything, by family, by variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..benchmark.protocol import statistics
from ..benchmark.protocol.ledger import Ledger
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.spec import Contract
from ..benchmark.protocol.statistics import Interval, Summary, paired
from ..benchmark.rollout import BITS_PER_FLOAT

Scores = Mapping[tuple[str, int, int], float]  # (variant, site, shots) -> score of a finished cell


HEADLINE = 5  # shots of the score that a board opens with


def headline_shots(played: Iterable[int]) -> int:
    """The number of shots that a board of these opens with: 5, or the most that is played."""
    played = set(played)
    return HEADLINE if HEADLINE in played else max(played, default=HEADLINE)


@dataclass(frozen=True)
class Grid:
    """What a protocol plays, and in which order scores are laid out.

    Attributes:
        variants: full names.
        shots: numbers of support episodes K.
        sites: numbers of the sites.
    """

    variants: tuple[str, ...]
    shots: tuple[int, ...]
    sites: tuple[int, ...]

    @classmethod
    def of(cls, contract: Contract) -> Grid:
        """The grid of a contract."""
        return cls(tuple(contract["variants"]), tuple(contract["shots"]), tuple(contract["sites"]))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.variants) * len(self.shots) * len(self.sites)

    def families(self) -> list[str]:
        """Families of the variants, in order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.variants))

    def select(self, family: str | None) -> Grid:
        """The part of one family; all of it for None."""
        chosen = tuple(name for name in self.variants if family in (None, name.partition("/")[0]))
        return Grid(chosen, self.shots, self.sites)

    def lay_out(self, scores: Scores, shots: int) -> list[list[float]] | None:
        """Scores [variant][site] at K shots; None while one is missing, which is never averaged away."""
        wanted = [[(variant, site, shots) for site in self.sites] for variant in self.variants]
        if any(key not in scores for row in wanted for key in row):
            return None
        return [[scores[key] for key in row] for row in wanted]


def score_of(contract: Contract, cell: CellResult) -> float:
    """Score of a cell that did not fail, from its episodes and the contract's references."""
    frame, at = contract["variants"][cell.variant], contract["sites"].index(cell.site)
    return statistics.score(sum(cell.returns) / len(cell.returns), frame["random"][at], frame["genie"][at])


def scores_of(contract: Contract, cells: Iterable[CellResult]) -> dict[tuple[str, int, int], float]:
    """Scores by (variant, site, shots), from the episodes; failed cells have none."""
    return {(c.variant, c.site, c.shots): score_of(contract, c) for c in cells if not c.failure}


def summarise(grid: Grid, scores: Scores) -> dict[str, Summary | None]:
    """The summary by number of shots; None where cells are missing."""
    tables = {str(shots): grid.lay_out(scores, shots) for shots in grid.shots}
    return {k: statistics.summarise(dict(zip(grid.variants, t, strict=True))) if t else None for k, t in tables.items()}


def differences(grid: Grid, ours: Scores, theirs: Scores) -> dict[str, Interval | None]:
    """IQM of the paired differences by number of shots, with its interval; None where cells of either are missing."""
    tables = {str(shots): (grid.lay_out(ours, shots), grid.lay_out(theirs, shots)) for shots in grid.shots}
    return {k: paired(a, b) if a and b else None for k, (a, b) in tables.items()}


def gains(grid: Grid, scores: Scores) -> dict[str, Interval | None]:
    """Adaptation gain by number of shots: IQM of the paired differences from zero shots; None where a cell is missing."""
    start = grid.lay_out(scores, 0) if 0 in grid.shots else None
    tables = {str(shots): grid.lay_out(scores, shots) for shots in grid.shots if shots}
    return {k: paired(table, start) if table and start else None for k, table in tables.items()}


def message_floats(contract: Contract, cells: Iterable[CellResult]) -> dict[str, int]:
    """Floats that each agent broadcast a slot, by family: what the bits of a cell that was played come from."""
    found: dict[str, int] = {}
    for cell in cells:
        agents, steps = agents_of(contract, cell.variant), cell.ledger.query_steps
        if steps and cell.family not in found:
            found[cell.family] = cell.ledger.message_bits // (BITS_PER_FLOAT * agents * steps)
    return found


def agents_of(contract: Contract, variant: str) -> int:
    """Number of agents N of a variant."""
    return int(contract["variants"][variant]["spec"]["agents"] or 0)


def row_fields(contract: Contract, cells: Iterable[CellResult]) -> dict[str, Any]:
    """The fields of a row that follow from its cells."""
    cells, grid = tuple(cells), Grid.of(contract)
    scores, ledger = scores_of(contract, cells), sum((cell.ledger for cell in cells), Ledger())
    return {
        "message_floats": message_floats(contract, cells),
        "complete": len(scores) == grid.cells,
        "cells": cells,
        "summary": summarise(grid, scores),
        "gain": gains(grid, scores),
        "latency": ledger.latency,
        "ledger": ledger,
    }
