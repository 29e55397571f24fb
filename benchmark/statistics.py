"""Statistics of scores: interquartile mean, stratified bootstrap, paired differences (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

RESAMPLES = 2000
MIN_SEEDS = 3  # fewer seeds give no interval


@dataclass(frozen=True)
class Interval:
    """An interquartile mean with its 95 % interval; None where there are too few seeds for one."""

    iqm: float
    ci_low: float | None
    ci_high: float | None


def iqm(scores: np.ndarray) -> float:
    """Mean of the middle half of all scores."""
    return float(trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))


def interval(scores: Sequence[Sequence[float]]) -> Interval:
    """IQM and 95 % percentile interval of scores [variant][seed], resampling the seeds of each variant."""
    ragged = [np.asarray(row, dtype=np.float64) for row in scores]
    point = iqm(np.concatenate(ragged))
    if min(len(row) for row in ragged) < MIN_SEEDS:
        return Interval(point, None, None)
    rng = np.random.Generator(np.random.Philox(key=0))
    drawn = np.concatenate([row[rng.integers(len(row), size=(RESAMPLES, len(row)))] for row in ragged], axis=1)
    low, high = np.percentile(trim_mean(drawn, 0.25, axis=1), [2.5, 97.5])
    return Interval(point, float(low), float(high))


def paired(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Interval:
    """IQM of the differences [variant][seed] on common random numbers, with its interval."""
    return interval([[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(ours, theirs, strict=True)])
