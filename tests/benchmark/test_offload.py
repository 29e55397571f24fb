"""The `offload` family by hand, against queueing theory and what must be conserved, and against itself in other batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from wbench.benchmark.families.offload.env import DROP_PENALTY, ENERGY_WEIGHT, OffloadEnv
from wbench.benchmark.families.offload.env import env as offload
from wbench.benchmark.families.offload.family import FAMILY
from wbench.benchmark.families.offload.layout import MAX_EDGES, MAX_SIZE, View
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError

HERE = {"uplink": 60.0, "fastest": 42.0}  # 6 Mbit and 4.2 Gcycle a slot; the local CPU has .26
RADIO_JOULE = 0.2 * 0.1  # a slot on the air


@pytest.fixture
def scripted(monkeypatch):
    """An environment of one episode whose tasks are given: (slot, device) -> (Mbit, Gcycle)."""

    def build(variant, tasks, efficiency=1.0):
        scenario = np.zeros((variant.horizon + 1, 2 + variant.edges, variant.agents), dtype=np.float32)
        scenario[:, 2:] = efficiency
        for (slot, device), task in tasks.items():
            scenario[slot, :2, device] = task
        monkeypatch.setattr(offload, "_draw_scenario", lambda *_: scenario)
        env = OffloadEnv(variant)
        env.reset([0])
        return env

    return build


def act(*pairs):
    """One action a device, each (server, clock)."""
    return torch.tensor([pairs], dtype=torch.float32)


def test_three_slots_by_hand(scripted):
    env = scripted(OffloadVariant(3, 2, 0.2, **HERE), {(0, 0): (3.0, 1.0), (0, 1): (6.0, 2.1), (0, 2): (2.0, 0.3)})
    view = View(env._observe())
    assert env._masks()["action_mask"][0].tolist() == [[True, True, True, False, False]] * 3
    assert view.task[0, 1].tolist() == pytest.approx([1.0, 6.0 / MAX_SIZE, 0.35 / 0.4])

    # Slot 0: two devices share the 6 Mbit of edge 1; the third computes .13 of its .3 Gcycle at half clock.
    obs, reward, *_, info = env.step(act((1, 0), (1, 0), (0, 0.5)))
    joules = [RADIO_JOULE, RADIO_JOULE, 0.1 * 1.3**2 * 0.13]
    assert info["energy"][0].tolist() == pytest.approx(joules)
    assert reward[0].tolist() == pytest.approx([-(0.1 + ENERGY_WEIGHT * e) / 3 for e in joules])
    assert not info["action_mask"][..., 1:].any() and not info["delivered"].any()
    view = View(obs)
    assert view.users[0, 0].tolist() == pytest.approx([2 / 3, 0, 0, 0, math.log(3), 0, 0, 0])
    assert view.server[0].argmax(-1).tolist() == [1, 1, 0] and view.clock[0, :, 0].tolist() == [0, 0, 0.5]
    assert view.radio[0, :, 0].expm1().tolist() == pytest.approx([0, 0.5, 0])  # 3 Mbit are half a slot of the band
    assert view.pending[0, :, 0].expm1().tolist() == pytest.approx([1 / 4.2, 0.5, 0])
    assert view.local[0, :, 0].expm1().tolist() == pytest.approx([0, 0, 0.17 / 0.26])
    assert view.backlog.sum() == 0  # nothing was at an edge when the slot began

    # Slot 1: the first task is at the edge and done; the second has the band to itself for half a slot; the third is done.
    obs, _, *_, info = env.step(act((0, 0), (2, 0), (0, 1)))  # server 2 for no task: ignored
    assert info["delivered"][0].tolist() == [1, 0, 1] and info["delay"][0].tolist() == [2, 0, 2]
    assert info["energy"][0].tolist() == pytest.approx([0, RADIO_JOULE / 2, 0.1 * 2.6**2 * 0.17])
    view = View(obs)
    assert view.backlog[0, 2, 0].expm1() == pytest.approx(1 / 4.2)  # what was there one slot ago
    assert view.outcome[0, 0].tolist() == pytest.approx([1, 0, 0.2]) and view.alive[0, 1].tolist() == pytest.approx([0.1, 0.2])

    _, reward, *_, info = env.step(act((0, 0), (0, 0), (0, 0)))  # slot 2: the second is done
    assert info["delivered"][0].tolist() == [0, 1, 0] and info["delay"][0, 1] == 3
    assert reward[0].tolist() == pytest.approx([0, -0.1 / 3, 0])
    qos = {name: float(value) for name, value in env.qos().items()}
    assert qos == pytest.approx(
        {"goodput": 3 / 9, "delay_mean": 7 / 3, "delay_p95": 3, "drops": 0, "energy": sum(joules) + 0.01 + 0.676 * 0.17}
    )


def test_a_processor_is_shared_by_those_who_have_work_there(scripted):
    env = scripted(OffloadVariant(3, 2, 0.2, **HERE), {(0, n): (1.0, work) for n, work in enumerate((2.0, 4.0, 2.1))})
    env.step(act((1, 0), (1, 0), (2, 0)))
    _, _, *_, info = env.step(act((0, 0), (0, 0), (0, 0)))
    assert info["delay"][0].tolist() == [2, 0, 2]  # 2.1 Gcycle each at edge 1, 2.1 for the only one at edge 2
    assert env._work[2, 0].tolist() == pytest.approx([0, 1.9, 0])
    _, _, *_, info = env.step(act((0, 0), (0, 0), (0, 0)))
    assert info["delay"][0].tolist() == [0, 3, 0]


@pytest.mark.parametrize("agents", [1, 7, 100])
def test_a_band_is_shared_equally_and_scales_with_the_own_channel(scripted, agents):
    efficiency = np.linspace(0.5, 1.0, agents)
    env = scripted(OffloadVariant(agents, 1, 0.2), {(0, n): (7.0, 1.4) for n in range(agents)}, efficiency)
    env.step(act(*[(1, 0)] * agents))
    assert torch.allclose(7.0 - env._bits[1, 0], torch.tensor(efficiency).float() * 6.0 / agents, atol=1e-5)


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
@pytest.mark.parametrize("deadline", [2, 6, 10])
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
    arrival, slots, episodes = 0.3, 2, 300
    variant = OffloadVariant(1, 1, arrival, deadline=100, horizon=600)

    def draw(_, seed):
        arrive = np.random.default_rng(seed).random((variant.horizon + 1, 1, 1)) < arrival
        work = slots * 0.26 - 1e-5  # a hair less, so that rounding never asks for a third slot
        return np.concatenate([arrive * 1.0, arrive * work, np.ones_like(arrive)], axis=1).astype(np.float32)

    monkeypatch.setattr(offload, "_draw_scenario", draw)
    delay = play(FAMILY, variant, FAMILY.policies["local"](), range(episodes)).qos["delay_mean"]
    error = float(delay.std()) / math.sqrt(episodes)
    assert float(delay.mean()) == pytest.approx(2.75, abs=4 * error) and error < 0.03


@pytest.mark.parametrize("name", ["offload/n10-e3-p0.4", "offload/n15-e2-p0.3", "offload/n10-e3-p0.3-deadline6"])
def test_tasks_bits_and_cycles_are_conserved_and_capacities_hold(name, monkeypatch):
    variant, episodes = FAMILY.variant(name), 12
    env = OffloadEnv(variant)
    sums = dict.fromkeys(("sent", "computed", "lost_bits", "lost_work"), 0.0)
    compute, transmit = env._compute, env._transmit

    def watched_compute(clock):
        computed, cycles = compute(clock)
        by_server = torch.stack([(computed * (env._server == s)).sum((0, 2)) for s in range(variant.edges + 1)])
        assert (by_server[1:].T <= 0.1 * torch.tensor(variant.speeds) + 1e-5).all()
        assert (cycles <= 0.26 * clock + 1e-5).all() and (computed <= env._work).all()
        assert not computed[env._bits > 0].any()
        sums["computed"] += computed.double().sum()
        sums["lost_work"] += (env._work - computed)[-1].double().sum()
        return computed, cycles

    def watched_transmit():
        sent, airtime = transmit()
        best = env._scenario[env._slot, 2:].amax((0, 2))
        for server in range(1, variant.edges + 1):
            assert ((sent * (env._server == server)).sum((0, 2)) <= variant.uplink * 0.1 * best + 1e-4).all()
        assert (airtime <= 1 + 1e-5).all() and (sent <= env._bits).all()
        sums["sent"] += sent.double().sum()
        sums["lost_bits"] += (env._bits - sent)[-1].double().sum()
        return sent, airtime

    monkeypatch.setattr(env, "_compute", watched_compute)
    monkeypatch.setattr(env, "_transmit", watched_transmit)
    env.reset(range(episodes))
    generator = torch.Generator().manual_seed(0)
    slots, to_send = [], 0.0
    for t in range(variant.horizon):
        shape = (episodes, variant.agents)
        server = torch.randint(variant.edges + 1, shape, generator=generator).float()
        alive = (env._work > 0).sum(0)
        to_send += (env._scenario[t, 0] * (server > 0)).double().sum()
        _, reward, _, truncated, info = env.step(torch.stack([server, torch.rand(shape, generator=generator)], -1))
        slots.append({key: info[key] for key in ("delivered", "delay", "dropped", "energy")})
        cost = alive / variant.deadline + DROP_PENALTY * info["dropped"] + ENERGY_WEIGHT * info["energy"]
        assert torch.allclose(reward, -cost / variant.agents)
    assert truncated.all()
    total = {key: torch.stack([slot[key] for slot in slots]) for key in slots[0]}  # each [T, B, N]
    arrived = env._scenario[:, 1]
    assert int((arrived > 0).sum()) == int(total["delivered"].sum() + total["dropped"].sum() + (env._work > 0).sum())
    assert float(arrived.double().sum()) == pytest.approx(
        float(sums["computed"] + sums["lost_work"] + env._work.double().sum()), rel=1e-6
    )
    assert float(to_send) == pytest.approx(float(sums["sent"] + sums["lost_bits"] + env._bits[1:].double().sum()), rel=1e-6)
    assert total["dropped"].sum() > 20

    qos, delivered = env.qos(), total["delivered"].sum((0, 2))
    assert torch.allclose(qos["goodput"], delivered / (variant.horizon * variant.agents))
    assert torch.allclose(qos["delay_mean"], (total["delivered"] * total["delay"]).sum((0, 2)) / delivered, rtol=1e-5)
    assert torch.equal(qos["drops"], total["dropped"].sum((0, 2)))
    assert torch.allclose(qos["energy"], total["energy"].sum((0, 2)), rtol=1e-5)
    assert (qos["delay_p95"] <= variant.deadline).all() and (qos["delay_p95"] >= qos["delay_mean"]).all()


@pytest.mark.parametrize("policy", [name for name, make in FAMILY.policies.items() if not make().privileged])
def test_a_decentralised_policy_looks_at_its_own_observation_only(policy):
    """Actions of one device stay the same when all others observe something else."""
    variant = FAMILY.variant("offload/n10-e3-p0.3")
    actions = []
    for others in (False, True):

        class Watched(type(FAMILY.policies[policy]())):
            def act(self, obs, inbox, state, others=others):
                if others:
                    obs = torch.cat([obs[:, :1], obs[:, 1:].flip(0, 1)], dim=1)
                return super().act(obs, inbox, state)

        class Replay(Watched):
            def act(self, obs, inbox, state):
                actions.append(super().act(obs, inbox, state)[:, 0])
                return torch.zeros(*obs.shape[:2], 2)  # the same trajectory in both runs

        play(FAMILY, variant, Replay(), range(4))
    half = len(actions) // 2
    assert all(torch.equal(a, b) for a, b in zip(actions[:half], actions[half:], strict=True))


def test_scenarios_have_the_stated_statistics():
    variant = OffloadVariant(10, 3, 0.3)
    drawn = np.stack([offload._draw_scenario(variant, seed) for seed in range(300)]).astype(np.float64)
    size, work = drawn[:, :, 0], drawn[:, :, 1]
    here = size > 0
    assert here.mean() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / here.size))
    assert size[here].mean() == pytest.approx(4.0, abs=0.03) and size[here].var() == pytest.approx(3.0, abs=0.05)
    assert work[here].mean() == pytest.approx(1.2, abs=0.01) and (work > 0)[here].all() and not work[~here].any()
    density = work[here] / size[here]
    assert density.min() >= 0.2 - 1e-6 and density.max() <= 0.4 + 1e-6
    snr = 10 * np.log10(2.0 ** (drawn[:, :, 2:] * math.log2(1 + 10**0.9)) - 1)  # dB, [episode, slot, edge, device]
    assert snr.mean() == pytest.approx(9.0, abs=4 * math.sqrt(21 / (300 * 30)))
    assert snr[:, 0].var() == pytest.approx(12 + 9, rel=0.06)  # uniform mean and shadowing, stationary from the first slot
    assert snr[:, -1].var() == pytest.approx(12 + 9, rel=0.06)
    assert np.square(np.diff(snr, axis=1)).mean() == pytest.approx(2 * 9 * (1 - 0.95), rel=0.01)


def test_policies_are_ordered():
    variant = FAMILY.variant("offload/n15-e2-p0.3")
    returns = {name: play(FAMILY, variant, make(), range(60)).returns for name, make in FAMILY.policies.items()}
    for worse, better in (
        ("herd", "random"),
        ("local", "random"),
        ("random", "greedy"),
        ("greedy", "split"),
        ("split", "softmax"),
        ("softmax", "genie"),
    ):
        gain = returns[better] - returns[worse]  # the same scenarios: paired
        assert float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(60) > 0, (worse, better)


@pytest.mark.parametrize("name", ["offload/n20-e4-p0.4-uplink40", "offload/n10-e3-p0.4"])
def test_the_worst_policies_stay_within_the_reward_range(name):
    rewards = []
    for policy in ("herd", "local"):
        policy = FAMILY.policies[policy]()
        play(FAMILY, FAMILY.variant(name), policy, range(40), record=lambda slot: rewards.append(slot.reward.sum(1)))
    low, high = FAMILY.reward_range
    assert low <= float(torch.stack(rewards).min()) and float(torch.stack(rewards).max()) <= high


def test_every_listed_variant_is_admitted():
    from wbench.benchmark.protocol.references import references

    assert len(FAMILY.select("train")) == 24 and len(FAMILY.select("held-out")) == 7
    assert [name for name in FAMILY.variants if not references(name).admitted()] == []
    for frame in map(references, FAMILY.variants):  # and not by luck
        assert frame.heuristic - frame.greedy > 3 * math.hypot(frame.errors[1], frame.errors[2])
        assert frame.reference - frame.heuristic > 3 * math.hypot(frame.errors[2], frame.errors[3])


def test_train_variants_vary_every_axis_together_and_leave_the_held_out_values_alone():
    axes = ("agents", "edges", "arrival", "uplink", "fastest", "deadline")
    train = [[getattr(variant, axis) for axis in axes] for variant in FAMILY.select("train")]
    values = [sorted(set(column)) for column in zip(*train, strict=True)]
    assert values[2:] == [[0.2, 0.3], [50.0, 60.0, 90.0], [21.0, 42.0, 63.0, 126.0], [8, 10, 14]]
    for i, j in itertools.combinations(range(3), 2):
        assert {(row[i], row[j]) for row in train} == set(itertools.product(values[i], values[j]))
    for i, j in itertools.combinations(range(6), 2):
        unusual = {(row[i], row[j]) for row in train[12:]}
        assert unusual == set(itertools.product(*({row[k] for row in train[12:]} for k in (i, j))))
    held_out = [[getattr(variant, axis) for axis in axes] for variant in FAMILY.select("held-out")]
    assert [sum(value not in values[i] for i, value in enumerate(row)) for row in held_out] == [1, 1, 1, 1, 1, 1, 3]


def test_descriptors_are_public_numbers_of_order_one():
    described = [variant.descriptor() for variant in FAMILY.variants.values()]
    assert len(set(described)) == len(described) == 31
    assert {len(d) for d in described} == {FAMILY.descriptor_size} and np.abs(described).max() < 1.6


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (torch.zeros(2, 10), r"shape.*\(2, 10\).*\(2, 10, 2\)"),
        (torch.zeros(2, 10, 2, dtype=torch.long), "dtype.*int64.*floating"),
        (torch.full((2, 10, 2), math.nan), "server.*nan"),
        (torch.tensor([0.5, 0.5]).expand(2, 10, 2), "server.*fraction.*whole"),
        (torch.tensor([3.0, 0.5]).expand(2, 10, 2), r"server.*\[3, 3\].*\[0, 2\]"),  # an edge that this variant lacks
        (torch.tensor([-1.0, 0.5]).expand(2, 10, 2), r"server.*\[-1, -1\].*\[0, 2\]"),
        (torch.tensor([0.0, 1.5]).expand(2, 10, 2), r"frequency.*1\.5.*\[0, 1\]"),
        ([[[0.0, 0.0]] * 10] * 2, "list.*tensor"),
    ],
)
def test_bad_actions_are_named(action, message):
    env = OffloadEnv(FAMILY.variant("offload/n10-e2-p0.2"))
    env.reset([0, 1])
    with pytest.raises(InvalidValueError, match=message):
        env.step(action)


def test_an_episode_ends_at_its_horizon():
    env = OffloadEnv(OffloadVariant(2, 1, 0.5, horizon=2))
    with pytest.raises(InvalidValueError, match="seeds"):
        env.reset([])
    env.reset([0])
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
        ({"uplink": 0.0}, "uplink"),
        ({"fastest": math.inf}, "fastest"),
        ({"deadline": 1}, "deadline"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_impossible_variants_are_refused(fields, named):
    with pytest.raises(InvalidValueError, match=f"^{named} is"):
        OffloadVariant(**{"agents": 10, "edges": 2, "arrival": 0.2, **fields})
