"""Statistics of scores, against scipy and against recorded answers of rliable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from wbench.benchmark.protocol.statistics import (
    interval,
    iqm,
    paired,
    probability_of_improvement,
    profile,
    summarise,
)
from wbench.errors import InvalidValueError

RECORDED = json.loads(Path(__file__).with_name("rliable.json").read_text())
X, Y = np.array(RECORDED["x"]), np.array(RECORDED["y"])  # [variant][site]


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(np.arange(8.0)) == 3.5
    assert iqm(np.array([0.0, 1, 2, 1000])) == 1.5


@pytest.mark.parametrize("name", ["iqm", "mean", "median", "optimality_gap"])
def test_aggregates_are_those_of_rliable(name):
    """Recorded with rliable 1.2.0: `library.get_interval_estimates` of `metrics.aggregate_*` (gamma = 100), 20,000 resamples.

    The scores are six variants of different level with ten sites of normal noise (deviation 12), to three decimals; in the
    second variant both agents are equal, with many ties.
    """
    summary = summarise({f"family/{i}": row for i, row in enumerate(X.tolist())})
    found = summary if name == "iqm" else getattr(summary, name)
    point, low, high = RECORDED["aggregates"][name]
    assert getattr(found, "iqm" if name == "iqm" else "value") == pytest.approx(point, abs=1e-9)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=0.3), pytest.approx(high, abs=0.3))


def test_probability_of_improvement_is_that_of_rliable():
    """Recorded with `metrics.probability_of_improvement`, 2000 resamples; rliable resamples both sides independently."""
    found = probability_of_improvement(X, Y)
    point, low, high = RECORDED["probability_of_improvement"]
    assert found.value == pytest.approx(point, abs=1e-9)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    assert probability_of_improvement(Y, X).value == pytest.approx(1 - point)
    assert probability_of_improvement(X[1:2], Y[1:2]).value == 0.5  # equal scores


def test_profiles_are_those_of_rliable():
    """Recorded with `library.create_performance_profile`, 20,000 resamples."""
    recorded = RECORDED["profile"]
    found = profile(X, recorded["thresholds"])
    assert found.fraction == pytest.approx(recorded["fraction"])
    for ours, theirs in zip((found.ci_low, found.ci_high), recorded["ci"], strict=True):
        assert ours == pytest.approx(theirs, abs=1 / X.size)


def test_interval_agrees_with_scipys_bootstrap_and_covers_the_truth():
    rng = np.random.default_rng(0)
    scores = rng.normal(50, 10, size=(1, 40))
    ours = interval(scores)
    theirs = stats.bootstrap((scores[0],), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile", rng=1)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.4)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.4)
    covered = [found.ci_low <= 0 <= found.ci_high for found in map(interval, rng.normal(0, 1, size=(200, 3, 10)))]
    assert 0.86 <= np.mean(covered) <= 0.99


def test_variants_are_strata():
    """What differs between variants is no uncertainty: constant scores within each give an interval of no width."""
    found = interval([[0.0] * 5, [100.0] * 5, [40.0] * 5])
    assert found.ci_low == found.iqm == found.ci_high
    assert interval([[0.0, 50.0, 100.0]] * 3).ci_low < interval([[0.0, 50.0, 100.0]] * 3).ci_high


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 30, size=(2, 5))
    found = paired(luck + 2, luck)
    assert found.iqm == pytest.approx(2) and found.ci_low == pytest.approx(2) == found.ci_high


def test_a_summary_has_the_headline_over_all_families_and_each_family():
    scores = {"a/1": [10.0, 20.0, 30.0], "a/2": [20.0, 20.0, 20.0], "b/1": [150.0, 90.0, 60.0]}
    found = summarise(scores)
    assert found.iqm == iqm(np.array(list(scores.values())))
    assert {name: part.iqm for name, part in found.families.items()} == {"a": 20.0, "b": iqm(np.array(scores["b/1"]))}
    assert found.mean.value == pytest.approx(420 / 9) and found.median.value == 20.0
    assert found.optimality_gap.value == pytest.approx((90 + 80 + 70 + 3 * 80 + 0 + 10 + 40) / 9)  # 150 makes up for nothing


def test_fewer_than_three_sites_give_no_interval():
    two = [[1.0, 2.0], [3.0, 4.0]]
    assert interval(two).ci_low is None and paired(two, two).ci_high is None
    assert probability_of_improvement(two, two).ci_low is None and profile(two, [0.0]).ci_low is None
    assert interval([[1.0, 2.0, 3.0]]).ci_low is not None


@pytest.mark.parametrize("scores", [[], [[]], [1.0, 2.0], [[1.0, 2.0], [3.0]], [[1.0, float("nan")]], [[1.0, None]]])
def test_scores_that_are_no_table_are_refused(scores):
    with pytest.raises(InvalidValueError, match=r"finite numbers \[variant\]\[site\]"):
        interval(scores)


def test_only_the_same_cells_can_be_compared():
    for comparison in (paired, probability_of_improvement):
        with pytest.raises(InvalidValueError, match="same variants and sites"):
            comparison([[1.0, 2.0, 3.0]], [[1.0, 2.0]])
