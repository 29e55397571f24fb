"""Keyed randomness: right distribution, independent of the batch, pinned for ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from wbench.benchmark.randomness import EpisodeRandom, gumbel
from wbench.benchmark.site import scenario_generator, site_generator
from wbench.errors import InvalidValueError


def test_uniforms_are_uniform_and_independent_across_episodes_draws_and_positions():
    random = EpisodeRandom("access/n8-c3-load0.15-l48", range(200), [3] * 200)
    first, second = random.uniform(50), random.uniform(50)
    assert stats.kstest(first.flatten().numpy(), "uniform").pvalue > 1e-3
    for a, b in ((first, second), (first[:-1], first[1:]), (first[:, :-1], first[:, 1:])):
        correlation = np.corrcoef(a.flatten(), b.flatten())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(a.numel())
    assert 0 < first.min() and first.max() < 1


def test_normals_are_standard():
    assert stats.kstest(EpisodeRandom("x", [0] * 100, range(100)).normal(10, 10).flatten().numpy(), "norm").pvalue > 1e-3


def test_an_episodes_numbers_do_not_depend_on_the_batch():
    alone = EpisodeRandom("v", [2], [7])
    among = EpisodeRandom("v", [2, 0, 2, 2], [3, 7, 7, 1])
    for _ in range(3):
        assert torch.equal(alone.uniform(5, 2)[0], among.uniform(5, 2)[2])


def test_pinned_values():
    """Frozen scenarios and replays rest on these bits."""
    name, site = "access/n8-c3-load0.15-l48", 1_000_002
    assert scenario_generator(name, site, 5).integers(1000, size=4).tolist() == PHILOX
    assert site_generator(name, site).integers(1000, size=4).tolist() == PLACE
    assert EpisodeRandom(name, [site], [5]).uniform(3)[0].tolist() == UNIFORMS


PHILOX = [996, 933, 256, 106]
PLACE = [883, 207, 546, 669]
UNIFORMS = [0.18653470277786255, 0.4119446873664856, 0.5714109539985657]


@pytest.mark.parametrize(
    ("site", "said"), [(3_000_000, "the referee's"), (-1, "a whole number"), (4_000_000, "a whole number")]
)
def test_no_site_is_drawn_outside_the_open_ranges(site, said):
    with pytest.raises(InvalidValueError, match=said):
        site_generator("access/n8-c3-load0.15-l48", site)


def test_gumbel_noise_is_finite_where_a_draw_is_exactly_zero():
    noise = gumbel(torch.tensor([0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24]))
    assert noise.isfinite().all() and noise.diff().gt(0).all() and noise[0] > -5.0
    assert noise[2] == pytest.approx(0.36651, abs=1e-5)  # -log(log 2)
