"""The `access` family against closed forms, by hand, and against itself in other batches."""

from __future__ import annotations

import math

import pytest
import torch
from wbench.benchmark.families.access.env import DEADLINE, DELAY_COST, AccessEnv
from wbench.benchmark.families.access.env import env as access
from wbench.benchmark.families.access.family import FAMILY
from wbench.benchmark.families.access.layout import View
from wbench.benchmark.families.access.policies import Aloha
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.physics.traffic import aloha_throughput
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError, UnknownNameError


@pytest.mark.parametrize(
    ("agents", "channels", "probability", "known"),
    [(2, 1, 1 / 2, 0.5), (4, 1, 1 / 4, 0.4219), (8, 1, 1 / 8, 0.3927), (8, 2, 1 / 4, None), (24, 3, 0.2, None)],
)
def test_saturated_aloha_meets_its_closed_form(agents, channels, probability, known):
    expected = aloha_throughput(agents, probability, channels)
    if known:
        assert expected == pytest.approx(known, abs=5e-5)
    variant = AccessVariant(agents, channels, agents / channels, horizon=400)  # a packet a slot and user: never empty
    episodes = 300
    qos = play(FAMILY, variant, Aloha(probability), range(episodes)).qos
    goodput = qos["goodput"] * channels * 400 / 399  # in the first slot a queue may be empty
    error = float(goodput.std()) / math.sqrt(episodes)
    assert float(goodput.mean()) == pytest.approx(expected, abs=4 * error + 0.002)
    assert error < 0.003


def test_aloha_tends_to_one_over_e():
    assert aloha_throughput(10_000, 1 / 10_000) == pytest.approx(1 / math.e, rel=1e-4)


def test_tdma_never_collides_and_serves_what_aloha_cannot():
    variant = AccessVariant(8, 1, 0.5)
    tdma = play(FAMILY, variant, FAMILY.policies["tdma"](), range(100))
    assert torch.equal(tdma.qos["energy"], (tdma.qos["goodput"] * 128).round())  # every send got through
    best_aloha = play(FAMILY, variant, FAMILY.policies["backlog-aloha"](), range(100))
    assert tdma.qos["goodput"].mean() > 0.49 > 1 / math.e + 0.05 > best_aloha.qos["goodput"].mean()


@pytest.mark.parametrize("name", [v.name for v in FAMILY.variants.values() if v.name.endswith(("load0.3", "legacy", "bursty"))])
def test_packets_are_conserved_and_rewards_follow_delays(name):
    variant = FAMILY.variant(name)
    env = AccessEnv(variant)
    env.reset(range(20))
    start = env._queue.length.sum(1)
    policy_random = torch.Generator().manual_seed(0)
    delivered = dropped = torch.zeros(20)
    for _ in range(variant.horizon):
        action = torch.randint(variant.channels + 1, (20, variant.agents), generator=policy_random)
        _, reward, _, truncated, info = env.step(action)
        delivered, dropped = delivered + info["delivered"].sum(1), dropped + info["dropped"].sum(1)
        worth = 1 - DELAY_COST * (info["delay"] - 1).clamp(max=DEADLINE) / DEADLINE
        assert torch.allclose(reward, info["delivered"] * worth / variant.channels)
    assert truncated.all()
    arrived = env._arrivals.sum((1, 2))
    assert torch.equal(start + arrived, (delivered + dropped).long() + env._queue.length.sum(1))


def test_three_slots_by_hand(monkeypatch):
    variant = AccessVariant(2, 1, 0.0, horizon=3)
    monkeypatch.setattr(access, "INITIAL_MAX", 1)
    seed = next(s for s in range(100) if access._draw_scenario(variant, s)[0].all())  # both users start with one packet
    env = AccessEnv(variant)
    obs, info = env.reset([seed])
    assert info["action_mask"][0, :, :2].all() and not info["action_mask"][0, :, 2:].any()
    obs, reward, *_, info = env.step(torch.tensor([[1, 1]]))  # collision
    view = View(obs)
    assert reward.sum() == 0 and view.outcome[0, :, 2].all() and view.feedback[0, 0, :2].tolist() == [0.0, 1.0]
    obs, reward, *_ = env.step(torch.tensor([[1, 0]]))  # the first user gets through in its second slot
    assert reward[0].tolist() == pytest.approx([1 - DELAY_COST / DEADLINE, 0.0])
    view = View(obs)
    assert view.outcome[0].argmax(-1).tolist() == [1, 0] and view.queue[0, :, 0].tolist() == [0.0, 1.0]
    _, reward, _, truncated, _ = env.step(torch.tensor([[1, 1]]))  # the first is empty: sending is idling, no collision
    assert reward[0].tolist() == pytest.approx([0.0, 1 - 2 * DELAY_COST / DEADLINE]) and bool(truncated)
    assert env.qos()["delay_mean"][0] == 2.5
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(torch.tensor([[0, 0]]))


def test_bursty_traffic_has_the_same_mean_and_more_variance():
    steady, bursty = AccessVariant(8, 1, 0.3), AccessVariant(8, 1, 0.3, traffic="bursty")
    counts = {}
    for variant in (steady, bursty):
        arrivals = torch.stack([torch.from_numpy(access._draw_scenario(variant, s)[1]) for s in range(400)])
        counts[variant.traffic] = arrivals.sum(1).float()  # packets an episode and user
        error = float(counts[variant.traffic].std()) / math.sqrt(counts[variant.traffic].numel())
        assert float(counts[variant.traffic].mean()) == pytest.approx(0.3 / 8 * 128, abs=4 * error)
    assert counts["bursty"].var() > 2 * counts["steady"].var()


def test_every_listed_variant_is_admitted():
    from wbench.benchmark.protocol.references import references

    assert len(FAMILY.select("train")) == 18 and len(FAMILY.select("held-out")) == 7
    assert [name for name in FAMILY.variants if not references(name).admitted()] == []


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.full((2, 8), 3), r"\[3, 3\].*\[0, 2\]"),
        (torch.full((2, 8), -1), r"\[-1, -1\].*\[0, 2\]"),
        (torch.zeros(2, 7, dtype=torch.long), r"shape.*\(2, 7\).*\(2, 8\)"),
        (torch.zeros(2, 8), "dtype.*float32.*integer"),
        ([[0] * 8] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = AccessEnv(FAMILY.variant("access/n8-c2-load0.3"))
    env.reset([0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agents": 0}, "agents"),
        ({"channels": 4}, "channels"),
        ({"load": math.nan}, "load"),
        ({"load": 9.0}, "load"),
        ({"buffer": 0}, "buffer"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        AccessVariant(**{"agents": 8, "channels": 1, "load": 0.3, **fields})


def test_unknown_variant_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'access/n8-c1-load0.3-bursty'"):
        FAMILY.variant("access/n8-c1-load0.3-brusty")
