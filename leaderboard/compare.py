"""Two results against each other, paired by (variant, site, shots) on common episodes."""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmark.protocol.statistics import Estimate, Interval, iqm, paired, probability_of_improvement
from ..errors import InvalidValueError, ResultError
from .result import Result
from .summary import Grid, scores_of
from .tables import ALL


@dataclass(frozen=True)
class Lead:
    """By how much A is ahead of B at a number of shots.

    Attributes:
        shots: K.
        family: over which family, or `ALL`.
        ours: IQM of A.
        theirs: IQM of B.
        difference: IQM of the paired score differences A - B, with its interval.
        improvement: probability that a run of A scores more than one of B, with its interval.
        episodes_ahead: fraction of common query episodes in which A returns more; ties count half.
        episodes: number of them.
    """

    shots: int
    family: str
    ours: float
    theirs: float
    difference: Interval
    improvement: Estimate
    episodes_ahead: float
    episodes: int

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval excludes 0, else `tie`; `undecided` where too few sites give no interval."""
        said = {None: "undecided", 0: "tie", 1: "better", -1: "worse"}
        return said[self.difference.sign]


def compare(ours: Result, theirs: Result, shots: int | None = None) -> list[Lead]:
    """The lead of one result over another, over everything and by family.

    Args:
        ours: A.
        theirs: B.
        shots: at this number only; None = at each where no cell of either is missing.

    Raises:
        ResultError: they are of different protocols or releases, or too much is missing.
        InvalidValueError: this number of shots was not played.
    """
    _require_comparable(ours, theirs)
    layout = Grid.of(ours.contract)
    if shots is not None and shots not in layout.shots:
        raise InvalidValueError("--shots", shots, f"one of {', '.join(map(str, layout.shots))}")
    wanted = layout.shots if shots is None else (shots,)
    whole = [k for k in wanted if ours.summary[str(k)] is not None and theirs.summary[str(k)] is not None]
    if not whole:
        raise ResultError("cells are missing at every number of shots asked for, and are never averaged away. Finish the runs.")
    return [lead for k in whole for lead in _leads(layout, ours, theirs, k)]


def _leads(layout: Grid, ours: Result, theirs: Result, shots: int) -> list[Lead]:
    families = layout.families()
    parts = {ALL: layout, **{family: layout.select(family) for family in families if len(families) > 1}}
    a, b = (scores_of(one.contract, one.cells) for one in (ours, theirs))
    found = []
    for family, part in parts.items():
        x, y = part.lay_out(a, shots), part.lay_out(b, shots)
        assert x is not None and y is not None
        pairs = _episodes(part, ours, theirs, shots)
        ahead = sum(p > q for p, q in pairs) + 0.5 * sum(p == q for p, q in pairs)
        chance = probability_of_improvement(x, y)
        found.append(Lead(shots, family, iqm(x), iqm(y), paired(x, y), chance, ahead / len(pairs), len(pairs)))
    return found


def _episodes(part: Grid, ours: Result, theirs: Result, shots: int) -> list[tuple[float, float]]:
    """Returns of both in every query episode of a part."""
    other = {(cell.variant, cell.site, cell.shots): cell.returns for cell in theirs.cells}
    mine = [cell for cell in ours.cells if cell.shots == shots and cell.variant in part.variants]
    return [pair for c in mine for pair in zip(c.returns, other[c.variant, c.site, c.shots], strict=True)]


def _require_comparable(ours: Result, theirs: Result) -> None:
    if ours.protocol_hash != theirs.protocol_hash:
        hashes = f"{ours.protocol} {ours.protocol_hash[:12]} and {theirs.protocol} {theirs.protocol_hash[:12]}"
        raise ResultError(f"the results are of different protocols ({hashes}) and cannot be compared. Play both under one.")
    a, b = ({(r.family, r.release): f"{r.version} {r.manifest[:12]}" for r in one.releases} for one in (ours, theirs))
    for family, release in sorted(a.keys() & b.keys()):
        of_each = a[family, release], b[family, release]
        if of_each[0] != of_each[1]:
            named = f"{family} {release}: {of_each[0]} and {of_each[1]}"
            raise ResultError(f"the results stand on different releases of the datasets ({named}) and cannot be compared.")
