"""Power control against published sum rates, optimality conditions and the layout of Nasir and Guo."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from wbench.benchmark.physics.channel import from_db, hexagon_sites, macro_path_loss, users_in_hexagons
from wbench.benchmark.physics.interference import interference, rate, sinr, wmmse

from .fractional import fractional_programming

UNCAPPED = 1e12


def gaussian_channels(drops: int, users: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(users)
    return torch.randn(drops, users, users, 2, generator=generator, dtype=torch.float64).square().sum(-1) / 2


@pytest.mark.parametrize(("users", "best", "full", "uniform"), [(10, 2.824, 1.428, 1.311), (30, 4.141, 1.442, 1.407)])
def test_gaussian_interference_channel_has_the_published_sum_rates(users, best, full, uniform):
    """Sun et al. 2018: P = noise = 1, weights one, start at full power, 100 iterations; published to about .005."""
    drops = 10_000 if users == 10 else 2500
    gain = gaussian_channels(drops, users)
    one = torch.ones(drops, users, dtype=torch.float64)
    powers = {
        best: wmmse(gain, one, 1.0, 1.0, 100),
        full: one,
        uniform: torch.rand(one.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    }
    for known, power in powers.items():
        total = rate(sinr(gain, power, 1.0), UNCAPPED).sum(-1)
        error = float(total.std()) / math.sqrt(drops)
        assert float(total.mean()) == pytest.approx(known, abs=3 * error + 0.005), known
        assert error < 0.015


def test_twenty_iterations_reach_99_percent_of_five_hundred():
    gain = gaussian_channels(400, 10)
    one = torch.ones(400, 10, dtype=torch.float64)
    short, long = (float(rate(sinr(gain, wmmse(gain, one, 1.0, 1.0, n), 1.0), UNCAPPED).sum(-1).mean()) for n in (20, 500))
    assert 0.985 * long < short < long


def test_wmmse_and_fp_end_where_no_single_power_can_be_bettered():
    gain = gaussian_channels(50, 4)
    weight = torch.rand(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2
    for solver in (wmmse, fractional_programming):
        power = solver(gain, weight, 1.0, 1.0, 2000)
        assert (power >= 0).all() and (power <= 1).all()
        reached = (weight * rate(sinr(gain, power, 1.0), UNCAPPED)).sum(-1)
        for user in range(4):
            for step in (-1e-3, 1e-3):
                moved = power.clone()
                moved[:, user] = (moved[:, user] + step).clamp(0.0, 1.0)
                other = (weight * rate(sinr(gain, moved, 1.0), UNCAPPED)).sum(-1)
                assert (other <= reached + 2e-5).all()


def test_rates_rise_with_every_iteration_of_wmmse():
    gain = gaussian_channels(200, 10)
    one = torch.ones(200, 10, dtype=torch.float64)
    totals = [rate(sinr(gain, wmmse(gain, one, 1.0, 1.0, n), 1.0), UNCAPPED).sum(-1) for n in range(6)]
    assert all((after >= before - 1e-9).all() for before, after in itertools.pairwise(totals))


def test_two_links_by_hand():
    gain = torch.tensor([[4.0, 1.0], [2.0, 8.0]])
    power = torch.tensor([0.5, 1.0])
    assert interference(gain, power, 1.0).tolist() == [2.0, 2.0]
    assert sinr(gain, power, 1.0).tolist() == [1.0, 4.0]
    assert rate(torch.tensor([1.0, 3.0, 5000.0])).tolist() == pytest.approx([1.0, 2.0, 7.4])  # 256-QAM


def test_cell_layout_of_nasir_and_guo():
    """10 cells, 20 links, 800 m, full buffers, 60 drops: WMMSE about 2.38 bit/s/Hz a link."""
    power, noise = float(from_db(38.0 - 30.0)), float(from_db(-114.0 - 30.0))
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sites, cell = hexagon_sites(10, 800.0), np.arange(20) % 10
        users = users_in_hexagons(sites[cell], 800.0, 35.0, rng)
        distance = np.linalg.norm(users[:, None] - sites, axis=-1)
        large = from_db(10.0 * rng.standard_normal((20, 10)) - macro_path_loss(distance))[:, cell]
        gain = torch.from_numpy(large * rng.exponential(size=(20, 20, 20)))  # a fading draw for every pair of links
        one = torch.ones(20, 20, dtype=torch.float64)
        solved = [solver(gain, one, power, noise, 100) for solver in (wmmse, fractional_programming)]
        found.append([float(rate(sinr(gain, p, noise), cap=1000.0).mean()) for p in solved])
    mean, error = np.mean(found, 0), np.std(found, 0) / math.sqrt(len(found))
    assert mean == pytest.approx([2.38, 2.38], abs=3 * float(error.max()))  # FP in the order of its paper is WMMSE
    assert mean[1] == pytest.approx(mean[0], rel=1e-3)
