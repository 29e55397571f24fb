"""The `power` family by hand, against its own physics, and against itself in other batches."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from wbench.benchmark.families.power import env as power
from wbench.benchmark.families.power.env import BITS, BUFFER, DELAY_COST, NOISE, P_MAX, PowerEnv
from wbench.benchmark.families.power.family import FAMILY
from wbench.benchmark.families.power.layout import View
from wbench.benchmark.families.power.variant import PowerVariant
from wbench.benchmark.physics.interference import rate, sinr
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError

SMALL = PowerVariant(6, load=0.6, horizon=40)


def random_powers(slots: int, batch: int, agents: int) -> torch.Tensor:
    return torch.rand(slots, batch, agents, generator=torch.Generator().manual_seed(0))


def test_served_bits_follow_the_sinr_formula_and_queues_their_recursion():
    env = PowerEnv(SMALL)
    env.reset(range(12))
    for t, action in enumerate(random_powers(40, 12, 6)):
        before = env.backlog.clone()
        sent = action * (before > 0)
        expected = rate(sinr(env.link_gains(t).double(), sent.double(), 1.0)) * BITS
        _, reward, _, truncated, info = env.step(action)
        served, dropped = info["delivered"] * 1e6, info["dropped"] * 1e6
        assert torch.allclose(served.double(), torch.minimum(expected, before.double()), rtol=1e-3, atol=1.0)
        after = before - served + env._arrivals[:, t] - dropped
        assert torch.allclose(env.backlog, after, rtol=1e-4, atol=1.0)
        assert (env.backlog >= 0).all() and (env.backlog <= BUFFER * env.arrival * (1 + 1e-6)).all()
        assert torch.allclose(reward * 6 * env.arrival, served - DELAY_COST / BUFFER * before, rtol=1e-3, atol=2.0)
        assert torch.allclose(info["energy"], sent * P_MAX * 0.02)
    assert truncated.all()
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(action)


def test_gains_are_those_of_the_base_station_that_serves_the_sender():
    env = PowerEnv(SMALL)
    env.reset([3])
    gains = env.link_gains(0)[0]
    assert env.cell.tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(gains[:, 0], gains[:, 3]) and torch.equal(gains[:, 1], gains[:, 4])
    both = torch.tensor([[1.0, 0.0, 0.25, 0.5, 0.0, 0.25]])
    assert env.cell_powers(both).tolist() == [[1.5, 0.0, 0.5]]
    assert P_MAX == pytest.approx(6.31, abs=0.01) and 10 * math.log10(NOISE * 1000) == pytest.approx(-114)


def test_two_links_of_one_cell_drown_each_other_and_taking_turns_helps():
    variant = PowerVariant(2, speed=0.0, load=0.5, horizon=64)
    full, turns = (play(FAMILY, variant, FAMILY.policies[name](), range(100)).returns for name in ("full", "round-robin"))
    assert (turns > full).float().mean() > 0.9
    env = PowerEnv(variant)
    env.reset(range(50))
    env.step(torch.ones(50, 2))
    assert (env._sinr <= 1.0).all()  # same transmitter, same power: signal and interference are equal


def test_round_robin_serves_loads_below_its_share_and_not_those_above():
    drops = {}
    for load in (0.3, 0.9):
        qos = play(FAMILY, PowerVariant(10, load=load), FAMILY.policies["round-robin"](), range(40)).qos
        drops[load] = float(qos["drops"].mean())
    assert drops[0.3] < 0.05 and drops[0.9] > 5


def test_delay_of_a_lone_pair_is_first_in_first_out(monkeypatch):
    variant = PowerVariant(2, speed=0.0, load=0.0, horizon=5)  # no arrivals beyond the least need
    env = PowerEnv(variant)
    env.reset([0])
    env._arrivals = torch.zeros_like(env._arrivals)
    env.backlog = torch.tensor([[3.0, 0.0]])
    env._accepted[..., 1] = env.backlog
    capacity = iter([1.0, 0.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(power, "rate", lambda ratio: torch.full_like(ratio, next(capacity) / BITS))
    for _ in range(5):
        env.step(torch.ones(1, 2))
    qos = env.qos()
    assert qos["delay_mean"].item() == pytest.approx((1 + 3 + 4) / 3)  # they leave in the first, third and fourth slot
    assert qos["delay_p95"].item() == 4.0 and qos["goodput"].item() == pytest.approx(3 / (5 * 0.02 * 2 * 1e6))


def test_little_s_law_ties_delays_to_queues():
    """Mean backlog = arrival rate x mean delay, bit by bit, where nothing is dropped and little is left over."""
    variant = PowerVariant(4, load=0.3, horizon=400)
    env = PowerEnv(variant)
    env.reset(range(8))
    backlog = torch.zeros(8)
    for t in range(400):
        backlog += env.backlog.sum(1)
        env.step(((t % 2) == env._turn).float().expand(8, 4))
    arrived = env._departed[..., 400].sum(1)
    assert env._dropped.sum() == 0
    assert env.qos()["delay_mean"].numpy() == pytest.approx((backlog / arrived).numpy(), rel=0.03)


def test_load_scales_arrivals_and_they_are_poisson_packets():
    low, high = PowerEnv(PowerVariant(10, load=0.5)), PowerEnv(PowerVariant(10, load=0.7))
    low.reset(range(200)), high.reset(range(200))
    assert float(high.arrival.mean() / low.arrival.mean()) == pytest.approx(1.4, rel=0.1)
    packets = low._arrivals / power.PACKET
    assert torch.equal(packets, packets.round())
    expected = low.arrival / power.PACKET
    z = (packets.mean(1) - expected) / (expected / packets.shape[1]).sqrt()
    assert float(z.mean()) == pytest.approx(0.0, abs=0.1) and float(z.std()) == pytest.approx(1.0, abs=0.1)


def test_observations_show_the_own_action_and_one_slot_old_neighbours():
    env = PowerEnv(PowerVariant(10))
    env.reset(range(4))
    actions = random_powers(3, 4, 10)
    for action in actions:
        before = env.backlog.clone()
        obs, *_ = env.step(action)
    view = View(obs)
    assert torch.equal(view.sent[..., 0], actions[2] * (before > 0))
    partner = (torch.arange(10) + 5) % 10  # the other link of the cell comes first
    assert torch.allclose(view.victim_queue[..., 0], torch.log1p(before / env.arrival)[:, partner])
    assert torch.equal(view.turn[0, :, 1] + view.turn[0, :, 2], torch.ones(10))
    assert obs.isfinite().all() and obs.abs().max() < 10


def test_listed_variants_change_one_axis_and_the_heuristics_use_what_a_link_may_see():
    train = FAMILY.select("train")
    assert len(train) == 18 and len(FAMILY.select("held-out")) == 7
    axes = [(v.agents, v.spacing, v.speed, v.load) for v in train]
    for i, j in itertools.combinations(range(4), 2):  # any two values of two axes meet, as often as can be
        pairs = Counter((row[i], row[j]) for row in axes)
        assert (
            len(pairs) == len({r[i] for r in axes}) * len({r[j] for r in axes})
            and max(pairs.values()) - min(pairs.values()) <= 1
        )
    assert not any(FAMILY.policies[name]().privileged for name in ("random", "full", "round-robin", "pricing"))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.full((2, 10), 1.5), r"power.*\[1.5, 1.5\].*\[0, 1\]"),
        (torch.full((2, 10), -0.1), r"power.*\[0, 1\]"),
        (torch.full((2, 10), math.nan), r"power.*nan.*\[0, 1\]"),
        (torch.zeros(2, 9), r"shape.*\(2, 9\).*\(2, 10\)"),
        (torch.zeros(2, 10, dtype=torch.long), "dtype.*int64.*floating"),
        ([[0.0] * 10] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = PowerEnv(FAMILY.variant("power/n10-d800-v1-load0.5"))
    env.reset([0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agents": 1}, "agents"),
        ({"spacing": 10.0}, "spacing"),
        ({"speed": -1.0}, "speed"),
        ({"load": math.nan}, "load"),
        ({"propagation": "rural"}, "propagation"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        PowerVariant(**{"agents": 10, **fields})
