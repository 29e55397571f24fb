"""The `power` family by hand, against its own physics, and against itself in other batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from wbench.benchmark.data.support import support
from wbench.benchmark.families.power.env import BUFFER, DELAY_COST, PACKET, PowerEnv
from wbench.benchmark.families.power.estimator import read
from wbench.benchmark.families.power.family import FAMILY
from wbench.benchmark.families.power.genie import replay
from wbench.benchmark.families.power.layout import View, ratio
from wbench.benchmark.families.power.planning import ascend, levels, served, worth
from wbench.benchmark.families.power.site import LONGEST, SHORTEST, draw_site
from wbench.benchmark.families.power.variant import PowerVariant
from wbench.benchmark.physics.channel import (
    jakes_correlation,
    noise_power,
    pairs_in_square,
    rayleigh_gains,
    short_range_path_loss,
)
from wbench.benchmark.physics.interference import RATE_CAP, SINR_CAP, rate, sinr, wmmse
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError

from ..physics.fractional import fractional_programming

SMALL = PowerVariant(6, horizon=32, period=16)
CELLS = PowerVariant(6, 800.0, load=0.15, layout="macro", horizon=32, period=16)


def random_amplitudes(slots: int, batch: int, agents: int) -> torch.Tensor:
    return torch.rand(slots, batch, agents, generator=torch.Generator().manual_seed(0))


# --- physics -----------------------------------------------------------------------------------------------------------------


def gaussian_channels(drops: int, users: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(users)
    return torch.randn(drops, users, users, 2, generator=generator, dtype=torch.float64).square().sum(-1) / 2


def test_fractional_programming_in_textbook_order_is_wmmse_and_never_falls():
    gain = gaussian_channels(50, 6)
    weight = torch.rand(50, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2
    found = [solver(gain, weight, 1.0, 1.0, 200) for solver in (wmmse, fractional_programming)]
    assert torch.allclose(*found, atol=1e-3)
    powers = [fractional_programming(gain, weight, 1.0, 1.0, rounds) for rounds in range(8)]
    totals = [(weight * rate(sinr(gain, power, 1.0), 1e12)).sum(-1) for power in powers]
    assert all((after >= before - 1e-9).all() for before, after in itertools.pairwise(totals))


@pytest.mark.parametrize(("users", "best"), [(10, 2.824), (30, 4.141)])
def test_gaussian_interference_channel_has_the_published_sum_rates(users, best):
    """Sun et al. 2018: P = noise = 1, weights one, start at full power, 100 iterations."""
    gain = gaussian_channels(1000 if users == 10 else 200, users)
    one = torch.ones(gain.shape[:2], dtype=torch.float64)
    total = rate(sinr(gain, wmmse(gain, one, 1.0, 1.0, 100), 1.0), 1e12).sum(-1)
    assert float(total.mean()) == pytest.approx(best, abs=3 * float(total.std()) / math.sqrt(len(gain)) + 0.005)


def test_rates_are_capped_at_256_qam():
    assert rate(torch.tensor([1.0, 3.0, 5000.0])).tolist() == pytest.approx([1.0, 2.0, RATE_CAP])
    assert 10 * math.log10(SINR_CAP) == pytest.approx(22.25, abs=0.01)


def test_pairs_stand_in_the_square_at_uniform_distances():
    senders, receivers = pairs_in_square(4000, 500.0, SHORTEST, LONGEST, np.random.default_rng(0))
    distance = np.linalg.norm(senders - receivers, axis=1)
    assert ((0 <= receivers) & (receivers <= 500)).all() and ((0 <= senders) & (senders <= 500)).all()
    assert distance.min() >= 2.0 and distance.max() <= 65.0
    assert np.histogram(distance, 7, (2, 65))[0] / 4000 == pytest.approx(np.full(7, 1 / 7), abs=0.03)


def test_short_range_path_loss_bends_at_the_breakpoint():
    edge = 4 * 1.5**2 * 2.4e9 / 299_792_458
    free_space = 20 * math.log10(4 * math.pi * edge * 2.4e9 / 299_792_458)
    assert float(short_range_path_loss(edge)) == pytest.approx(free_space, abs=0.03)
    near, far = (np.diff(short_range_path_loss(np.array(pair) * edge))[0] for pair in ((0.1, 1.0), (1.0, 10.0)))
    assert near == pytest.approx(20.0) and far == pytest.approx(40.0)
    assert noise_power(1e7, 9.0) == pytest.approx(-95.0)


@pytest.mark.parametrize("speed", [0.0, 0.3, 1.0, 2.0])
def test_fading_is_rayleigh_with_the_jakes_correlation(speed):
    rho = PowerVariant(speed=speed).correlation
    assert rho == jakes_correlation(speed, 2.4e9, 0.02) >= 0.0
    paths = 20_000
    gains = rayleigh_gains(np.random.default_rng(1).standard_normal((4, paths, 2), dtype=np.float32), rho)
    for slot in (0, 3):  # stationary from the first slot on: |h|^2 is Exp(1)
        assert gains[slot].mean() == pytest.approx(1.0, abs=4 / math.sqrt(paths))
        assert (gains[slot] > 1.0).mean() == pytest.approx(math.exp(-1), abs=2 / math.sqrt(paths))
    assert np.corrcoef(gains[0], gains[1])[0, 1] == pytest.approx(rho**2, abs=5 / math.sqrt(paths))


def test_only_speeds_at_which_the_correlation_falls_are_allowed():
    for layout, carrier in (("d2d", 2.4e9), ("macro", 2e9), ("umi", 3.5e9)):
        fastest = PowerVariant(layout=layout).fastest
        falling = [jakes_correlation(v, carrier, 0.02) for v in np.linspace(0.0, fastest, 50)]
        assert (np.diff(falling) < 0).all() and falling[-1] == pytest.approx(0.0, abs=1e-6)


# --- the environment ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [SMALL, CELLS])
def test_a_slot_follows_the_sinr_formula_the_queues_and_the_reward(variant):
    env = PowerEnv(variant)
    env.reset([3, 4] * 4, range(8))
    for t, action in enumerate(random_amplitudes(32, 8, variant.agents)):
        before = env.backlog.clone()
        power = env.powers(action * (before > 0))
        gain = env.link_channel(t).double()
        direct = gain.diagonal(dim1=1, dim2=2)
        others = gain - torch.diag_embed(direct)
        noise = (others * power.unsqueeze(1)).sum(-1) + 1.0 + env.outside_now(t)
        expected = torch.minimum(rate(direct * power / noise), before.double())
        obs, reward, terminated, truncated, info = env.step(action)
        bits = info["delivered"] / (env._slot_bits / 1e6)
        assert torch.allclose(bits.double(), expected, rtol=1e-3, atol=1e-4)
        assert torch.allclose(ratio(View(obs).noise[..., 0]).double(), noise, rtol=1e-3)
        gained = (bits - DELAY_COST / BUFFER * before) / env.need - env.price[:, None] * power
        assert torch.allclose(reward * variant.agents, gained, rtol=1e-3, atol=1e-3)
        assert (env.backlog >= 0).all() and (env.backlog <= BUFFER * env.need * (1 + 1e-6)).all()
        assert obs.isfinite().all() and not terminated.any()
    assert truncated.all()
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(action)


def test_one_power_budget_a_base_station_and_links_at_their_strongest():
    env = PowerEnv(CELLS)
    env.reset(range(8), range(8))
    assert torch.equal(env.gain.argmax(-1), env.transmitter)
    power = env.powers(torch.ones(8, 6))
    shared = torch.nn.functional.one_hot(env.transmitter, CELLS.transmitters).float()
    users = shared.sum(1)
    assert torch.allclose(power, 1.0 / users.gather(1, env.transmitter))
    assert torch.allclose((shared * power.unsqueeze(-1)).sum(1), (users > 0).float())
    low = torch.full((8, 6), 0.1)
    assert torch.allclose(env.powers(low), low.square())


def test_little_s_law_ties_delays_to_queues():
    """Mean backlog = arrival rate x mean delay, bit by bit, where nothing is dropped and little is left over."""
    variant = PowerVariant(2, 3000.0, load=0.1, horizon=400)
    env = PowerEnv(variant)
    env.reset(range(8), range(8))
    env._outside.zero_()
    backlog = torch.zeros(8)
    for _ in range(400):
        backlog += env.backlog.sum(1)
        env.step(torch.ones(8, 2))
    arrived = env._departed[..., 400].sum(1)
    calm = env._dropped.sum(1) == 0
    assert calm.sum() >= 4
    assert env.qos()["delay_mean"][calm].numpy() == pytest.approx((backlog / arrived)[calm].numpy(), rel=0.1)


def test_arrivals_are_poisson_packets_and_the_first_backlog_is_small():
    env = PowerEnv(PowerVariant(10))
    env.reset(range(100), range(100))
    packets = env._arrivals / PACKET
    assert torch.allclose(packets, packets.round(), atol=1e-3)
    expected = env.need / PACKET
    z = (packets.mean(1) - expected) / (expected / packets.shape[1]).sqrt()
    assert float(z.mean()) == pytest.approx(0.0, abs=0.15) and float(z.std()) == pytest.approx(1.0, abs=0.1)
    for variant in FAMILY.variants.values():
        assert 4.0 / variant.horizon <= 0.15


def test_observations_do_not_change_when_only_the_price_changes():
    cheap, dear = PowerEnv(SMALL), PowerEnv(SMALL)
    seen = []
    for env, price in ((cheap, 0.0), (dear, 2.4)):
        first, _ = env.reset([5, 6], [1, 2])
        env.price.fill_(price)
        steps = [env.step(action) for action in random_amplitudes(32, 2, 6)]
        seen.append((torch.stack([first, *(s[0] for s in steps)]), torch.stack([s[1] for s in steps])))
    assert torch.equal(seen[0][0], seen[1][0]) and (seen[0][1] >= seen[1][1]).all() and (seen[0][1] > seen[1][1]).any()


@pytest.mark.parametrize("variant", [SMALL, CELLS])
def test_a_site_is_the_same_in_any_batch_and_its_sequence_repeats(variant):
    alone, mixed = PowerEnv(variant), PowerEnv(variant)
    alone.reset([7], [0])
    mixed.reset([3, 7, 7], [0, 0, 9])
    for name in ("gain", "transmitter", "need", "outside", "price"):
        kept = getattr(mixed, name)
        assert torch.equal(getattr(alone, name)[0], kept[1]) and torch.equal(kept[1], kept[2])
        assert name in ("transmitter", "need") or not torch.equal(kept[0], kept[1])
    assert not torch.equal(mixed._gains[1], mixed._gains[2])
    silent = mixed._outside[1] == 0
    assert torch.equal(silent[:16], silent[16:32]) and torch.equal(
        silent[:, 0], mixed.outside[1, 0, torch.arange(32) % 16] == 0
    )


def test_hidden_parameters_are_drawn_as_documented():
    places = [draw_site(PowerVariant(), site) for site in range(40)]
    outside = np.stack([place.outside for place in places])
    level = 10 * np.log10(outside[outside > 0])
    assert 20.0 <= level.min() < 22.0 and 48.0 < level.max() <= 50.0
    assert (outside > 0).mean() == pytest.approx(0.45, abs=0.02)
    price = [place.price for place in places]
    assert 0.0 <= min(price) < 0.4 and 2.0 < max(price) <= 2.4


@pytest.mark.parametrize("variant", [SMALL, CELLS])
@pytest.mark.parametrize("policy", ["random", "belief", "oracle", "genie"])
def test_episodes_are_the_same_in_any_batch_and_order(variant, policy):
    def run(sites, seeds):
        slots = []
        returns = play(FAMILY, variant, FAMILY.policies[policy](), sites, seeds, record=slots.append).returns
        return returns, torch.stack([slot.obs for slot in slots], 1), torch.stack([slot.action for slot in slots], 1)

    whole = run([1, 2, 1, 3, 4], [0, 0, 5, 2, 1])
    part = run([4, 1, 2], [1, 5, 0])
    assert all(torch.equal(x[[4, 2, 1]], y) for x, y in zip(whole, part, strict=True))


def test_a_fork_goes_on_as_the_episode_would_have():
    env = PowerEnv(CELLS)
    env.reset([1, 2, 3], [0, 1, 2])
    actions = random_amplitudes(20, 3, 6)
    for action in actions[:10]:
        env.step(action)
    copy = env.clone_episodes(torch.tensor([2, 0, 2]))
    for action in actions[10:]:
        theirs, ours = env.step(action), copy.step(action[[2, 0, 2]])
        assert torch.equal(theirs[0][[2, 0, 2]], ours[0]) and torch.equal(theirs[1][[2, 0, 2]], ours[1])
    assert all(torch.equal(value[[2, 0, 2]], copy.qos()[name]) for name, value in env.qos().items())


# --- policies ----------------------------------------------------------------------------------------------------------------


def test_steepest_ascent_ends_where_no_single_power_can_be_bettered():
    generator = torch.Generator().manual_seed(0)
    cross = torch.rand(5, 6, 6, generator=generator) * 30 * ~torch.eye(6, dtype=torch.bool)
    direct, slots = torch.rand(5, 6, generator=generator) * 1000, torch.rand(5, 6, generator=generator) * 20
    need, base, price = torch.full((5, 6), 0.9), torch.ones(5, 6), torch.linspace(0.0, 2.4, 5)

    def value(power):
        noise = base + (cross * power.unsqueeze(1)).sum(-1)
        return (worth(slots) * served(direct * power / noise, need, slots)).sum(-1) - price * power.sum(-1)

    power, noise = ascend(base, direct, cross, need, slots, price)
    assert torch.allclose(noise, base + (cross * power.unsqueeze(1)).sum(-1))
    for link in range(6):
        for level in levels(power):
            moved = power.clone()
            moved[:, link] = level
            assert (value(moved) <= value(power) + 1e-4).all()


def test_the_estimator_finds_gains_sequence_and_price():
    logs = support(FAMILY, SMALL, 11, 20)
    known, place = read(SMALL, logs), draw_site(SMALL, 11)
    assert float(known.price[0]) == pytest.approx(place.price, abs=1e-3)
    assert torch.allclose(known.need[0], torch.from_numpy(place.need), rtol=1e-4)
    off = ~torch.eye(6, dtype=torch.bool)
    loud = torch.from_numpy(place.links)[off] > 3.0
    error = 10 * torch.log10(known.cross[0][off] / torch.from_numpy(place.links)[off])
    assert error[loud].abs().median() < 2.5
    heard, hidden = known.outside[0], torch.from_numpy(place.outside)
    assert float(heard[hidden > 0].log10().mean() - hidden[hidden > 0].log10().mean()) == pytest.approx(0.0, abs=0.15)
    assert float(heard[hidden == 0].median()) < 10.0


def test_without_support_the_estimator_is_the_belief():
    found = []
    for name in ("belief", "estimator"):
        agent = FAMILY.policies[name]()
        agent.adapt(FAMILY, SMALL, None)
        found.append(play(FAMILY, SMALL, agent, range(6), range(6)).returns)
    assert torch.equal(*found)


def test_more_knowledge_earns_more_and_the_rewards_stay_in_range():
    variant = PowerVariant(10, 400.0, horizon=48, period=24)
    low, high = FAMILY.reward_range
    earned = {}
    for name in ("random", "full", "medium", "prior", "belief", "oracle", "genie"):
        slots = []
        earned[name] = float(
            play(FAMILY, variant, FAMILY.policies[name](), range(16), range(16), record=slots.append).returns.mean()
        )
        team = torch.stack([slot.reward.sum(1) for slot in slots])
        assert low <= team.min() and team.max() <= high
    assert earned["genie"] > earned["oracle"] > earned["belief"] > earned["prior"] > earned["random"]


@pytest.mark.parametrize("variant", [SMALL, CELLS])
def test_hindsight_is_the_genie_or_better_in_every_episode(variant):
    genie, hindsight = (
        play(FAMILY, variant, FAMILY.policies[name](), range(6), range(6)).returns for name in ("genie", "hindsight")
    )
    assert (hindsight >= genie - 1e-4).all() and hindsight.mean() > genie.mean() + 0.1


def test_worth_in_hindsight_is_what_a_shorter_queue_would_have_earned():
    """By finite differences: the returns of the same amplitudes, with a little less in one queue after one slot."""
    env = PowerEnv(SMALL)
    env.reset(range(4), range(4))
    everyone, little, found, wanted = torch.arange(4), 0.02, [], []
    amplitude, _, called_for, earned = replay(env.clone_episodes(everyone), None)
    for slot, link in itertools.product((4, 12, 24), range(SMALL.agents)):
        less, total = env.clone_episodes(everyone), torch.zeros(4)
        for t in range(SMALL.horizon):
            total += less.step(amplitude[t])[1].sum(1)
            if t == slot:
                less.backlog = less.backlog.clone()
                less.backlog[:, link] -= little * less.need[:, link]
        wanted.append((total - earned) * SMALL.agents / little)  # a negative backlog serves as a debt
        found.append(called_for[slot, :, link] - 1.0)
    error = (torch.stack(found) - torch.stack(wanted)).abs()
    assert float((error < 0.01).float().mean()) > 0.95 and len(torch.stack(found).unique()) > 5


def test_listed_variants():
    train, held_out = FAMILY.select("train"), FAMILY.select("held-out")
    assert len(train) >= 8 and len(held_out) >= 6
    axes = [(v.agents, v.size, v.speed, v.load, v.layout, v.period) for v in train]
    for variant in held_out:
        own = (variant.agents, variant.size, variant.speed, variant.load, variant.layout, variant.period)
        new = [k for k, value in enumerate(own) if value not in {row[k] for row in axes}]
        assert len(new) == 1 or variant.layout != "d2d"
    privileged = {name for name, policy in FAMILY.policies.items() if policy().privileged}
    assert privileged == {"oracle", "genie", "hindsight", "revealed"}
    assert len({v.descriptor() for v in FAMILY.variants.values()}) == len(FAMILY.variants)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.full((2, 6), 1.5), r"amplitude.*\[1.5, 1.5\].*\[0, 1\]"),
        (torch.full((2, 6), math.nan), r"amplitude.*nan.*\[0, 1\]"),
        (torch.zeros(2, 5), r"shape.*\(2, 5\).*\(2, 6\)"),
        (torch.zeros(2, 6, dtype=torch.long), "dtype.*int64.*floating"),
        ([[0.0] * 6] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = PowerEnv(SMALL)
    env.reset([0, 1], [0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


@pytest.mark.parametrize(("sites", "seeds", "named"), [([], [], "seeds"), ([1], [1, 2], "sites"), ([-1], [0], "site")])
def test_bad_episodes_are_named(sites, seeds, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        PowerEnv(SMALL).reset(sites, seeds)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agents": 1}, "agents"),
        ({"size": 10.0}, "size"),
        ({"speed": -1.0}, "speed"),
        ({"speed": 8.0}, "speed"),
        ({"load": math.nan}, "load"),
        ({"layout": "rural"}, "layout"),
        ({"period": 0}, "period"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        PowerVariant(**{"agents": 10, **fields})
