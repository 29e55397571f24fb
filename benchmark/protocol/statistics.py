"""Statistics of scores [variant][site]: point estimates with stratified bootstrap intervals (Agarwal et al., NeurIPS 2021).

The unit is a cell, the mean of its query episodes. A resample draws the sites of every variant anew, with replacement, and
keeps all variants: a benchmark's variants are chosen, its sites are luck. Whatever is compared is compared on the same sites
(common random numbers), so both sides are resampled together. Fewer than three sites give no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...errors import InvalidValueError, require
from .fields import Name, Number, Slashed, record

Scores = Sequence[Sequence[float]] | np.ndarray  # [variant][site], as many sites for every variant
Statistic = Callable[[np.ndarray], np.ndarray]  # [..., variants, sites] -> [...]

RESAMPLES = 2000
CONFIDENCE = 95.0  # per cent, by percentiles
TRIM = 0.25  # of each end, for the interquartile mean
MIN_SITES = 3
GAMMA = 100.0  # what the optimality gap measures against: the genie reference


def score(value: float, random: float, genie: float) -> float:
    """The score of a mean return, 100 (R - R_random) / (R_genie - R_random), not clipped: 0 = random, 100 = genie."""
    return 100.0 * (value - random) / (genie - random)


@record
class Interval:
    """An interquartile mean with its 95 % interval; no interval where there are fewer than 3 sites."""

    iqm: Number
    """The interquartile mean."""
    ci_low: Number | None
    """Lower end of the interval."""
    ci_high: Number | None
    """Upper end of the interval."""

    def __format__(self, form: str) -> str:
        return _shown(self.iqm, self.ci_low, self.ci_high, form)

    @property
    def sign(self) -> int | None:
        """1 or -1 where the interval excludes 0, else 0; None where there is no interval."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return (self.ci_low > 0) - (self.ci_high < 0)


@record
class Estimate:
    """Any other statistic with its 95 % interval; no interval where there are fewer than 3 sites."""

    value: Number
    """The statistic."""
    ci_low: Number | None
    """Lower end of the interval."""
    ci_high: Number | None
    """Upper end of the interval."""

    def __format__(self, form: str) -> str:
        return _shown(self.value, self.ci_low, self.ci_high, form)


def _shown(value: float, low: float | None, high: float | None, form: str) -> str:
    """A figure with its interval, e.g. `71.2 [68.0, 74.1]`; alone where there are too few sites for one."""
    form = form or ".1f"
    text = format(value, form)
    return text if low is None or high is None else f"{text} [{low:{form}}, {high:{form}}]"


@record
class Summary(Interval):
    """The scores of an agent at one number of shots; its own interquartile mean, over everything, is the headline."""

    mean: Estimate
    """Mean of all scores."""
    median: Estimate
    """Median over variants of the mean over sites."""
    optimality_gap: Estimate
    """Mean distance below 100; what is above it does not make up for what is below."""
    families: dict[Name, Interval]
    """By family."""
    variants: dict[Slashed, Interval]
    """By variant."""


@dataclass(frozen=True)
class Profile:
    """A performance profile: at each threshold, the fraction of scores above it, with its pointwise 95 % interval.

    Attributes:
        thresholds: tau.
        fraction: of cells that score more than tau.
        ci_low: lower ends; None where there are too few sites.
        ci_high: upper ends, likewise.
    """

    thresholds: tuple[float, ...]
    fraction: tuple[float, ...]
    ci_low: tuple[float, ...] | None
    ci_high: tuple[float, ...] | None


def iqm(scores: Scores) -> float:
    """Mean of the middle half of all scores."""
    return float(_iqm(np.asarray(scores, dtype=np.float64).reshape(1, -1)))


def interval(scores: Scores) -> Interval:
    """IQM of scores [variant][site] with its interval."""
    return _intervals(_table(scores)[None])[0]


def _intervals(tables: np.ndarray) -> list[Interval]:
    """IQM of each of several tables [n, variants, sites] with its interval, all on the same resamples."""
    bounds = _bounds(_iqm, tables)
    lows, highs = bounds.tolist() if bounds is not None else [[None] * len(tables)] * 2
    return [Interval(*ends) for ends in zip(_iqm(tables).tolist(), lows, highs, strict=True)]


def summarise(scores: Mapping[str, Sequence[float]]) -> Summary:
    """All point estimates of scores by full variant name, each with its interval."""
    families = dict.fromkeys(name.partition("/")[0] for name in scores)
    table = _table(list(scores.values()))
    total, mean, median, gap = _with_intervals((_iqm, _mean, _median, _optimality_gap), table)
    return Summary(
        *total,
        mean=Estimate(*mean),
        median=Estimate(*median),
        optimality_gap=Estimate(*gap),
        families={f: interval([row for name, row in scores.items() if name.partition("/")[0] == f]) for f in families},
        variants=dict(zip(scores, _intervals(table[:, None]), strict=True)),
    )


