"""Channels against their sources: path losses, layouts, the Jakes correlation."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import j0
from wbench.benchmark.physics.channel import (
    LIGHT,
    UmiStreetCanyon,
    autoregression,
    from_db,
    hexagon_sites,
    jakes_correlation,
    macro_path_loss,
    rayleigh_gains,
    users_in_hexagons,
)

UMI = UmiStreetCanyon(carrier=3.5e9)


def db(linear: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(linear)


@pytest.mark.parametrize(("distance", "los", "nlos"), [(100.0, 85.31, 104.64), (200.0, 91.61, 115.23)])
def test_umi_path_loss_has_the_published_values(distance, los, nlos):
    assert UMI.los_path_loss(distance) == pytest.approx(los, abs=0.005)
    assert UMI.nlos_path_loss(distance) == pytest.approx(nlos, abs=0.005)


def test_umi_path_loss_bends_at_the_breakpoint_without_a_jump_and_nlos_is_never_lighter():
    edge = UMI.breakpoint()
    assert edge == pytest.approx(4 * 9.0 * 0.5 * 3.5e9 / 3e8)
    before, at, after = UMI.los_path_loss(np.array([edge * 0.999999, edge, edge * 1.000001]))
    assert before == pytest.approx(at, abs=1e-4) == pytest.approx(after, abs=1e-4)
    decade = UMI.los_path_loss(np.array([10 * edge, 100 * edge]))
    assert decade[1] - decade[0] == pytest.approx(40.0, abs=0.01)  # 21 dB a decade before, 40 after
    d = np.geomspace(10, 5000, 200)
    assert (UMI.nlos_path_loss(d) >= UMI.los_path_loss(d)).all()


def test_umi_line_of_sight_and_shadowing_are_drawn_as_specified():
    assert UMI.los_probability(np.array([5.0, 18.0])).tolist() == [1.0, 1.0]
    assert UMI.los_probability(100.0) == pytest.approx(0.18 + math.exp(-100 / 36) * 0.82)
    rng = np.random.default_rng(0)
    n = 40_000
    loss = -db(UMI.gain(np.full(n, 200.0), rng.random(n), rng.standard_normal(n)))
    probability = float(UMI.los_probability(200.0))
    mean = probability * 91.61 + (1 - probability) * 115.23
    assert loss.mean() == pytest.approx(mean, abs=4 * loss.std() / math.sqrt(n))
    sight = -db(UMI.gain(np.full(n, 200.0), np.zeros(n), rng.standard_normal(n)))
    blocked = -db(UMI.gain(np.full(n, 200.0), np.ones(n), rng.standard_normal(n)))
    assert sight.std() == pytest.approx(4.0, rel=0.02) and blocked.std() == pytest.approx(7.82, rel=0.02)


@pytest.mark.skipif(importlib.util.find_spec("sionna") is None, reason="needs the extra: pip install 'wbench[sionna]'")
def test_umi_path_loss_agrees_with_sionna():
    """The large-scale model beside Sionna's own UMi, without shadowing, at random drops."""
    import torch
    from sionna.phy.channel.tr38901 import PanelArray, UMi

    panel = PanelArray(num_rows_per_panel=1, num_cols_per_panel=1, polarization="single", polarization_type="V",
                       antenna_pattern="omni", carrier_frequency=3.5e9)  # fmt: skip
    model = UMi(carrier_frequency=3.5e9, o2i_model="low", ut_array=panel, bs_array=panel, direction="downlink",
                enable_pathloss=True, enable_shadow_fading=False)  # fmt: skip
    distance = torch.tensor([30.0, 100.0, 200.0, 800.0])
    users = torch.stack([distance, torch.zeros(4), torch.full((4,), 1.5)], dim=-1).unsqueeze(0)
    flags = {"in_state": torch.zeros(1, 4, dtype=torch.bool)}
    zero = {
        "ut_orientations": torch.zeros(1, 4, 3),
        "bs_orientations": torch.zeros(1, 1, 3),
        "ut_velocities": torch.zeros(1, 4, 3),
    }
    for los in (True, False):
        model.set_topology(ut_loc=users, bs_loc=torch.tensor([[[0.0, 0.0, 10.0]]]), los=los, **zero, **flags)
        theirs = model._scenario.basic_pathloss.reshape(-1).numpy()
        ours = UMI.los_path_loss(distance.numpy()) if los else UMI.nlos_path_loss(distance.numpy())
        assert theirs == pytest.approx(ours, abs=0.1)


