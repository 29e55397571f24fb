"""A row of a board: the files of its trainings, its ranks, and its controls, which are never rows themselves.

A control is a run of the same agent on the same cells with other logs (`Protocol.support`): `wrong`, of another site, or
`shifted`, of this site by random play. Its file lies in the same store, is verified by the same tiers, and stands beside the
row of the same label, code, weights and settings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np

from ...benchmark.data.support import SUPPORTS
from ...benchmark.protocol import trainings
from ...benchmark.protocol.statistics import Interval, Summary
from ..result import Result
from ..summary import Grid, gains
from ..tables import ALL, Control, RankInterval
from ..verification.verify import TIERS, Record
from .line import OWN_LOGS, Line

CONTROLS = tuple(logs for logs in SUPPORTS if logs != OWN_LOGS)


@dataclass(frozen=True)
class Entry:
    """One row: a result file of a store, or the files of several trainings of one recipe.

    Attributes:
        file: its name in the store, e.g. `networld-lite-1f0c2a9be7d4.json`; of several trainings the first's, as all that
            follows.
        result: what it says, whole or in short.
        tier: how far it was verified, one of `TIERS`.
        ranks: rank interval by family (`ALL` for all of them) and number of shots, among rows of the same protocol hash; empty
            for a row that is not ranked: incomplete, a reference, under `quick`, or one that nobody has run again.
        name: what the board calls it; empty = its label.
        sha256: of its bytes.
        record: of its rerun.
        others: the further trainings, an entry each.
        controls: by the logs that were handed over, `wrong` or `shifted`; of those trainings that have one.
    """

    file: str
    result: Result | Line
    tier: str
    ranks: Mapping[str, Mapping[int, RankInterval]] = field(default_factory=dict)
    name: str = ""
    sha256: str = ""
    record: Record | None = None
    others: tuple[Entry, ...] = ()
    controls: Mapping[str, Entry] = field(default_factory=dict)

    @cached_property
    def line(self) -> Line:
        """What it says, in short."""
        return self.result if isinstance(self.result, Line) else Line.of(self.result)

    @property
    def trainings(self) -> tuple[Entry, ...]:
        """All trainings, itself the first."""
        return (self, *self.others)

    def table(self, shots: int, family: str = ALL) -> np.ndarray | None:
        """Scores [trainings, variants, sites] at K shots; None where cells are missing, or K was not played."""
        if shots not in self.grid.shots:
            return None
        tables = [one.line.table(shots, None if family == ALL else family) for one in self.trainings]
        return None if any(table is None for table in tables) else np.stack([t for t in tables if t is not None])

    @cached_property
    def summaries(self) -> dict[int, Summary | None]:
        """By number of shots, over all trainings."""
        if not self.others:
            return {k: self.line.summary[str(k)] for k in self.grid.shots}
        tables = {k: self.table(k) for k in self.grid.shots}
        return {k: None if t is None else trainings.summarise(t, self.grid.variants) for k, t in tables.items()}

    @cached_property
    def grid(self) -> Grid:
        """What its protocol plays."""
        return Grid.of(self.line.contract)  # type: ignore[arg-type]

    def rank(self, shots: int, family: str = ALL) -> RankInterval | None:
        """Its rank interval at K shots, or None where it is not ranked."""
        return self.ranks.get(family, {}).get(shots)

    def estimate(self, shots: int, family: str = ALL) -> Interval | None:
        """IQM with its interval at K shots, over everything or over a family; None where cells are missing."""
        summary = self.summaries.get(shots)
        return summary if summary is None or family == ALL else summary.families.get(family)

    def gain(self, shots: int, family: str = ALL) -> Interval | None:
        """Adaptation gain at K shots, likewise; None at 0 shots too."""
        if self.others:
            return _over(self.table(shots, family), self.table(0, family)) if shots else None
        if family == ALL:
            return self.line.gain.get(str(shots))
        part = replace(self.grid.select(family), shots=(0, shots) if shots else ())
        return gains(part, self.line.all_scores()).get(str(shots))

    def control(self, logs: str, shots: int, family: str = ALL) -> Control | None:
        """What these logs did at K shots, beside no logs at all; None where no training has that, or cells are missing."""
        found = self.controls.get(logs)
        score = None if found is None else found.estimate(shots, family)
        if found is None or score is None:
            return None
        who = {one.line.player for one in found.trainings}
        first, *others = (replace(one, others=()) for one in self.trainings if one.line.player in who)
        gain = _over(found.table(shots, family), replace(first, others=tuple(others)).table(0, family))
        return Control(Interval(score.iqm, score.ci_low, score.ci_high), gain, len(who), found.file)


def _over(table: np.ndarray | None, start: np.ndarray | None) -> Interval | None:
    """The paired difference of the same trainings at the same sites."""
    return None if table is None or start is None else trainings.interval(table - start)


def with_controls(rows: Iterable[Entry], controls: Iterable[Entry], note: Callable[[str], None]) -> Iterator[Entry]:
    """The rows with the controls that belong to them.

    Args:
        rows: of a board.
        controls: files played with other logs; one counts where it is verified as far as the row at least.
        note: told of those that no row took.
    """
    known = {(*one.line.player, one.line.places, one.line.support): one for one in controls}
    taken: set[str] = set()
    for row in rows:
        found: dict[str, list[Entry]] = defaultdict(list)
        for logs, training in product(CONTROLS, row.trainings if known else ()):
            one = known.get((*training.line.player, training.line.places, logs))
            if one and TIERS.index(one.tier) >= TIERS.index(row.tier):
                found[logs].append(one)
                taken.add(one.file)
        yield replace(row, controls={logs: replace(first, others=tuple(others)) for logs, (first, *others) in found.items()})
    for one in known.values():
        if one.file not in taken:
            which = f"a control ({one.line.support} logs)"
            note(f"{one.file} is left out: {which} of no row here, or of one that is verified further")
