"""Rows of several trainings: intervals against known truth, against scipy, and against the bootstrap of one training."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats
from wbench.benchmark.protocol import statistics
from wbench.benchmark.protocol.trainings import _mean, _with_interval, interval, paired, summarise
from wbench.errors import InvalidValueError

LITE = ["access/a", "access/b", "power/a", "power/b", "offload/a", "offload/b"]
EFFECTS = [(0, 0, 8, 3), (0, 0, 3, 3), (2, 1, 8, 3), (3, 3, 8, 3), (6, 3, 8, 3), (0, 6, 8, 3), (6, 0, 2, 2)]


def boards(effects: tuple[float, ...], variants: int, count: int, seed: int) -> tuple[np.ndarray, float, float]:
    """Simulated rows [count, 3, V, 5], and the true mean and interquartile mean.

    Args:
        effects: deviations of trainings, of trainings in a variant, of sites, of single cells.
        variants: at levels 40 to 90.
        count: of boards.
        seed: of the generator.
    """
    rng, levels = np.random.default_rng(seed), np.linspace(40.0, 90.0, variants)
    shapes = (count, 3, 1, 1), (count, 3, variants, 1), (count, 1, variants, 5), (count, 3, variants, 5)
    scores = sum(e * rng.standard_normal(shape) for e, shape in zip(effects, shapes, strict=True)) + levels[:, None]
    chances = (np.arange(4000) + 0.5) / 4000
    deviates = np.array([NormalDist().inv_cdf(c) for c in chances]) * np.sqrt(np.square(effects).sum())
    return scores, float(levels.mean()), stats.trim_mean((levels[:, None] + deviates).ravel(), 0.25)


@pytest.mark.parametrize(("variants", "effects"), list(itertools.product((1, 2, 6), EFFECTS)))
def test_the_interval_covers_the_truth_of_a_thousand_boards(variants, effects):
    scores, mean, iqm = boards(effects, variants, 1000, 0)
    for truth, ends in ((iqm, [interval(s) for s in scores]), (mean, [_estimate(s) for s in scores])):
        covered = np.mean([found.ci_low <= truth <= found.ci_high for found in ends])
        assert 0.915 <= covered <= 0.977, (variants, effects)  # 92 to 97 %, and the error of a thousand boards


def _estimate(scores: np.ndarray) -> statistics.Estimate:
    return statistics.Estimate(*_with_interval(_mean, scores))


@pytest.mark.parametrize("effects", [EFFECTS[0], EFFECTS[3], EFFECTS[6]])
def test_a_difference_covers_the_truth(effects):
    """Of two recipes, and of a recipe and a fixed rule, at the same sites: what a site does to both is gone."""
    ours, _, iqm = boards(effects, 6, 400, 1)
    luck = 20.0 * np.random.default_rng(3).standard_normal((400, 1, 6, 5))
    for theirs, truth in ((boards(effects, 6, 400, 2)[0], 3.0), (np.full((400, 1, 6, 5), 65.0), iqm - 62.0)):
        found = [paired(x + 3.0 + z, y + z) for x, y, z in zip(ours, theirs, luck, strict=True)]
        assert 0.905 <= np.mean([d.ci_low <= truth <= d.ci_high for d in found]) <= 0.985, effects


def test_a_bootstrap_of_three_trainings_would_be_too_narrow():
    """Why the interval is Student's: where trainings differ, resampling both clusters covers 75 % or less."""
    scores, mean, _ = boards((6, 0, 2, 2), 6, 300, 0)
    rng, covered = np.random.default_rng(4), []
    for one in scores:
        drawn = one[rng.integers(3, size=(500, 3, 1, 1)), np.arange(6)[:, None], rng.integers(5, size=(500, 1, 6, 5))]
        low, high = np.percentile(drawn.mean((1, 2, 3)), [2.5, 97.5])
        covered.append(low <= mean <= high)
    assert np.mean(covered) < 0.8


def test_where_sites_or_trainings_are_alike_it_is_scipys_students_interval():
    trainings, sites = np.array([1.5, -2.0, 7.25]), np.array([3.0, 9.0, -4.0, 5.5, 2.0])
    for values, scores in ((trainings, trainings[:, None, None] + np.zeros((3, 1, 5))), (sites, sites + np.zeros((3, 1, 5)))):
        known, found = stats.ttest_1samp(values, 0.0).confidence_interval(), _estimate(scores)
        assert (found.ci_low, found.ci_high) == pytest.approx((known.low, known.high))
    two = np.stack([trainings, trainings[::-1] * 2.0])
    known = stats.ttest_ind(*two, equal_var=False).confidence_interval()  # Welch's, Satterthwaite's degrees of freedom
    x, y = (values[:, None, None] + np.zeros((3, 1, 5)) for values in two)
    found = statistics.Estimate(*_with_interval(_mean, x[:, None] - y[None]))
    assert (found.ci_low, found.ci_high) == pytest.approx((known.low, known.high))


def test_point_estimates_are_those_of_one_training_and_the_interval_nearly():
    scores = boards((0, 0, 8, 0), 6, 1, 5)[0][0]
    alike, one = summarise(scores, LITE), statistics.summarise(dict(zip(LITE, scores[0].tolist(), strict=True)))
    assert interval(scores).iqm == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    for name in ("mean", "median", "optimality_gap"):
        assert getattr(alike, name).value == pytest.approx(getattr(one, name).value)
    width, known = (found.mean.ci_high - found.mean.ci_low for found in (alike, one))
    assert 1.0 < width / known < 1.5  # a bootstrap of five sites is narrow
    assert summarise(scores[:1], LITE) == one and interval(scores[:1]) == statistics.interval(scores[0])


def test_tables_that_say_nothing_are_refused_or_have_no_interval():
    assert interval(np.zeros((3, 2, 2))).ci_low is None
    for scores in (np.zeros((2, 3)), np.zeros((3, 0, 5)), np.full((3, 2, 5), np.nan)):
        with pytest.raises(InvalidValueError, match=r"\[training\]\[variant\]\[site\]"):
            interval(scores)
    with pytest.raises(InvalidValueError, match="same variants and sites"):
        paired(np.zeros((3, 2, 5)), np.zeros((3, 3, 5)))
