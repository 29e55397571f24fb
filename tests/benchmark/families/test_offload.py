"""The `offload` family by hand, against queueing theory and what must be conserved, and against itself in other batches."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from wbench.benchmark.data.support import support
from wbench.benchmark.families.offload import env as module
from wbench.benchmark.families.offload import scenario
from wbench.benchmark.families.offload.env import DROP_PENALTY, ENERGY_WEIGHT, TARIFF_WEIGHT, OffloadEnv
from wbench.benchmark.families.offload.estimator import estimate
from wbench.benchmark.families.offload.family import FAMILY
from wbench.benchmark.families.offload.layout import MAX_EDGES, MAX_SIZE, MEAN_SIZE, MEAN_WORK, View
from wbench.benchmark.families.offload.planning import told
from wbench.benchmark.families.offload.site import (
    BAND_RATIO,
    CAPACITY_RATIO,
    FIELDS,
    TENANT_ACTIVE,
    TENANT_DUTY,
    TENANT_SHARE,
    Sites,
    sites,
)
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError

RADIO_JOULE = 0.2 * 0.1  # a slot on the air
VARIANT = FAMILY.variant("offload/n12-e3-p0.25")


@pytest.fixture
def scripted(monkeypatch):
    """An environment of one episode with given tasks, (slot, device) -> (Mbit, Gcycle), on edges of 4.2 Gcycle and 6 Mbit."""

    def build(variant, tasks, efficiency=1.0, share=0.0, tariff=0.0):
        table = np.zeros((variant.horizon + 1, 2, variant.agents), dtype=np.float32)
        for (slot, device), task in tasks.items():
            table[slot, :, device] = task
        e, slots = variant.edges, variant.horizon
        flat = np.zeros((slots + 1, e, variant.agents))
        coins = np.full((slots, e), 0.5, np.float32), np.full((slots, variant.agents), 0.5, np.float32)
        monkeypatch.setattr(module, "draw_scenario", lambda *_: (table, flat, *coins))
        monkeypatch.setattr(module, "efficiency", lambda snr: np.broadcast_to(efficiency, snr.shape))
        cells = torch.ones(1, e, variant.period)
        hidden = Sites(
            torch.full((1, e), 4.2),
            torch.full((1, e), 6.0),
            share * cells,
            torch.ones(1, e),
            tariff * cells,
            torch.zeros(1, e, variant.agents),
        )
        monkeypatch.setattr(module.sites_of, "sites", lambda *_: hidden)
        env = OffloadEnv(variant)
        env.reset([0], [0])
        return env

    return build


def act(*pairs):
    """One action a device, each (server, clock)."""
    return torch.tensor([pairs], dtype=torch.float32)


def random_actions(env, seed=0):
    generator = torch.Generator().manual_seed(seed)
    while True:
        shape = env._work.shape[1:]
        server = torch.randint(env.variant.edges + 1, shape, generator=generator).float()
        yield torch.stack([server, torch.rand(shape, generator=generator)], dim=-1)


def test_three_slots_by_hand(scripted):
    env = scripted(OffloadVariant(3, 2, 0.2), {(0, 0): (3.0, 1.0), (0, 1): (6.0, 2.1), (0, 2): (2.0, 0.3)})
    view = View(env._observe()[0])
    assert env._masks()["action_mask"][0].tolist() == [[True, True, True, False, False]] * 3
    assert view.task[0, 1].tolist() == pytest.approx([1.0, 6.0 / MAX_SIZE, 0.35 / 0.4])

    # Slot 0: two devices share the 6 Mbit of edge 1, half of the slot each; the third computes .13 of its .3 Gcycle.
    obs, reward, *_, info = env.step(act((1, 0), (1, 0), (0, 0.5)))
    joules = [RADIO_JOULE / 2, RADIO_JOULE / 2, 0.1 * 1.3**2 * 0.13]
    assert info["energy"][0].tolist() == pytest.approx(joules)
    assert reward[0].tolist() == pytest.approx([-(0.1 + ENERGY_WEIGHT * e) / 3 for e in joules])
    assert not info["action_mask"][..., 1:].any() and not info["delivered"].any()
    view = View(obs)
    assert view.server[0].argmax(-1).tolist() == [1, 1, 0] and view.frequency[0, :, 0].tolist() == [0, 0, 0.5]
    assert (view.sending[0, :, 0].expm1() * MEAN_SIZE).tolist() == pytest.approx([0, 3, 0], abs=1e-5)
    assert (view.sent[0, :, 0] * MEAN_SIZE).tolist() == pytest.approx([3, 3, 0])
    assert (view.pending[0, :, 0].expm1() * MEAN_WORK).tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert view.local[0, :, 0].expm1().tolist() == pytest.approx([0, 0, 0.17 / 0.26])

    # Slot 1: the first task is at the edge and done; the second has the band to itself for half a slot; the third is done.
    obs, _, *_, info = env.step(act((0, 0), (2, 0), (0, 1)))  # server 2 for no task: ignored
    assert info["delivered"][0].tolist() == [1, 0, 1] and info["delay"][0].tolist() == [2, 0, 2]
    assert info["energy"][0].tolist() == pytest.approx([0, RADIO_JOULE / 2, 0.1 * 2.6**2 * 0.17])
    view = View(obs)
    assert view.served[0, 0, 0] * MEAN_WORK == pytest.approx(1.0) and view.delay[0, 0].tolist() == pytest.approx([0.2, 0, 0, 0])
    assert view.delay[0, 2].tolist() == [0, 0, 0, 0]  # local
    assert view.outcome[0, 0].tolist() == pytest.approx([1, 0, 0.2]) and view.alive[0, 1].tolist() == pytest.approx([0.1, 0.2])

    _, reward, *_, info = env.step(act((0, 0), (0, 0), (0, 0)))  # slot 2: the second is done
    assert info["delivered"][0].tolist() == [0, 1, 0] and info["delay"][0, 1] == 3
    assert reward[0].tolist() == pytest.approx([0, -0.1 / 3, 0])
    qos = {name: float(value) for name, value in env.qos().items()}
    energy = sum(joules) + RADIO_JOULE / 2 + 0.676 * 0.17
    assert qos == pytest.approx({"goodput": 3 / 9, "delay_mean": 7 / 3, "delay_p95": 3, "drops": 0, "energy": energy})


def test_two_devices_pay_for_half_of_the_airtime_each(scripted):
    """Channels of 1 and .5: of 6 Mbit a slot alone they send 3 and 1.5, and each is on the air for half of the slot."""
    env = scripted(OffloadVariant(2, 1, 0.2), {(0, n): (7.0, 1.4) for n in range(2)}, np.array([1.0, 0.5]))
    *_, info = env.step(act((1, 0), (1, 0)))
    assert (7.0 - env._bits[1, 0]).tolist() == pytest.approx([3.0, 1.5])
    assert info["energy"][0].tolist() == pytest.approx([RADIO_JOULE / 2] * 2)


def test_a_processor_is_shared_by_those_who_have_work_there_after_its_tenants(scripted):
    works = {(0, n): (1.0, work) for n, work in enumerate((2.0, 4.0, 2.1))}
    env = scripted(OffloadVariant(3, 2, 0.2), works)
    env.step(act((1, 0), (1, 0), (2, 0)))
    _, _, *_, info = env.step(act((0, 0), (0, 0), (0, 0)))
    assert info["delay"][0].tolist() == [2, 0, 2]  # 2.1 Gcycle each at edge 1, 2.1 for the only one at edge 2
    assert env._work[2, 0].tolist() == pytest.approx([0, 1.9, 0])
    env = scripted(OffloadVariant(3, 2, 0.2), works, share=0.75)
    env.step(act((1, 0), (1, 0), (2, 0)))
    env.step(act((0, 0), (0, 0), (0, 0)))
    assert env._work[2, 0].tolist() == pytest.approx([2 - 0.525, 4 - 0.525, 2.1 - 1.05])


def test_a_task_is_billed_once_and_only_at_an_edge(scripted):
    for tariff, billed in ((0.4, 0.0), (0.6, 1.0)):  # the coin is .5
        env = scripted(OffloadVariant(2, 1, 0.2), {(0, 0): (6.0, 1.2), (0, 1): (6.0, 1.2)}, tariff=tariff)
        _, reward, *_ = env.step(act((1, 0), (0, 0)))
        assert reward[0].tolist() == pytest.approx([-(0.1 + ENERGY_WEIGHT * RADIO_JOULE + TARIFF_WEIGHT * billed) / 2, -0.05])
        _, reward, *_ = env.step(act((1, 0), (1, 0)))
        assert reward[0].tolist() == pytest.approx([-0.05, -0.05])


def test_the_radio_serves_the_target_of_its_oldest_task(scripted):
    tasks = {(0, 0): (7.0, 1.4), (1, 0): (7.0, 1.4), (2, 0): (2.0, 0.4)}
    env = scripted(OffloadVariant(1, 2, 0.2), tasks)
    left = []
    for server in (1, 2, 1, 0, 0):
        env.step(act((server, 0)))
        left.append([round(float(x), 4) for x in env._bits[1:4, 0, 0]])  # youngest first
    # 6 of 7 to edge 1; the last of it (edge 2's waits); 6 of 7 to edge 2 although a task for edge 1 waits; then the rest.
    assert left == [[1.0, 0, 0], [7.0, 0, 0], [2.0, 1.0, 0], [0, 2.0, 0], [0, 0, 0]]


@pytest.mark.parametrize("server", [0, 1])
@pytest.mark.parametrize("deadline", [2, 10])
def test_an_unfinished_task_is_dropped_at_the_deadline_wherever_it_is(scripted, server, deadline):
    env = scripted(OffloadVariant(1, 1, 0.2, deadline=deadline), {(0, 0): (7.0, 2.8)}, efficiency=1e-4)
    for slot in range(deadline):
        obs, reward, *_, info = env.step(act((server, 0.0)))
        late = slot == deadline - 1
        assert bool(info["dropped"][0, 0]) == late and bool(View(obs).outcome[0, 0, 1]) == late
        assert float(reward) == pytest.approx(-1 / deadline - DROP_PENALTY * late - ENERGY_WEIGHT * RADIO_JOULE * server)
    assert env.qos()["drops"][0] == 1 and not env._work.any() and View(obs).alive.sum() == 0


def test_one_device_on_its_own_is_a_geo_d_1_queue(monkeypatch):
    """Sojourn with service of exactly S slots: S + a S (S - 1) / (2 (1 - a S)), the discrete Pollaczek-Khinchine formula."""
    arrival, slots, episodes = 0.3, 2, 200
    variant = OffloadVariant(1, 1, arrival, deadline=30, horizon=300)

    def draw(_, site, seed):
        arrive = np.random.default_rng(seed).random((variant.horizon + 1, 1, 1)) < arrival
        work = slots * 0.26 - 1e-5  # a hair less, so that rounding never asks for a third slot
        tasks = np.concatenate([arrive * 1.0, arrive * work], axis=1).astype(np.float32)
        ones = np.ones((variant.horizon, 1), np.float32)
        return tasks, np.zeros((variant.horizon + 1, 1, 1)), ones, ones

    monkeypatch.setattr(module, "draw_scenario", draw)
    delay = play(FAMILY, variant, FAMILY.policies["local"](), [0] * episodes, range(episodes)).qos["delay_mean"]
    error = float(delay.std()) / math.sqrt(episodes)
    assert float(delay.mean()) == pytest.approx(2.75, abs=4 * error) and error < 0.05


def test_tasks_are_conserved_and_the_reward_is_what_the_docs_say():
    env = OffloadEnv(VARIANT)
    env.reset([5, 6, 7, 8], [0, 1, 2, 3])
    actions, done = random_actions(env), 0.0
    for _ in range(VARIANT.horizon):
        alive, action = (env._work > 0).sum(0), next(actions)
        waiting = env._work[0] > 0
        _, reward, _, truncated, info = env.step(action)
        known = alive / VARIANT.deadline + DROP_PENALTY * info["dropped"] + ENERGY_WEIGHT * info["energy"]
        bills = (-VARIANT.agents * reward - known) / TARIFF_WEIGHT
        assert torch.allclose(bills, bills.round(), atol=1e-4) and bool((bills.round()[~waiting] == 0).all())
        done += float((info["delivered"] + info["dropped"]).sum())
    assert truncated.all()
    assert int((env._scenario[:, 1] > 0).sum()) == int(done + (env._work > 0).sum())
    qos = env.qos()
    assert (qos["delay_p95"] <= VARIANT.deadline).all() and (qos["delay_p95"] >= qos["delay_mean"]).all()


def test_observations_do_not_change_when_only_the_charge_does(monkeypatch):
    observed, rewards = [], []
    draw = module.sites_of.sites
    for factor in (1.0, 0.3):
        monkeypatch.setattr(module.sites_of, "sites", lambda *a, f=factor: replace(s := draw(*a), tariff=s.tariff * f))
        env = OffloadEnv(VARIANT)
        obs, _ = env.reset([3, 4], [0, 1])
        actions, seen = random_actions(env), [obs]
        for _ in range(30):
            obs, reward, *_ = env.step(next(actions))
            seen.append(obs)
            rewards.append(reward)
        observed.append(torch.stack(seen))
    assert torch.equal(*observed)
    assert not torch.equal(torch.stack(rewards[:30]), torch.stack(rewards[30:]))


def test_a_site_is_the_same_in_any_batch_and_differs_from_others():
    alone, batch = sites(VARIANT, [7]), sites(VARIANT, [3, 7, 7, 9])
    for name in FIELDS:
        one, many = getattr(alone, name), getattr(batch, name)
        assert torch.equal(one[0], many[1]) and torch.equal(many[1], many[2]) and not torch.equal(many[0], many[1])
    other = sites(replace(VARIANT, deadline=11), [7])
    assert not torch.equal(other.capacity, alone.capacity)


def test_sites_have_the_stated_statistics():
    drawn = sites(VARIANT, range(400))
    assert torch.allclose(drawn.capacity.sum(1), torch.full((400,), VARIANT.speed))
    assert torch.allclose(drawn.band.sum(1), torch.full((400,), VARIANT.band))
    for values, ratio in ((drawn.capacity, CAPACITY_RATIO), (drawn.band, BAND_RATIO)):
        spread = values.amax(1) / values.amin(1)
        assert ratio * 0.8 < spread.max() <= ratio * 1.001 and spread.min() < 1.5
    here = drawn.share > 0
    assert here.float().mean() == pytest.approx(sum(TENANT_DUTY) / 2, abs=0.02)
    assert drawn.share[here].min() >= TENANT_SHARE[0] and drawn.share.max() <= TENANT_SHARE[1]
    assert TENANT_ACTIVE[0] <= drawn.active.min() and drawn.active.max() <= TENANT_ACTIVE[1]
    assert drawn.tariff.min() >= 0 and drawn.tariff.max() <= 1 and drawn.tariff.mean() == pytest.approx(0.5, abs=0.02)
    assert 3 <= drawn.snr.min() and drawn.snr.max() <= 15


@pytest.mark.parametrize("name", ["offload/n8-e2-p0.15", "offload/n12-e3-p0.15-period48"])
@pytest.mark.parametrize("policy", ["random", "belief", "genie"])
def test_an_episode_is_the_same_in_any_batch_and_order(name, policy):
    variant, agent = replace(FAMILY.variant(name), horizon=12), FAMILY.policies[policy]
    places, seeds = [3, 1, 3, 2, 5], [0, 4, 1, 0, 9]
    whole = play(FAMILY, variant, agent(), places, seeds)
    turned = play(FAMILY, variant, agent(), places[::-1], seeds[::-1])
    single = play(FAMILY, variant, agent(), places[2:3], seeds[2:3])
    assert torch.equal(whole.returns, turned.returns.flip(0)) and torch.equal(whole.returns[2:3], single.returns)
    for key in whole.qos:
        assert torch.equal(whole.qos[key], turned.qos[key].flip(0)) and torch.equal(whole.qos[key][2:3], single.qos[key])


def test_a_fork_goes_on_as_the_original_would():
    env = OffloadEnv(VARIANT)
    env.reset([1, 2, 3], [0, 1, 2])
    actions = random_actions(env)
    for _ in range(20):
        env.step(next(actions))
    copied, action = env.clone_episodes(torch.tensor([2, 0, 2])), next(actions)
    before = env._observe()[0]
    got = copied.step(action[[2, 0, 2]])
    assert torch.equal(env._observe()[0], before)  # nothing is felt here
    went = env.step(action)
    for a, b in zip(got[:2], went[:2], strict=True):
        assert torch.equal(a, b[[2, 0, 2]])


def test_what_is_coming_is_what_comes():
    env = OffloadEnv(VARIANT)
    env.reset(range(3), range(3))
    play_some = torch.zeros(3, VARIANT.agents, 2)
    for _ in range(5):
        env.step(play_some)
    tasks, coins = env.coming(4)
    everyone = torch.arange(3)
    ahead = env.imagine(everyone, tasks, coins)
    for k in range(4):
        assert torch.equal(ahead._capacity[k], env._capacity[env._slot])
        env.step(play_some)
        size, work, _, _ = env.waiting()
        assert torch.equal(tasks[k], torch.stack([size, work]))


def test_policies_are_ordered():
    variant, returns = replace(VARIANT, horizon=48), {}
    names = ("random", "prior", "belief", "oracle", "genie", "hindsight")
    for name in names:
        returns[name] = play(FAMILY, variant, FAMILY.policies[name](), range(16), range(16)).returns
    assert float(returns["hindsight"].mean()) > float(returns["genie"].mean())
    for worse, better in itertools.pairwise(names[:-1]):
        gain = returns[better] - returns[worse]  # the same scenarios: paired
        assert float(gain.mean()) > 2 * float(gain.std()) / math.sqrt(16) > 0, (worse, better)


def test_the_estimator_finds_the_site_and_is_belief_without_support():
    logs, truth = support(FAMILY, VARIANT, 4, 5), told(sites(VARIANT, [4]))
    errors = []
    for shots in (1, 5):
        found = estimate(VARIANT, logs.choose(range(shots)))
        assert torch.allclose(found.capacity, truth.capacity, rtol=1e-3) and torch.allclose(found.band, truth.band, rtol=1e-3)
        errors.append([float((getattr(found, x) - getattr(truth, x)).square().mean().sqrt()) for x in ("tariff", "available")])
    (tariff, available), (later_tariff, later_available) = errors
    assert later_tariff < 0.6 * tariff < 0.15 and later_available < available < 0.3
    agent = FAMILY.policies["estimator"]()
    for log in (logs, None):  # the second forgets the first
        agent.adapt(FAMILY, VARIANT, log)
    ours, theirs = (play(FAMILY, VARIANT, a, [4, 5], [0, 1]).returns for a in (agent, FAMILY.policies["belief"]()))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("policy", [name for name, make in FAMILY.policies.items() if not make().privileged])
def test_a_decentralised_policy_looks_at_its_own_observation_only(policy):
    """Actions of one device stay the same when all others observe something else."""
    variant, actions = replace(VARIANT, horizon=24), []
    for others in (False, True):

        class Replay(type(FAMILY.policies[policy]())):
            def act(self, obs, inbox, state, others=others):
                if others:
                    obs = torch.cat([obs[:, :1], obs[:, 1:].flip(0, 1)], dim=1)
                actions.append(super().act(obs, inbox, state)[:, 0])
                return torch.zeros(*obs.shape[:2], 2)  # the same trajectory in both runs

        play(FAMILY, variant, Replay(), [0, 1, 2, 3], [0, 1, 2, 3])
    half = len(actions) // 2
    assert all(torch.equal(a, b) for a, b in zip(actions[:half], actions[half:], strict=True))


def test_scenarios_have_the_stated_statistics():
    drawn = [module.draw_scenario(VARIANT, 0, seed) for seed in range(200)]
    tasks, shadowing = np.stack([d[0] for d in drawn]), np.stack([scenario.shadowing(d[1]) for d in drawn])
    size, work = tasks[:, :, 0], tasks[:, :, 1]
    here = size > 0
    assert here.mean() == pytest.approx(VARIANT.arrival, abs=4 * math.sqrt(0.2 / here.size))
    assert size[here].mean() == pytest.approx(4.0, abs=0.03) and work[here].mean() == pytest.approx(1.2, abs=0.01)
    assert (work > 0)[here].all() and not work[~here].any()
    assert shadowing[:, 0].var() == pytest.approx(9, rel=0.06) and shadowing[:, -1].var() == pytest.approx(9, rel=0.06)
    assert np.square(np.diff(shadowing, axis=1)).mean() == pytest.approx(2 * 9 * (1 - 0.95), rel=0.02)


def test_bad_policies_stay_within_the_reward_range():
    low, high = FAMILY.reward_range
    rewards = []
    for name in ("offload/n12-e3-p0.28", "offload/n8-e2-p0.25-deadline14"):
        for policy in ("local", "random"):
            play(
                FAMILY,
                FAMILY.variant(name),
                FAMILY.policies[policy](),
                range(16),
                range(16),
                record=lambda slot: rewards.append(slot.reward.sum(1)),
            )
    rewards = torch.cat(rewards)
    assert low <= float(rewards.min()) and float(rewards.max()) <= high


def test_held_out_variants_have_one_value_that_no_train_variant_has():
    train, held_out = FAMILY.select("train"), FAMILY.select("held-out")
    assert len(train) >= 8 and len(held_out) >= 6
    axes = ("agents", "edges", "arrival", "deadline", "period")
    known = {axis: {getattr(v, axis) for v in train} for axis in axes}
    assert all(sum(getattr(v, axis) not in known[axis] for axis in axes) == 1 for v in held_out)


def test_descriptors_are_public_numbers_of_order_one():
    described = [variant.descriptor() for variant in FAMILY.variants.values()]
    assert len(set(described)) == len(described)
    assert {len(d) for d in described} == {FAMILY.descriptor_size} and np.abs(described).max() < 1.6


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.zeros(2, 12), r"shape.*\(2, 12\).*\(2, 12, 2\)"),
        (torch.zeros(2, 12, 2, dtype=torch.long), "dtype.*int64.*floating"),
        (torch.full((2, 12, 2), math.nan), "server.*nan"),
        (torch.tensor([0.5, 0.5]).expand(2, 12, 2), "server.*fraction.*whole"),
        (torch.tensor([4.0, 0.5]).expand(2, 12, 2), r"server.*\[4, 4\].*\[0, 3\]"),  # an edge that this variant lacks
        (torch.tensor([0.0, 1.5]).expand(2, 12, 2), r"frequency.*1\.5.*\[0, 1\]"),
        ([[[0.0, 0.0]] * 12] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = OffloadEnv(VARIANT)
    env.reset([0, 0], [0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


def test_bad_resets_are_named_and_an_episode_ends_at_its_horizon():
    env = OffloadEnv(OffloadVariant(2, 1, 0.5, horizon=2))
    for places, seeds, named in (([], [], "seeds"), ([0], [0, 1], "sites"), ([-1], [0], "site"), ([0], [0.5], "seed")):
        with pytest.raises(InvalidValueError, match=f"^{named} is"):
            env.reset(places, seeds)
    env.reset([0], [0])
    ends = [bool(env.step(torch.zeros(1, 2, 2))[3]) for _ in range(2)]
    assert ends == [False, True]
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(torch.zeros(1, 2, 2))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agents": 0}, "agents"),
        ({"edges": MAX_EDGES + 1}, "edges"),
        ({"edges": 0}, "edges"),
        ({"arrival": 1.1}, "arrival"),
        ({"arrival": math.nan}, "arrival"),
        ({"deadline": 1}, "deadline"),
        ({"period": 0}, "period"),
        ({"period": 65}, "period"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        OffloadVariant(**{"agents": 10, "edges": 2, "arrival": 0.2, **fields})
