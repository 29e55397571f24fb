"""A row of the board: a validated result, how far it was verified, and where it ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIERS = ("reported", "recomputed", "rerun")  # each holds all that the one before it holds
ALL = "all"  # the key of ranks over all families


@dataclass(frozen=True)
class RankInterval:
    """The places that an agent may hold: `best` = 1 + agents significantly better, `worst` = agents - significantly worse."""

    best: int
    worst: int

    def __str__(self) -> str:
        """E.g. `2` or `2-4`."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


@dataclass(frozen=True)
class Entry:
    """One result file of a store.

    Attributes:
        file: its name in the store, e.g. `networld-lite-1f0c2a9be7d4.json`.
        document: the validated content as plain data, of the newest schema (docs/results.md).
        tier: how far it was verified, one of `TIERS`.
        ranks: rank interval by family (`ALL` for all of them) and number of shots (as text, like `document["summary"]`), among
            rows of the same `document["protocol_hash"]`; empty for a row that is not ranked: incomplete, a privileged
            reference, under `quick`, or one whose numbers do not hold when they are recomputed.
    """

    file: str
    document: Mapping[str, Any]
    tier: str
    ranks: Mapping[str, Mapping[str, RankInterval]] = field(default_factory=dict)

    def rank(self, shots: int | str, family: str = ALL) -> RankInterval | None:
        """Its rank interval at K shots, or None where it is not ranked."""
        return self.ranks.get(family, {}).get(str(shots))
