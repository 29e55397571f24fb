"""iql, qmix and brq: hand-computed targets, structure that must hold, and known optima that must be found."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from wbench.baselines.brq import Brq
from wbench.baselines.common.networks import AgentView, agent_views, identity, table_mask
from wbench.baselines.common.online import PracticeConfig, learn_online
from wbench.baselines.common.q_agent import ValueAgent
from wbench.baselines.common.q_learning import UNITS, ValueModel, double_q
from wbench.baselines.common.replay import Replay
from wbench.baselines.iql import Iql
from wbench.baselines.qmix import Qmix
from wbench.benchmark.data.windows import Episodes, Windows, WindowSampler
from wbench.benchmark.family import QUALITIES, FamilyShape
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.registry import get_family
from wbench.errors import BudgetError
from wbench.learning.checkpoint import digest
from wbench.learning.codec import ActionCodec
from wbench.learning.descent import move_average

from ..playing import play
from . import matrix_game as game

KINDS = {"iql": Iql, "qmix": Qmix, "brq": Brq}


def fresh(kind: type[ValueModel], seed: int = 0, **settings) -> ValueModel:
    torch.manual_seed(seed)
    shapes, values = {"signs": FamilyShape.of(game.FAMILY)}, {"signs": (0.0, 2.0)}
    return kind(kind.CONFIG(shapes, values, **{"hidden": 64, "discount": 0.9, "site": 0, **settings}))


def trained(model: ValueModel, data, steps: int, cql_alpha: float) -> ValueModel:
    """Trained offline on logged games."""
    episodes = Episodes.from_support(game.VARIANT, data, model.config.history - 1, 4)
    sampler = WindowSampler(game.FAMILY, [episodes], torch.Generator().manual_seed(0))
    target = copy.deepcopy(model).requires_grad_(False)
    parameters, averages = list(model.parameters()), list(target.parameters())
    optimiser = torch.optim.AdamW(parameters, 2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(target, sampler.sample(192), "signs", cql_alpha).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()
        move_average(averages, parameters, 0.05)
    return target.eval()


def earned(model: ValueModel, episodes: int = 64) -> float:
    """Reward a slot that can be earned; 1 is the optimum."""
    agent = ValueAgent("x", model, tracks=("offline",))
    agent.adapt(game.FAMILY, game.VARIANT, None)
    return float(play(game.FAMILY, game.VARIANT, agent, range(500, 500 + episodes)).returns.mean()) / (game.HORIZON - 1)


@pytest.mark.parametrize("name", KINDS)
def test_the_optimum_is_found_in_logs_of_random_play(name):
    model = trained(team() if name == "brq" else fresh(KINDS[name]), game.logged(200), 250, 0.0)
    assert earned(model) > 0.95


@pytest.mark.parametrize("name", ["iql", "qmix"])
def test_the_optimum_is_found_online_with_the_budget_and_not_a_slot_more(name):
    environment = MeteredEnvironment(game.FAMILY, game.VARIANT, site=1, shots=200)
    config = PracticeConfig(
        updates=300, learning_rate=2e-3, epsilon_decay=0.5
    )  # with less exploration IQL settles for less here
    model, steps = learn_online(fresh(KINDS[name]), environment, environment.budget, config)
    assert environment.left == 0 and steps == 300
    assert earned(model) > 0.95
    with pytest.raises(BudgetError, match="0 of 3200 left"):
        environment.reset(1)
        environment.step(torch.zeros(1, 2, dtype=torch.int64))


def test_learning_from_scratch_waits_for_the_first_round_and_standardises_observations_to_it():
    width, rounds, seen, told = 3, 4, [], []

    class Watched(MeteredEnvironment):
        def step(self, action):
            seen.append(self._obs)
            obs, *rest = super().step(action)
            self._obs = obs
            return obs, *rest

        def reset(self, episodes):
            self._obs, info = super().reset(episodes)
            return self._obs, info

    environment = Watched(game.FAMILY, game.VARIANT, site=1, shots=width * rounds)
    config = PracticeConfig(updates=40, rounds=rounds, standardise=True)
    model, steps = learn_online(
        fresh(Iql), environment, environment.budget, config, lambda learned: told.append((environment.used, digest(learned)))
    )
    first = torch.cat(seen[: game.HORIZON]).flatten(0, -2)
    assert torch.allclose(model.standardiser.mean_signs, first.mean(0)) and torch.allclose(
        model.standardiser.std_signs, first.std(0)
    )
    assert [used for used, _ in told] == list(range(width * game.HORIZON, environment.budget + 1, width)) and steps == 40
    assert told[-1][1] == digest(model) != told[0][1]


def test_a_replay_samples_the_episodes_that_it_remembers():
    def recorded(memory: int, episodes: int, slots: int) -> list[float]:
        generator = torch.Generator().manual_seed(0)
        replay = Replay(game.FAMILY, game.VARIANT, 6, history=0, slots=1, memory=memory, generator=generator)
        shape = (1, game.VARIANT.agents)
        for episode in range(episodes):
            for slot in range(slots if episode == episodes - 1 else game.HORIZON):
                columns = {"obs": torch.zeros(*shape, game.FAMILY.obs_size), "action": torch.zeros(shape, dtype=torch.int64)}
                columns |= {"action_mask": torch.ones(*shape, game.FAMILY.mask_size, dtype=torch.bool)}
                replay.add(episode, slot, reward=torch.full(shape, float(episode)), **columns)
        return sorted({float(x) / game.VARIANT.agents for x in replay.sample(400).reward.flatten()})

    assert recorded(6, 4, game.HORIZON) == [0, 1, 2, 3]
    assert recorded(2, 4, game.HORIZON) == [2, 3]
    assert recorded(2, 4, 1) == [1, 2]  # the fourth is too short for a window as yet


def test_double_q_takes_the_online_choice_and_the_targets_value():
    online, target = torch.tensor([[1.0, 5.0, 9.0], [4.0, 3.0, 0.0]]), torch.tensor([[10.0, 20.0, 30.0], [7.0, 8.0, 9.0]])
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    assert double_q(online, target, allowed).tolist() == [20.0, 7.0]


def nothing_read(batch: Windows) -> Tensor:
    """What a network without support encoder reads of a site, at every slot with three before it."""
    return torch.zeros(*batch.reward[:, 3:].shape, 0)


def windows(model: ValueModel, episodes: int = 8, choices: int = game.SIGNS):
    """A batch of logged games."""
    data = Episodes.from_support(game.VARIANT, game.logged(episodes, choices), model.config.history - 1, 2)
    return WindowSampler(game.FAMILY, [data], torch.Generator().manual_seed(0)).sample(64)


def test_the_independent_loss_is_the_huber_loss_to_reward_and_discounted_double_q():
    model, target = fresh(Iql), fresh(Iql, seed=1)
    batch = windows(model)
    total = []
    for row in range(len(batch.group)):
        for slot in (3, 4):

            def values(network: ValueModel, at: int, row: int = row) -> Tensor:
                position = torch.tensor(float(row % game.AGENTS)), torch.tensor(float(game.AGENTS))
                view = (batch.obs[row, at - 3 : at + 1].flatten(), batch.descriptor[row], identity(*position))
                return network.heads["signs"](network.trunk(torch.cat(view), "signs"))

            reward = (float(batch.reward[row, slot]) - 0.1 * 1.0) * UNITS / 2.0  # the middle of the range (0, 2) is 1
            best = values(model, slot + 1).argmax()
            error = float(
                (values(model, slot)[batch.action[row, slot]] - reward - 0.9 * values(target, slot + 1)[best]).detach()
            )
            total.append(0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5)
    assert model.loss(target, batch, "signs", 0.0).item() == pytest.approx(sum(total) / len(total), rel=1e-4)


def test_the_joint_value_never_falls_when_an_agents_value_rises():
    model = fresh(Qmix)
    for parameter in model.mixer.parameters():
        torch.nn.init.normal_(parameter)  # whatever is learned
    batch = windows(model)
    mix = model.mixer(batch.obs[:, 3:], batch, "signs")
    values = torch.randn(len(batch.group), 3, requires_grad=True)
    total = mix.total(values, batch)
    (slope,) = torch.autograd.grad(total.sum(), values)
    assert (slope >= 0).all() and (slope > 0).any()
    row = 5
    raised = values.detach().clone()
    raised[row] += 1.0
    change = mix.total(raised, batch) - total
    others = torch.arange(batch.groups) != batch.group[row]
    assert (change[others] == 0).all() and (change[batch.group[row]] > 0).any()


def test_the_joint_value_does_not_depend_on_the_order_of_the_agents():
    model = fresh(Qmix)
    batch = windows(model)
    values = torch.randn(len(batch.group), 3)
    swapped = torch.arange(len(batch.group)).view(-1, game.AGENTS).flip(1).flatten()
    totals = [model.mixer(batch.obs[order, 3:], batch, "signs").total(values[order], batch) for order in (slice(None), swapped)]
    assert torch.allclose(*totals, atol=1e-5)


@pytest.mark.parametrize("name", ["iql", "qmix"])
def test_conservatism_lowers_the_value_of_actions_that_exemplary_logs_lack(name):
    data = game.logged(60, choices=1)  # nobody ever plays the last sign, and all play is random
    gaps = []
    for aim, weight in (("random", 0.0), ("random", 3.0), ("expert", 3.0)):
        model = trained(fresh(KINDS[name], aim=aim), data, 60, weight)
        batch = windows(model, choices=1)
        with torch.no_grad():
            values = model(agent_views(batch, 4, nothing_read(batch)), "signs")
        gaps.append(float((values[..., 0] - values[..., 1]).mean()))
    assert gaps[1] > gaps[0] + 1.0
    assert gaps[2] == gaps[0]  # who is no example is not followed


def team(seed: int = 0, **settings) -> Brq:
    """A brq whose unit of value is half a reward, and which improves on random play."""
    return fresh(Brq, seed, **{"rewards": {"signs": (0.25, 0.5)}, "aim": "random", **settings})


@pytest.mark.parametrize("conditioned", [(), ("signs",)])
def test_the_teams_value_is_the_mean_of_the_shares_and_follows_the_improved_clone(conditioned):
    settings = {"temperatures": {"signs": 0.7}, "behaviour_conditioned": conditioned}
    model, target = team(**settings), team(seed=1, **settings)
    batch = windows(model)
    batch.quality[:] = torch.arange(batch.groups).repeat_interleave(game.AGENTS) % len(QUALITIES)

    def sees(row: int, at: int, told: Tensor) -> Tensor:
        return torch.cat([batch.obs[row, at - 3 : at + 1].flatten(), batch.descriptor[row], told])

    def shares(network: Brq, row: int, at: int) -> Tensor:
        told = torch.eye(len(QUALITIES))[batch.quality[row]] if conditioned else torch.zeros(len(QUALITIES))
        return network.heads["signs"](network.trunk(sees(row, at, told), "signs"))

    def clone(network: Brq, row: int, at: int, quality: int) -> Tensor:
        told = torch.eye(len(QUALITIES))[quality]
        return network.clone_heads["signs"](network.clone_trunk(sees(row, at, told), "signs")).softmax(-1)

    cloning, huber = [], []
    for group in range(batch.groups):
        rows = range(group * game.AGENTS, (group + 1) * game.AGENTS)
        for slot in (3, 4):
            taken, following = 0.0, 0.0
            for row in rows:
                action = int(batch.action[row, slot])
                cloning.append(-float(clone(model, row, slot, int(batch.quality[row]))[action].log().detach()))
                taken += float(shares(model, row, slot)[action].detach()) / game.AGENTS
                later = shares(target, row, slot + 1).detach()
                policy = clone(target, row, slot + 1, QUALITIES.index("random")).detach() * (later / 0.7).exp()
                following += float(policy / policy.sum() @ later) / game.AGENTS
            error = taken - (float(batch.reward[rows[0], slot]) - 0.25) / 0.5 - 0.9 * following
            if not conditioned or batch.quality[rows[0]] != QUALITIES.index("mixed"):
                huber.append(0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5)
    expected = sum(cloning) / len(cloning) + 4.0 * sum(huber) / len(huber)
    assert model.loss(target, batch, "signs", 0.0).item() == pytest.approx(expected, rel=1e-4)


def test_the_value_is_blind_to_who_plays_and_the_clone_is_told():
    model, target = team(), team(seed=1)
    slopes = []
    for quality in (0, 2):
        batch = windows(model)
        batch.quality.fill_(quality)
        model.zero_grad()
        model.loss(target, batch, "signs", 0.0).backward()
        parts = ([model.trunk, model.heads], [model.clone_trunk, model.clone_heads])
        slopes.append([torch.cat([p.grad.flatten() for part in several for p in part.parameters()]) for several in parts])
    (value, clone), (same, other) = slopes
    assert torch.equal(value, same) and value.abs().sum() > 0
    assert not torch.allclose(clone, other)


def test_it_plays_the_mode_or_draws_from_clone_times_exponential_value():
    model = team(evaluation_temperatures={"signs": 0.5})
    batch = windows(model)
    view = agent_views(batch, 4, nothing_read(batch))
    view = AgentView(*(part[0, 0].expand(20_000, *part.shape[2:]) for part in vars(view).values()))
    mask = torch.ones(20_000, game.SIGNS, dtype=torch.bool)
    with torch.no_grad():
        model.heads["signs"].both.bias[1] += 0.7
        logits = model.clone(view, mask, "signs") + model(view, "signs") / 0.5
        assert model.draws("signs") == 0
        mode = model.choose(view, mask, torch.zeros(20_000, 0), "signs")
        model.config = replace(model.config, sampled=("signs",))
        luck = torch.rand(20_000, model.draws("signs"), generator=torch.Generator().manual_seed(0))
        drawn = model.choose(view, mask, luck, "signs")
    assert (mode == logits.argmax(-1)).all()
    assert drawn.float().mean().item() == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=0.015)


def test_forbidden_joint_actions_are_those_of_forbidden_choices():
    codec = ActionCodec(get_family("offload").actions)
    allowed = table_mask(codec, torch.tensor([True, False, True, False, False]))
    servers = codec.decode(codec.table())[:, 0]
    assert allowed.tolist() == [bool(server in (0, 2)) for server in servers]
