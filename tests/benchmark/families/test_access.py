"""The `access` family against closed forms, by hand, and against itself in other batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from wbench.benchmark.agent import State
from wbench.benchmark.data.support import support
from wbench.benchmark.families.access import env as access
from wbench.benchmark.families.access.env import CHARGE, DEADLINE, DELAY_COST, AccessEnv
from wbench.benchmark.families.access.evidence import BUSY, HIT, read_logs
from wbench.benchmark.families.access.family import FAMILY
from wbench.benchmark.families.access.layout import View, permute_channels
from wbench.benchmark.families.access.policies import Aloha
from wbench.benchmark.families.access.rule import GRAIN, HOLDING, Table, marginal_values, take_turns
from wbench.benchmark.families.access.site import PROTECTED, Site, draw_site
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.randomness import EpisodeRandom
from wbench.benchmark.rollout import Slot, play
from wbench.errors import InvalidValueError, UnknownNameError

SMALL = AccessVariant(6, 3, 0.2, 32, horizon=64)


@pytest.fixture
def place(monkeypatch):
    """Says what every site is like: busy and protected probabilities [L, C], or numbers for all cells."""

    def put(busy=0.0, protected=0.0):
        def draw(variant, site):
            full = np.ones((variant.superframe, variant.channels), np.float32)
            return Site(full * np.asarray(busy, np.float32), full * np.asarray(protected, np.float32))

        monkeypatch.setattr(access, "draw_site", draw)

    return put


def returns(name, variant, sites, seeds, logs=None):
    agent = FAMILY.policies[name]()
    agent.adapt(FAMILY, variant, logs)
    return play(FAMILY, variant, agent, sites, seeds).returns


# Closed forms


@pytest.mark.parametrize(
    ("agents", "channels", "probability", "known"),
    [(2, 1, 1 / 2, 0.5), (4, 1, 1 / 4, 0.4219), (8, 1, 1 / 8, 0.3927), (8, 2, 1 / 4, None), (24, 3, 0.2, None)],
)
def test_saturated_aloha_meets_its_closed_form(place, agents, channels, probability, known):
    place()
    expected = agents * probability * (1 - probability / channels) ** (agents - 1)  # Roberts 1975; a sender picks a channel
    if known:
        assert expected == pytest.approx(known, abs=5e-5)
    variant = AccessVariant(agents, channels, agents / channels, 32, horizon=100)  # a packet a slot and user: never empty
    episodes = 100
    qos = play(FAMILY, variant, Aloha(probability), [0] * episodes, range(episodes)).qos
    goodput = qos["goodput"] * channels * 100 / 99  # in the first slot a queue may be empty
    error = float(goodput.std()) / math.sqrt(episodes)
    assert float(goodput.mean()) == pytest.approx(expected, abs=4 * error + 0.003)
    assert error < 0.012


def test_a_periodic_incumbent_leaves_its_free_cells(place):
    busy = np.zeros((12, 1))
    busy[::4] = 1.0
    place(busy)
    variant = AccessVariant(1, 1, 1.0, 12, horizon=120)
    qos = play(FAMILY, variant, Aloha(1.0), [0, 1], [0, 0]).qos
    assert qos["goodput"].tolist() == pytest.approx([90 / 120] * 2)  # a busy first slot: the empty queue loses nothing


def test_tdma_never_collides_where_nobody_else_is(place):
    place()
    variant = AccessVariant(8, 1, 0.5, 32)
    tdma = play(FAMILY, variant, FAMILY.policies["tdma"](), [0] * 50, range(50))
    assert torch.equal(tdma.qos["energy"], (tdma.qos["goodput"] * 128).round())  # every send got through
    assert tdma.qos["goodput"].mean() > 0.45 > 1 / math.e + 0.05


# Sites


def test_a_site_is_a_function_of_variant_and_number():
    variant = FAMILY.variant("access/n8-c3-load0.25-l48")
    one = draw_site(variant, 7)
    draw_site.cache_clear()
    again = draw_site(variant, 7)
    assert np.array_equal(one.busy, again.busy) and np.array_equal(one.protected, again.protected)
    assert not np.array_equal(one.busy, draw_site(variant, 8).busy)


def test_sites_stay_in_their_public_ranges():
    variant = FAMILY.variant("access/n12-c4-load0.25-l64")
    sites = [draw_site(variant, k) for k in range(60)]
    shares = np.array([(site.protected > 0).mean() for site in sites])
    assert shares.min() > PROTECTED[0] - 0.01 and shares.max() < PROTECTED[1] + 0.01
    duty = np.array([(site.busy > 0).mean(0) for site in sites])
    assert 0.43 < duty.mean() < 0.47 and duty.min() > 0.15 and duty.max() < 0.75
    for site in sites:
        for table, (low, high) in ((site.busy, (0.5, 0.95)), (site.protected, (0.2, 0.6))):
            assert low <= table[table > 0].min() and table.max() <= high and len(np.unique(table)) <= 5


def test_a_charge_alone_changes_no_observation(place):
    seen = {}
    for protected in (0.0, 0.9):
        place(0.4, protected)
        slots: list[Slot] = []
        play(FAMILY, SMALL, FAMILY.policies["random"](), [3, 4], [0, 1], record=slots.append)
        seen[protected] = slots
    for plain, charged in zip(seen[0.0], seen[0.9], strict=True):
        assert torch.equal(plain.obs, charged.obs) and torch.equal(plain.action_mask, charged.action_mask)
        assert all(torch.equal(plain.info[name], charged.info[name]) for name in plain.info)
    assert sum(float(slot.reward.sum()) for slot in seen[0.9]) < sum(float(slot.reward.sum()) for slot in seen[0.0]) - 10


# Dynamics


def test_packets_are_conserved_and_rewards_follow_delays_and_charges():
    env = AccessEnv(SMALL)
    env.reset(range(20), range(20))
    start = env.queues()[0].sum(1)
    chance = torch.Generator().manual_seed(0)
    delivered = dropped = torch.zeros(20)
    for t in range(SMALL.horizon):
        action = torch.randint(SMALL.channels + 1, (20, SMALL.agents), generator=chance) * (env.queues()[0] > 0)
        _, reward, _, truncated, info = env.step(action)
        delivered, dropped = delivered + info["delivered"].sum(1), dropped + info["dropped"].sum(1)
        worth = 1 - DELAY_COST * (info["delay"] - 1).clamp(0, DEADLINE) / DEADLINE
        used = (action[..., None] == torch.arange(1, SMALL.channels + 1)).any(1)
        charges = CHARGE * (used * env.coins()[1][:, t]).sum(1)
        assert torch.allclose(reward.sum(1), ((info["delivered"] * worth).sum(1) - charges) / SMALL.channels, atol=1e-5)
        assert FAMILY.reward_range[0] <= float(reward.sum(1).min()) and float(reward.sum(1).max()) <= FAMILY.reward_range[1]
    assert truncated.all()
    assert torch.equal(start + env._arrivals.sum((1, 2)), (delivered + dropped).long() + env.queues()[0].sum(1))


def test_slots_by_hand(place):
    busy, protected = np.zeros((4, 2)), np.zeros((4, 2))
    protected[0, 0] = busy[1, 0] = protected[2] = 1.0
    place(busy, protected)
    variant = AccessVariant(2, 2, 1.0, 4, horizon=4)  # a packet a slot and user; homes: user 0 channel 1, user 1 channel 2
    env = AccessEnv(variant)
    env.reset([0], [0])
    env._queue.length.clamp_(min=1)  # both have a packet, stamped -1 or of the buffer's first place
    _, reward, *_ = env.step(torch.tensor([[1, 1]]))  # they collide and share the charge
    assert reward[0].tolist() == pytest.approx([-CHARGE / 4] * 2)
    obs, reward, *_ = env.step(torch.tensor([[0, 1]]))  # user 1 meets the incumbent; user 0 hears both at home
    view = View(obs)
    assert reward[0].tolist() == [0.0, 0.0] and view.outcome[0].argmax(-1).tolist() == [0, 2]
    assert view.heard[0].argmax(-1).tolist() == [0, 0] and view.feedback[0].tolist() == [[0.0, 1.0]] * 2
    obs, reward, *_ = env.step(torch.tensor([[2, 0]]))  # through, at a charge; user 1 hears it on its home channel
    view = View(obs)
    assert view.outcome[0].argmax(-1).tolist() == [1, 0] and view.feedback[0].tolist() == [[1.0, 0.0]] * 2
    assert float(reward[0, 0]) < (1 - CHARGE) / 2 + 1e-6 and float(reward[0, 1]) == 0.0
    _, _, _, truncated, _ = env.step(torch.tensor([[0, 0]]))
    assert bool(truncated)
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(torch.tensor([[0, 0]]))


def test_observations_have_their_layout_and_tell_the_clock():
    env = AccessEnv(SMALL)
    obs, _ = env.reset([0], [0])
    for t in range(SMALL.horizon):
        assert obs.shape == (1, SMALL.agents, View.size)
        digits = (View(obs).clock[0, :, 3:] @ 2.0 ** torch.arange(6)).tolist()
        assert digits == [t % SMALL.superframe] * SMALL.agents
        obs, *_ = env.step(torch.zeros(1, SMALL.agents, dtype=torch.long))


def test_packets_at_the_start_are_few():
    for variant in FAMILY.variants.values():
        assert access.initial_mean(variant) <= 0.15 * (access.initial_mean(variant) + variant.rate * variant.horizon)


def test_bursty_traffic_has_the_same_mean_and_more_variance():
    counts: dict[str, torch.Tensor] = {}
    for traffic in ("steady", "bursty"):
        variant = AccessVariant(8, 3, 0.2, 48, traffic)
        arrivals = torch.stack([torch.from_numpy(access._draw_scenario(variant, 0, s)[1]) for s in range(300)])
        counts[traffic] = arrivals.sum(1).float()  # packets an episode and user
        error = float(counts[traffic].std()) / math.sqrt(counts[traffic].numel())
        assert float(counts[traffic].mean()) == pytest.approx(variant.rate * 128, abs=4 * error)
    assert counts["bursty"].var() > 2 * counts["steady"].var()


@pytest.mark.parametrize("name", ["random", "belief", "oracle", "genie"])
def test_episodes_are_the_same_in_any_batch_and_order(name):
    episodes = [(site, seed) for site in (5, 9, 1_000_003) for seed in (0, 1)]
    whole = returns(name, SMALL, *zip(*episodes, strict=True))
    backwards = returns(name, SMALL, *zip(*episodes[::-1], strict=True))
    assert torch.equal(whole, backwards.flip(0))
    assert torch.equal(whole[3:4], returns(name, SMALL, [9], [1]))


def test_observations_are_the_same_to_the_bit_in_any_batch():
    one, many = AccessEnv(SMALL), AccessEnv(SMALL)
    alone, _ = one.reset([9], [1])
    among, _ = many.reset([5, 9, 5], [1, 1, 0])
    chance = torch.Generator().manual_seed(1)
    for _ in range(40):
        assert torch.equal(alone[0], among[1])
        action = torch.randint(SMALL.channels + 1, (1, SMALL.agents), generator=chance)
        alone, among = one.step(action)[0], many.step(action.expand(3, -1))[0]


def test_a_fork_goes_on_alike_and_is_felt_nowhere():
    env = AccessEnv(SMALL)
    env.reset([1, 2], [0, 0])
    action = torch.ones(2, SMALL.agents, dtype=torch.long)
    for _ in range(5):
        env.step(action)
    copied = env.clone_episodes(torch.tensor([1, 1]))
    assert copied.sites == (2, 2)
    for _ in range(5):
        copied.step(action)
    twin = env.clone_episodes(torch.tensor([1]))
    for _ in range(5):
        there, again = env.step(action), twin.step(action[:1])
        assert torch.equal(there[0][1], again[0][0]) and torch.equal(there[1][1], again[1][0])


# References


def test_turns_are_fair_and_never_meet():
    generator = torch.Generator().manual_seed(0)
    table = Table(torch.rand(2, 60, 3, generator=generator), torch.zeros(2, 60, 3))
    turns = take_turns(table, 8)
    for channel in (1, 2, 3):
        assert ((turns == channel).sum(-1) == 1).all()
    share = (turns > 0).sum(1)
    assert share.min() > 14 and share.max() < 31  # 180 turns among 8, by expected service
    even = take_turns(Table(torch.full((1, 12, 2), 0.3), torch.zeros(1, 12, 2)), 6)[0]
    user = torch.arange(6)
    tdma = torch.where(torch.arange(12)[:, None] % 3 == user // 2, 1 + user % 2, 0)
    assert torch.equal(even, tdma)  # without knowledge: TDMA


def test_the_dynamic_program_by_hand():
    values = marginal_values(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), 3)
    assert values[0, 0].item() == 0.0 and values[0, 1:].tolist() == pytest.approx([1 + HOLDING - HOLDING * DEADLINE] * 3)
    free = marginal_values(torch.zeros(9, 1), torch.zeros(9, 1), torch.ones(1), 1)
    assert free[:-1, 1].tolist() == pytest.approx([HOLDING] * 8)  # sent a slot later it loses HOLDING, no more


def test_coins_are_learnt_from_counts():
    heads, tails = torch.tensor([0.0, 0.0, 30.0]), torch.tensor([0.0, 50.0, 10.0])
    for coin, prior in ((BUSY, 0.45 * 0.725), (HIT, 0.325 * 0.4)):
        mean = coin.mean(coin.likelihood(heads, tails))
        assert float(mean[0]) == pytest.approx(prior) and float(mean[1]) < 1e-3
    assert float(BUSY.mean(BUSY.likelihood(heads, tails))[2]) == pytest.approx(0.75, abs=0.05)


def test_logs_tell_the_table():
    logs = support(FAMILY, SMALL, 3, 12)
    table, truth = read_logs(SMALL, logs).table(), draw_site(SMALL, 3)
    few = read_logs(SMALL, logs.choose(range(1))).table()
    for name, true in (("busy", truth.busy), ("charge", CHARGE * truth.protected)):
        error, rough = (float((getattr(found, name)[0] - torch.from_numpy(true)).abs().mean()) for found in (table, few))
        assert error < 0.12 and error < rough


def test_references_stand_in_their_order():
    variant = FAMILY.variant("access/n8-c3-load0.25-l48")
    sites = [site for site in range(1_000_000, 1_000_012) for _ in range(2)]
    seeds = list(range(2)) * 12
    mean = {n: float(returns(n, variant, sites, seeds).mean()) for n in ("random", "prior", "belief", "oracle", "genie")}
    assert mean["genie"] > mean["oracle"] + 2 > mean["belief"] + 4 > mean["random"] + 6
    assert float(returns("hindsight", variant, sites, seeds).mean()) > mean["genie"]
    site = [1_000_000] * 8
    told, untold = (
        float(returns("estimator", variant, site, range(8), logs).mean())
        for logs in (support(FAMILY, variant, site[0], 3), None)
    )
    assert told > untold + 1 and untold == float(returns("belief", variant, site, range(8)).mean())


def test_references_act_on_their_own_observations():
    logs = support(FAMILY, SMALL, 3, 2)
    slots: list[Slot] = []
    play(FAMILY, SMALL, FAMILY.policies["belief"](), [3] * SMALL.agents, range(SMALL.agents), record=slots.append)
    others = ~torch.eye(SMALL.agents, dtype=torch.bool)
    for name in sorted(set(FAMILY.policies) - {"oracle", "told-tdma", "revealed", "genie", "hindsight", "random"}):
        answers = []
        for perturbed in (False, True):
            agent = FAMILY.policies[name]()
            agent.adapt(FAMILY, SMALL, logs)
            random = EpisodeRandom(SMALL.name, [3] * SMALL.agents, range(SMALL.agents))
            state = State(FAMILY, SMALL, random, SMALL.agents, 0, slots[0].action_mask)
            agent.begin(state)
            said = []
            for t, slot in enumerate(slots[:40]):
                obs, state.slot, state.action_mask = slot.obs.clone(), t, slot.action_mask
                if perturbed:
                    obs[others] = slots[(7 * t + 30) % len(slots)].obs.flip(0)[others]
                said.append(agent.act(obs, obs[..., :0], state)[~others])
            answers.append(torch.stack(said))
        assert torch.equal(*answers), name


def test_channels_are_renumbered_alike_everywhere():
    slots: list[Slot] = []
    play(FAMILY, SMALL, FAMILY.policies["random"](), [3], [0], record=slots.append)
    names = ("obs", "action", "action_mask")
    windows = {name: torch.stack([getattr(slot, name) for slot in slots], dim=1) for name in names}
    permute_channels(windows, torch.Generator().manual_seed(2))
    view, action = View(windows["obs"]), windows["action"]
    assert windows["action_mask"].gather(-1, action.unsqueeze(-1)).all()
    sent = torch.where(view.sent.any(-1), view.sent.argmax(-1) + 1, 0)
    assert torch.equal(sent[:, 1:], action[:, :-1])
    assert torch.equal(view.heard[:, 1:][sent[:, 1:] > 0], view.sent[:, 1:][sent[:, 1:] > 0])
    assert torch.equal(view.heard[:, 1:][sent[:, 1:] == 0], view.static[:, 1:, :, 1:][sent[:, 1:] == 0])


# Variants and bad input


def test_listed_variants():
    assert len(FAMILY.select("train")) >= 8 and len(FAMILY.select("held-out")) >= 6
    for name, variant in FAMILY.variants.items():
        assert name == variant.name and len(variant.descriptor()) == FAMILY.descriptor_size
        assert 96 <= variant.horizon <= 128 and 32 <= variant.superframe <= 64 and max(map(abs, variant.descriptor())) < 3


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.full((2, 6), 4), r"\[4, 4\].*\[0, 3\]"),
        (torch.full((2, 6), -1), r"\[-1, -1\].*\[0, 3\]"),
        (torch.zeros(2, 5, dtype=torch.long), r"shape.*\(2, 5\).*\(2, 6\)"),
        (torch.zeros(2, 6), "dtype.*float32.*integer"),
        ([[0] * 6] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = AccessEnv(SMALL)
    env.reset([0, 1], [0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


@pytest.mark.parametrize(("sites", "seeds", "named"), [([0], [0, 1], "sites"), ([], [], "seeds"), ([-1], [0], "site")])
def test_bad_episodes_are_named(sites, seeds, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        AccessEnv(SMALL).reset(sites, seeds)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agents": 0}, "agents"),
        ({"channels": 5}, "channels"),
        ({"load": math.nan}, "load"),
        ({"load": 9.0}, "load"),
        ({"superframe": 65}, "superframe"),
        ({"traffic": "wavy"}, "traffic"),
        ({"buffer": 0}, "buffer"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        AccessVariant(**{"agents": 8, "channels": 1, "load": 0.3, "superframe": 48, **fields})


def test_unknown_variant_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'access/n16-c4-load0.2-l64'"):
        FAMILY.variant("access/n16-c4-load.2-l64")


def test_tables_are_on_the_grain():
    table = Table(torch.rand(1, 4, 2), torch.rand(1, 4, 2)).rounded()
    assert torch.equal((table.busy / GRAIN).round() * GRAIN, table.busy)
