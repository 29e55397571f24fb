"""What follows from the scores of cells: per number of shots the interquartile mean over everything, by family, by variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..benchmark.protocol import statistics
from ..benchmark.protocol.statistics import interval, paired
from .schema import CellRecord, Contract, Row

Scores = Mapping[tuple[str, int, int], float]  # (variant, shots, seed) -> score of a finished cell


@dataclass(frozen=True)
class Grid:
    """What a protocol plays, and in which order scores are laid out.

    Attributes:
        variants: full names.
        shots: numbers of support episodes K.
        seeds: number of seeds.
    """

    variants: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: int

    @classmethod
    def of(cls, contract: Mapping[str, Any]) -> Grid:
        """The grid of a contract as plain data."""
        return cls(tuple(contract["variants"]), tuple(contract["shots"]), contract["seeds"])

    def families(self) -> list[str]:
        """Families of the variants, in order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.variants))

    def select(self, family: str | None) -> Grid:
        """The part of one family; all of it for None."""
        chosen = tuple(name for name in self.variants if family in (None, name.partition("/")[0]))
        return Grid(chosen, self.shots, self.seeds)

    def lay_out(self, scores: Scores, shots: int) -> list[list[float]] | None:
        """Scores [variant][seed] at K shots; None while one is missing, which is never averaged away."""
        wanted = [[(variant, shots, seed) for seed in range(self.seeds)] for variant in self.variants]
        if any(key not in scores for row in wanted for key in row):
            return None
        return [[scores[key] for key in row] for row in wanted]

    def complete(self, scores: Scores) -> bool:
        """Whether every cell has a score."""
        return len(scores) == len(self.variants) * len(self.shots) * self.seeds


def grid(contract: Contract) -> Grid:
    """The grid of a validated contract."""
    return Grid(tuple(contract.variants), contract.shots, contract.seeds)


def scores(contract: Contract, row: Row) -> dict[tuple[str, int, int], float]:
    """Scores of a validated row, from its episodes and the contract's references; failed cells have none."""
    return {(c.variant, c.shots, c.seed): score_of(contract, c) for c in row.cells if not c.failure}


def score_of(contract: Contract, cell: CellRecord) -> float:
    """Score of a cell that did not fail: 0 = random, 100 = the genie reference."""
    frame = contract.variants[cell.variant]
    return _score(cell.returns, frame.random, frame.reference)


def plain_score(contract: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    """The same of plain data."""
    frame = contract["variants"][cell["variant"]]
    return _score(cell["returns"], frame["random"], frame["reference"])


def _score(returns: Sequence[float], random: float, reference: float) -> float:
    return 100.0 * (sum(returns) / len(returns) - random) / (reference - random)


def summarise(grid: Grid, scores: Scores) -> dict[str, Any]:
    """The summary of a row (`schema.Summary`) by number of shots; null where cells are missing."""
    return {str(shots): _at(grid, scores, shots) for shots in grid.shots}


def _at(grid: Grid, scores: Scores, shots: int) -> dict[str, Any] | None:
    table = grid.lay_out(scores, shots)
    if table is None:
        return None
    by_variant = dict(zip(grid.variants, table, strict=True))
    found = asdict(statistics.summarise(by_variant))
    headline = found.pop("iqm")
    return {**headline, **found, "variants": {name: asdict(interval([row])) for name, row in by_variant.items()}}


def differences(grid: Grid, ours: Scores, theirs: Scores) -> dict[str, Any]:
    """IQM of the paired differences by number of shots, with its interval; null where cells of either are missing."""
    found: dict[str, Any] = {}
    for shots in grid.shots:
        a, b = grid.lay_out(ours, shots), grid.lay_out(theirs, shots)
        found[str(shots)] = asdict(paired(a, b)) if a and b else None
    return found
