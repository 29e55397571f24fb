"""The protocol's hash covers what defines a score, and its statistics are the published ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats
from wbench.benchmark import protocol as module
from wbench.benchmark.protocol import protocol
from wbench.benchmark.statistics import interval, iqm, paired
from wbench.errors import InvalidValueError, UnknownNameError


def test_sizes():
    lite, full = protocol("lite"), protocol("full")
    assert (lite.shots, lite.seeds, lite.episodes, len(lite.variants)) == ((0, 1, 5, 20), 5, 20, 6)
    assert (full.shots, full.seeds, full.episodes, len(full.variants)) == ((0, 1, 5, 10, 20, 50), 10, 32, 21)
    assert len(full.cells()) == 21 * 6 * 10 == len(set(full.cells()))


def test_every_change_changes_the_hash(monkeypatch):
    base = protocol("lite")
    changed = [
        dataclasses.replace(base, shots=(0, 1, 5)),
        dataclasses.replace(base, seeds=6),
        dataclasses.replace(base, episodes=21),
        dataclasses.replace(base, variants=base.variants[:1]),
        protocol("quick"),
        protocol("full"),
    ]
    hashes = [p.hash() for p in (base, *changed)]
    assert len(set(hashes)) == len(hashes) and protocol("lite").hash() == hashes[0]
    for name, value in (
        ("references", lambda _: module.get_family),
        ("QUERY_SEEDS", 1),
        ("SUPPORT_SEEDS", 1),
        ("SUPPORT_ORDER", ()),
    ):
        with monkeypatch.context() as patch:
            if name == "references":
                real = module.references
                moved = {v: dataclasses.replace(real(v), random=real(v).random + 1e-6) for v in base.variants}
                patch.setattr(module, name, moved.__getitem__)
            else:
                patch.setattr(module, name, value)
            assert base.hash() != hashes[0], name


def test_a_changed_protocol_is_called_custom():
    assert protocol("quick").name == protocol("quick", shots=[0, 5]).name == "quick"
    assert (
        protocol("quick", shots=[0]).name
        == protocol("quick", family="access").name
        == protocol("lite", seeds=2).name
        == "custom"
    )


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"name": "quik"}, UnknownNameError, "Did you mean 'quick'"),
        ({"shots": [-1]}, InvalidValueError, r"--shots is -1.*\[0, 50\]"),
        ({"seeds": 0}, InvalidValueError, "--seeds is 0"),
        ({"episodes": 0}, InvalidValueError, "--episodes is 0"),
        ({"family": "power!"}, UnknownNameError, "unknown family"),
        ({"variants": ["access/none"]}, UnknownNameError, "unknown variant"),
    ],
)
def test_bad_settings_are_named(fields, error, message):
    with pytest.raises(error, match=message):
        protocol(**{"name": "quick", **fields})


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(np.arange(8.0)) == 3.5
    assert iqm(np.array([0.0, 1, 2, 1000])) == 1.5


def test_interval_agrees_with_scipys_bootstrap_and_covers_the_truth():
    rng = np.random.default_rng(0)
    scores = rng.normal(50, 10, size=(1, 40))
    ours = interval(scores.tolist())
    theirs = stats.bootstrap((scores[0],), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile", rng=1)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.4)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.4)
    draws = rng.normal(0, 1, size=(200, 3, 10))
    covered = [found.ci_low <= 0 <= found.ci_high for found in map(interval, draws.tolist())]
    assert 0.86 <= np.mean(covered) <= 0.99


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 30, size=(2, 5))
    found = paired((luck + 2).tolist(), luck.tolist())
    assert found.iqm == pytest.approx(2) and found.ci_low == pytest.approx(2) == found.ci_high


def test_fewer_than_three_seeds_give_no_interval():
    assert interval([[1.0, 2.0], [3.0, 4.0]]).ci_low is None
    assert interval([[1.0, 2.0, 3.0]]).ci_low is not None