def test_macro_path_loss():
    assert macro_path_loss(np.array([1000.0, 100.0])).tolist() == pytest.approx([128.1, 90.5])


@pytest.mark.parametrize("speed", [0.0, 1.0, 2.5, 8.0])
def test_fading_has_the_jakes_correlation_and_unit_mean(speed):
    rho = jakes_correlation(speed, 2e9, 0.02)
    assert rho == pytest.approx(float(j0(2 * math.pi * speed * 2e9 / LIGHT * 0.02)), abs=1e-12)
    rng = np.random.default_rng(1)
    paths, slots = 30_000, 6
    gains = rayleigh_gains(rng.standard_normal((slots, paths, 2), dtype=np.float32), rho)
    assert gains.shape == (slots, paths)
    for slot in (0, slots - 1):  # stationary from the first slot on: |h|^2 is Exp(1)
        assert gains[slot].mean() == pytest.approx(1.0, abs=4 / math.sqrt(paths))
        assert (gains[slot] > 1.0).mean() == pytest.approx(math.exp(-1), abs=4 * 0.5 / math.sqrt(paths))
    for lag in (1, 3):  # the power of a Gauss-Markov channel decorrelates as the square of its amplitude's correlation
        found = np.mean([np.corrcoef(gains[t], gains[t + lag])[0, 1] for t in range(slots - lag)])
        assert found == pytest.approx(rho ** (2 * lag), abs=5 / math.sqrt(paths * (slots - lag)))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_autoregression_is_scipys_filter_to_the_bit(kind):
    drive = np.random.default_rng(0).standard_normal((200, 3, 5)).astype(kind)
    for memory in (0.0, 0.9, -0.3, 1.0):
        filtered = lfilter(np.array([1.0], kind), np.array([1.0, -memory], kind), drive, axis=0)
        assert np.array_equal(autoregression(drive, memory), filtered) and filtered.dtype == kind


def test_the_known_jakes_value():
    assert jakes_correlation(1.5, 2e9, 0.02) == pytest.approx(float(j0(1.2574)), abs=1e-3)  # 10 Hz Doppler: .642
    assert jakes_correlation(10 * LIGHT / 2e9, 2e9, 0.02) == pytest.approx(0.6425, abs=1e-3)


def test_hexagonal_layout():
    sites = hexagon_sites(19, 800.0)
    distance = np.linalg.norm(sites[:, None] - sites, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert sites[0].tolist() == [0.0, 0.0] and distance.min() == pytest.approx(800.0)
    assert (np.isclose(distance[0], 800.0)).sum() == 6 and len(np.unique(np.round(sites, 3), axis=0)) == 19
    assert np.array_equal(hexagon_sites(7, 800.0), sites[:7])


def test_users_are_uniform_in_their_hexagon_outside_the_minimum_distance():
    rng = np.random.default_rng(2)
    n = 20_000
    users = users_in_hexagons(np.zeros((n, 2)), 800.0, 35.0, rng)
    radius = np.linalg.norm(users, axis=-1)
    area = math.sqrt(3) / 2 * 800.0**2
    assert radius.min() >= 35.0 and radius.max() <= 800.0 / math.sqrt(3) + 1e-6
    inner = math.pi * (200.0**2 - 35.0**2) / (area - math.pi * 35.0**2)
    assert (radius < 200.0).mean() == pytest.approx(inner, abs=4 * 0.5 / math.sqrt(n))
    angle = np.degrees(np.arctan2(users[:, 1], users[:, 0])) % 60
    assert np.histogram(angle, 6)[0] / n == pytest.approx(np.full(6, 1 / 6), abs=0.02)


def test_decibels():
    assert db(from_db(np.array([-30.0, 0.0, 38.0]))).tolist() == pytest.approx([-30, 0, 38])
