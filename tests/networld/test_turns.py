"""Turns that all agents compute alike: known schedules, who may send, and what the exchange is worth at a site."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.support import support
from wbench.benchmark.registry import get_family
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES
from wbench.errors import InvalidValueError
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.turns import exchange, take_places

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n8-c3-load0.15-l48")
SITE = RANGES["dev"][8]


@pytest.fixture(scope="module")
def small() -> NetWorld:
    return NetWorld.from_pretrained("networld-small")


@pytest.fixture(scope="module")
def logs():
    return support(FAMILY, VARIANT, SITE, 5)


def test_the_best_places_go_to_those_that_were_served_least():
    pay = torch.tensor([[3.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, -4.0, 1.0]])
    assert take_places(pay).tolist() == [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 1, 2]]
    pay = torch.rand(96, 7, generator=torch.Generator().manual_seed(0))
    places = take_places(pay)
    assert places.sort(dim=1).values.tolist() == [list(range(7))] * 96
    fixed, served = pay.sum(0), pay.gather(1, places).sum(0)
    assert served.max() - served.min() < 1.0 < fixed.max() - fixed.min()


def test_an_agent_sees_the_turns_of_its_place_and_waits_in_others(small, logs):
    agent = NetWorldAgent(small)
    agent.adapt(FAMILY, VARIANT, logs)
    turns = agent._turns
    assert turns is not None and turns.turn.sum(1).tolist() == ([3, 3, 2] * 43)[:128]  # eight users on three channels
    slot = 5
    place = turns.place[slot]
    assert sorted(place.tolist()) == list(range(8)) and place.tolist() != list(range(8))
    seen = logs.obs[1, slot - 3 : slot + 1].transpose(0, 1)  # [N, L, O]
    told = turns.history(seen, slot)
    of_place = logs.obs[0, slot - 3 : slot + 1].transpose(0, 1)[place]
    assert torch.equal(told[..., turns.index], of_place[..., turns.index])
    others = [i for i in range(FAMILY.obs_size) if i not in turns.index.tolist()]
    assert torch.equal(told[..., others], seen[..., others])
    mask = turns.allowed(torch.ones(16, 5, dtype=torch.bool), slot)
    assert torch.equal(mask[:8, 1], turns.turn[slot, place]) and torch.equal(mask[:8], mask[8:]) and mask[:, 0].all()


def test_users_that_exchange_turns_earn_more(small, logs):
    def played(*, turns: bool):
        agent = NetWorldAgent(small, PlannerConfig(turns=turns))
        agent.adapt(FAMILY, VARIANT, logs)
        return play(FAMILY, VARIANT, agent, [SITE] * 6, range(700_000, 700_006))

    fixed, exchanged = played(turns=False), played(turns=True)
    assert float(exchanged.returns.mean()) > float(fixed.returns.mean())


def test_fixed_turns_stay_where_nothing_says_better_ones(small, logs):
    columns = "obs", "action", "reward", "action_mask", "quality"
    two = replace(logs, **{name: getattr(logs, name)[:2] for name in columns})
    for agent, given in ((NetWorldAgent(small), two), (NetWorldAgent(small, PlannerConfig(turns=False)), logs)):
        agent.adapt(FAMILY, VARIANT, given)
        assert agent._turns is None
    idle = replace(logs, action_mask=logs.action_mask & (torch.arange(5) == 0))
    site = NetWorldAgent(small)
    site.adapt(FAMILY, VARIANT, logs)
    assert exchange(small, site._site, FAMILY, VARIANT, idle, 1.0) is None
    assert exchange(small, site._site, replace(FAMILY, turns=()), VARIANT, logs, 1.0) is None
    with pytest.raises(InvalidValueError, match="turns is 'trun', but must be parts of the layout: queue, age"):
        replace(FAMILY, turns=("trun",))
