"""Who is significantly better than whom, among thousands: the signs of `statistics.paired`, without its work for every pair.

A bootstrap interval of the interquartile mean excludes 0 if nearly every resample lies on one side. The interquartile mean of
a resample is positive for sure if no more of its values are 0 or less than are cut off at the bottom. So most pairs are decided
by counting signs, ties by the first resamples, and only the rest is resampled as often as `statistics` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ...benchmark.protocol import statistics
from ...benchmark.protocol.statistics import CONFIDENCE, MIN_SITES, RESAMPLES, TRIM

_TAIL = (100.0 - CONFIDENCE) / 200 * (RESAMPLES - 1)  # place of the lower end among the sorted resamples, 49.975
_FEW, _MANY = math.floor(_TAIL), math.floor(_TAIL) + 2  # so many on the other side decide; what lies between is interpolated
_CHUNKS = (0, 128, 512, RESAMPLES)
_AT_ONCE = 1024  # pairs


def counts(tables: np.ndarray, before: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """How many rows are significantly better and worse than each row, [n] and [n].

    Args:
        tables: scores [n, variants, sites].
        before: rows whose counts among themselves are known already: only pairs with later rows are compared.
    """
    rows = len(tables)
    better, worse = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    if rows < 2 or tables.shape[-1] < MIN_SITES:
        return better, worse
    for first, second, sign in _signs(np.ascontiguousarray(tables, dtype=np.float64), before):
        np.add.at(worse, np.where(sign > 0, first, second), np.abs(sign))
        np.add.at(better, np.where(sign > 0, second, first), np.abs(sign))
    return better, worse


def _signs(tables: np.ndarray, before: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Numbers of two rows and the sign of their difference, in batches, for every pair."""
    rows, sites = len(tables), tables.shape[-1]
    flat = tables.reshape(rows, -1)
    cut = int(TRIM * flat.shape[1])
    open_pairs: list[tuple[np.ndarray, np.ndarray]] = []
    waiting = 0
    for i in range(rows - 1):
        later = np.arange(max(i + 1, before), rows)
        difference = flat[i] - flat[later]
        # a site is drawn as often as its variant has sites, at most
        wins, losses = ((mark.sum(1) * sites <= cut) for mark in (difference <= 0, difference >= 0))
        sign = wins.astype(np.int64) - losses
        sure = later[sign != 0]
        yield np.full(len(sure), i), sure, sign[sign != 0]
        unsure = later[sign == 0]
        open_pairs.append((np.full(len(unsure), i), unsure))
        waiting += len(unsure)
        if waiting >= _AT_ONCE or i == rows - 2:
            first, second = (np.concatenate(part) for part in zip(*open_pairs, strict=True))
            for start in range(0, len(first), _AT_ONCE):
                a, b = first[start : start + _AT_ONCE], second[start : start + _AT_ONCE]
                yield a, b, paired_signs(tables[a] - tables[b])
            open_pairs, waiting = [], 0


def paired_signs(differences: np.ndarray) -> np.ndarray:
    """`statistics.interval(d).sign` of many tables of differences [pairs, variants, sites]."""
    pairs, variants, sites = differences.shape
    drawn, times = _resamples(variants, sites)
    flat = differences.reshape(pairs, -1)
    surely = [_surely_positive(side, times) for side in (flat, -flat)]  # [pairs, resamples] each
    signs, left = np.zeros(pairs, dtype=np.int64), np.arange(pairs)
    nonpositive, nonnegative = np.zeros(pairs, dtype=np.int64), np.zeros(pairs, dtype=np.int64)
    for start, stop in zip(_CHUNKS, (*_CHUNKS[1:], None), strict=True):
        # of the resamples that are not computed yet, how many must and how many may lie on each side
        up, down = (sure[left, start:].sum(1) for sure in surely)
        rest = RESAMPLES - start
        wins = nonpositive[left] + rest - up <= _FEW
        loses = nonnegative[left] + rest - down <= _FEW
        ties = (nonpositive[left] + down >= _MANY) & (nonnegative[left] + up >= _MANY)
        signs[left[wins]], signs[left[loses]] = 1, -1
        left = left[~(wins | loses | ties)]
        if stop is None or not len(left):
            break
        middle = statistics.iqm_of(flat[left][:, drawn[start:stop]])
        nonpositive[left] += (middle <= 0).sum(1)
        nonnegative[left] += (middle >= 0).sum(1)
    for pair in left:  # the end of the interval lies between a value on one side of 0 and one on the other
        signs[pair] = statistics.interval(differences[pair]).sign or 0
    return signs


def _surely_positive(flat: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Resamples whose interquartile mean is above 0 without computing it, [pairs, resamples], of differences [pairs, values].

    Either no more values are 0 or less than are cut off at the bottom; or the mean of all but the top, which is no greater, is
    above 0. The sum of the m least values is at least `m x - sum of (x - d) where d < x`, for any x.
    """
    cut = int(TRIM * flat.shape[1])
    least = flat.shape[1] - cut
    few: np.ndarray = (flat <= 0).astype(np.float32) @ times.T <= cut
    x = np.partition(flat, least - 1, axis=1)[:, least - 1 : least]
    below = np.maximum(x - flat, 0.0).astype(np.float32) @ times.T
    rounding = 1e-4 * np.abs(flat).max(1, keepdims=True)
    return few | (x - below / least > rounding)


@lru_cache(maxsize=32)
def _resamples(variants: int, sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Which values each resample holds [resamples, values], and how often each value [resamples, values]."""
    drawn = statistics.drawn_sites(variants, sites) + sites * np.arange(variants)[:, None]
    flat = drawn.reshape(RESAMPLES, -1)
    times = np.zeros(flat.shape, dtype=np.float32)
    np.add.at(times, (np.arange(RESAMPLES)[:, None], flat), 1)
    return flat, times
