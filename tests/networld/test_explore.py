"""Forks of the episodes: what an agent's doing something else is said to lead to is what it leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import smooth_l1_loss
from wbench import NetWorld
from wbench.benchmark.registry import get_variant
from wbench.benchmark.rollout import play
from wbench.networld.losses import SPREAD, deviation_error
from wbench.networld.online.config import Forks
from wbench.networld.online.counterfactual import Explorer
from wbench.networld.online.replay import OwnPlay
from wbench.networld.online.train import PRESETS

SEEDS = (60_000_000, 60_000_001, 60_000_002)
NAMES = ("power/n10-d800-v0-load0.7", "offload/n10-e3-p0.3", "access/n8-c2-load0.3")


def explored(name, model, forks, seed=0):
    """An explorer that has played, and what was recorded of it: [E, T, ...] by name."""
    family, variant = get_variant(name)
    agent, slots = Explorer(model, torch.full((3,), 0.2), forks, torch.Generator().manual_seed(seed)), []
    agent.adapt(family, variant, None)
    play(family, variant, agent, SEEDS, record=slots.append)
    names = ("obs", "action", "action_mask", "reward")
    return agent, {name: torch.stack([getattr(slot, name) for slot in slots], 1) for name in names}


@pytest.fixture(scope="module")
def worthless():
    """A network that sees no value in anything, so that a fork is worth the rewards that were played there."""
    model = NetWorld.from_pretrained("networld-small")
    model.critic.forward = lambda context, family: context.new_zeros(*context.shape[:-1], len(model.codecs[family].table()))
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_gain_is_the_difference_of_two_replays(name, worthless):
    """Every deviation of one slot, played again from the start of its episode in an environment of its own."""
    family, variant = get_variant(name)
    agent, columns = explored(name, worthless, Forks(every=40, episodes=2, slots=1))
    codec, unit, n = worthless.codecs[family.name], worthless.config.units[family.name], variant.agents
    assert len(agent.deviations) >= 3 and agent.forked == sum(len(d.place) * (n + 1) for d in agent.deviations)
    found = 0
    for d in agent.deviations[:3]:
        for (episode, slot), usual, other, gain in zip(d.place.tolist(), d.usual, d.other, d.gain, strict=True):
            choice = usual.expand(n + 1, n).clone()
            choice[torch.arange(n), torch.arange(n)] = other
            env = family.make(variant, "cpu")
            env.reset([SEEDS[episode]] * (n + 1))
            for before in range(slot):
                env.step(columns["action"][episode, before].unsqueeze(0).repeat(n + 1, *(1,) * (columns["action"].dim() - 2)))
            reward = env.step(codec.decode(codec.table()[choice]))[1].sum(1)
            assert gain == pytest.approx((reward[:n] - reward[n]) * n / unit, abs=1e-3)
            found += int((gain != 0).sum())
    assert found > 10


@pytest.mark.parametrize("name", NAMES)
def test_agents_do_something_else_that_is_allowed_if_there_is_such_a_thing(name):
    model = NetWorld.from_pretrained("networld-small")
    agent, columns = explored(name, model, Forks(every=20, episodes=3, slots=2))
    mask = torch.cat([columns["action_mask"][d.place[:, 0], d.place[:, 1]] for d in agent.deviations])
    usual, other = (torch.cat([getattr(d, key) for d in agent.deviations]) for key in ("usual", "other"))
    number = len(model.codecs[name.partition("/")[0]].table())
    allowed = mask.repeat_interleave(number // mask.shape[-1], -1)
    assert allowed.gather(-1, other.unsqueeze(-1)).all()
    assert torch.equal(usual != other, allowed.sum(-1) > 1) and (usual != other).any()


def test_forking_changes_nothing_in_the_episodes_and_is_the_same_again():
    model = NetWorld.from_pretrained("networld-small")
    often, columns = explored(NAMES[0], model, Forks(every=16, episodes=2, slots=3))
    again, _ = explored(NAMES[0], model, Forks(every=16, episodes=2, slots=3))
    never, plain = explored(NAMES[0], model, Forks(every=1000, episodes=2, slots=3))
    assert never.forked == 0 and all(torch.equal(column, plain[name]) for name, column in columns.items())
    gains = [torch.cat([d.gain for d in agent.deviations]) for agent in (often, again)]
    assert torch.equal(*gains)


def test_the_error_is_that_of_the_values_and_who_changes_nothing_does_not_count(tmp_path):
    family, _ = get_variant(NAMES[0])
    family = replace(family, variants={name: family.variant(name) for name in ("power/n10-d800-v0-load0.7",)})
    model = NetWorld.from_pretrained("networld-small")
    book = OwnPlay(family, PRESETS["debug"], model.config, tmp_path, torch.Generator().manual_seed(0))
    book.reach(0, model)
    batch, usual, other, gain = book.sample_deviations(40)
    assert len(usual) == 40 and (usual != other).all() and (gain == 0).any()
    values = torch.randn(40, 11, generator=torch.Generator().manual_seed(1))
    model.critic.forward = lambda context, family: values
    guess, told = values[torch.arange(40), other] - values[torch.arange(40), usual], gain != 0
    expected = smooth_l1_loss(guess[told], gain[told], beta=SPREAD)
    assert float(deviation_error(model, batch, "power", usual, other, gain)) == pytest.approx(float(expected), rel=1e-5)


def test_deviations_are_relabelled_with_what_was_seen(tmp_path):
    """Edges have random numbers in what is learned from, and nobody is said to have chosen one that is not there."""
    family, variant = get_variant(NAMES[1])
    model = NetWorld.from_pretrained("networld-small")
    book = OwnPlay(
        replace(family, variants={variant.name: variant}), PRESETS["debug"], model.config, tmp_path, torch.Generator()
    )
    book.reach(0, model)
    absent = set()
    for _ in range(12):
        seen, usual, other, _ = book.sample_deviations(200)
        mask = seen.action_mask[:, -1]
        absent |= set((~mask.any(0)).nonzero().flatten().tolist())
        for choice in (usual, other):
            assert mask.gather(1, choice.unsqueeze(1) // 5).all()
    assert absent == {1, 2, 3, 4}