def paired(ours: Scores, theirs: Scores) -> Interval:
    """IQM of the differences `ours - theirs` [variant][site] on common random numbers, with its interval."""
    x, y = _pair(ours, theirs)
    return interval(x - y)


def probability_of_improvement(ours: Scores, theirs: Scores) -> Estimate:
    """P(X > Y) for scores X of ours and Y of theirs on a variant, mean over variants, with its interval; ties count half."""
    both = np.stack(_pair(ours, theirs), axis=-3)  # [2, variants, sites]

    def statistic(drawn: np.ndarray) -> np.ndarray:
        x, y = drawn[..., 0, :, :, None], drawn[..., 1, :, None, :]
        return ((x > y) + 0.5 * (x == y)).mean(axis=(-3, -2, -1))

    return Estimate(*_with_interval(statistic, both))


def profile(scores: Scores, thresholds: Sequence[float]) -> Profile:
    """The performance profile of scores [variant][site]."""
    table, tau = _table(scores), np.asarray(thresholds, dtype=np.float64)

    def above(drawn: np.ndarray) -> np.ndarray:
        return np.stack([(drawn > t).mean(axis=(-2, -1)) for t in tau], axis=-1)

    fraction, bounds = tuple(above(table).tolist()), _bounds(above, table)
    low, high = (None, None) if bounds is None else (tuple(end.tolist()) for end in bounds)
    return Profile(tuple(tau.tolist()), fraction, low, high)


def _iqm(scores: np.ndarray) -> np.ndarray:
    return iqm_of(scores.reshape(*scores.shape[:-2], -1))


def iqm_of(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half along the last axis."""
    ordered = np.sort(scores, axis=-1)
    cut = int(TRIM * ordered.shape[-1])
    middle: np.ndarray = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return middle


def _mean(scores: np.ndarray) -> np.ndarray:
    return scores.mean(axis=(-2, -1))


def _median(scores: np.ndarray) -> np.ndarray:
    return np.median(scores.mean(axis=-1), axis=-1)


def _optimality_gap(scores: np.ndarray) -> np.ndarray:
    return (GAMMA - np.minimum(scores, GAMMA)).mean(axis=(-2, -1))


_Ends = tuple[float, float | None, float | None]


def _with_interval(statistic: Statistic, scores: Scores) -> _Ends:
    return _with_intervals((statistic,), scores)[0]


def _with_intervals(statistics: Sequence[Statistic], scores: Scores) -> list[_Ends]:
    """Several statistics of the same scores, on the same resamples, each with its interval."""
    table = _table(scores)
    bounds = _bounds(lambda drawn: np.stack([statistic(drawn) for statistic in statistics], axis=-1), table)
    points = [float(statistic(table)) for statistic in statistics]
    if bounds is None:
        return [(point, None, None) for point in points]
    return [(point, float(low), float(high)) for point, low, high in zip(points, *bounds, strict=True)]


@lru_cache(maxsize=64)
def drawn_sites(variants: int, sites: int) -> np.ndarray:
    """The sites that every resample draws, [resamples, variants, sites]; the same for all tables of this size."""
    rng = np.random.Generator(np.random.Philox(key=0))
    drawn = rng.integers(sites, size=(RESAMPLES, variants, sites))
    drawn.flags.writeable = False
    return drawn


def _bounds(statistic: Statistic, table: np.ndarray) -> np.ndarray | None:
    """Both ends of the percentile interval, [2, ...]; None where there are too few sites."""
    if table.shape[-1] < MIN_SITES:
        return None
    sites = drawn_sites(*table.shape[-2:])
    drawn = np.take_along_axis(table[None], np.expand_dims(sites, tuple(range(1, table.ndim - 1))), axis=-1)
    tail = (100.0 - CONFIDENCE) / 2
    return np.percentile(statistic(drawn), [tail, 100.0 - tail], axis=0)


def _table(scores: Scores) -> np.ndarray:
    try:
        table = np.asarray(scores, dtype=np.float64)
    except (ValueError, TypeError):
        table = np.empty(0)
    if table.ndim < 2 or table.size == 0 or not np.isfinite(table).all():
        raise InvalidValueError("scores", f"of shape {table.shape}", "finite numbers [variant][site], as many sites for each")
    return table


def _pair(ours: Scores, theirs: Scores) -> tuple[np.ndarray, np.ndarray]:
    x, y = _table(ours), _table(theirs)
    require(x.shape == y.shape, "scores", f"of shapes {x.shape} and {y.shape}", "of the same variants and sites")
    return x, y
