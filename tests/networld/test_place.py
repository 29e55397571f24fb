"""A world model at a place: what is imagined has the shapes of play, follows the policy, and pays about what play pays."""

from __future__ import annotations

import pytest
import torch
import wbench
from wbench.benchmark.agent import Agent, Support
from wbench.errors import InvalidValueError, UnknownNameError

ACCESS, POWER = "access/n8-c3-load0.15-l48", "power/d2d-n20-s500-v1-load0.12-l48"


@pytest.fixture(scope="module")
def world():
    return wbench.load_world("networld")


@pytest.fixture(scope="module")
def place(world):
    return world.at(ACCESS, wbench.load_support(ACCESS, "dev:0", shots=2))


class Counting(Agent):
    """A rule that takes what it sees for whole numbers."""

    name = "counting"

    def act(self, obs, inbox, state):
        return torch.zeros(3, dtype=torch.long)[(obs[..., 0] + 3).long()]


def idle(obs, info):
    """Nobody ever sends."""
    return torch.zeros(obs.shape[:2], dtype=torch.long)


def test_what_is_imagined_has_the_shapes_of_play(world, place):
    found = place.imagine("random", episodes=3, horizon=2)
    assert found.obs.shape == (3, 3, 8, 37) and found.action.shape == found.reward.shape == (3, 2, 8)
    assert found.action_mask.gather(-1, found.action.unsqueeze(-1)).all() and found.returns.shape == (3,)
    assert all(bool((start == place.support.obs[:, 0]).all((1, 2)).any()) for start in found.obs[:, 0])
    assert "obs [3, 3, 8, 37], action [3, 2, 8], reward [3, 2, 8]" in repr(found) and "read 2 logged episodes" in repr(place)
    assert repr(world).startswith("WorldModel(networld: 2,6") and world.parameters == world.world.parameters


def test_it_depends_on_numbers_and_policy_alone(place):
    again = [place.imagine(policy, 2, 2, first=first).obs for policy, first in ((idle, 0), (idle, 0), (idle, 7), ("random", 0))]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2]) and not torch.equal(again[0], again[3])


def test_who_never_sends_earns_nothing(place):
    assert place.imagine(idle, 16, 4).reward.sum(2).mean().abs() < 0.02
    assert place.imagine("random", 16, 4).reward.sum(2).mean() > 0.05


def test_a_policy_watches_the_logged_slots_before_the_start(place):
    policy, watched = wbench.load_policy("bc"), []
    policy.adapt(ACCESS, place.support)
    inner = policy.agent.act
    policy.agent.act = lambda obs, inbox, state: watched.append((state.slot, obs)) or inner(obs, inbox, state)
    found = place.imagine(policy, 2, 1, start=6)
    assert [slot for slot, _ in watched] == list(range(7)) and torch.equal(watched[-1][1], found.obs[:, 0])
    assert all(bool((seen == place.support.obs[:, 3]).all((1, 2)).any()) for seen in watched[3][1])


def test_it_is_an_environment_that_takes_arrays(place):
    env = place.environment(horizon=2, start=5)
    with pytest.raises(InvalidValueError, match="step is 'before reset', but must be after it"):
        env.step(torch.zeros(4, 8, dtype=torch.long))
    obs, info = env.reset(4)
    assert all(bool((start == place.support.obs[:, 5]).all((1, 2)).any()) for start in obs) and "2 slots, from 2" in repr(env)
    for last in (False, True):
        obs, _, terminated, truncated, info = env.step(idle(obs, info).numpy())
        assert obs.shape == (4, 8, 37) and bool(truncated.all()) == last and not terminated.any()


@pytest.mark.slow
def test_a_policy_like_the_logged_ones_earns_what_is_imagined(world):
    """In units of what random and genie are apart; a policy far from the logged ones is imagined to earn too much."""
    logs = wbench.load_support(POWER, "dev:1", shots=5)
    place, policy = world.at(POWER, logs), wbench.load_policy("bc")
    policy.adapt(POWER, logs)
    env, paid = wbench.make(POWER, "dev:1", episodes=16), []
    obs, _ = env.reset()
    policy.reset(env)
    for _ in range(4):
        obs, reward, *_ = env.step(policy.act(obs))
        paid.append(reward.sum(1).mean())
    whole = wbench.normalised_score(POWER, "dev:1", torch.tensor([0.0, 1.0]))  # of returns, so in points a unit of return
    points = float(whole[1] - whole[0]) * env.variant.horizon
    off = float(place.imagine(policy, 16, 4).reward.sum(2).mean() - sum(paid) / 4) * points
    assert abs(off) < 15


def test_bad_input_is_named(world, place):
    logs = place.support
    for act, said in (
        (lambda: world.at(ACCESS, None), "shots is None, but must be one episode or more"),
        (lambda: world.at(POWER, logs), r"support of .* is 'of \(128, 8, 37\)"),
        (lambda: place.imagine("random", 2, 0), r"horizon is 0, but must be in \[1, 128\]"),
        (lambda: place.imagine("random", 2, 8, start=125), r"horizon is 8, but must be in \[1, 3\] from slot 125"),
        (lambda: place.environment(start=128), "start is 128"),
        (lambda: place.imagine("random", 2, 2, start=1.5), "start is 1.5, but must be a whole number, 0 or more"),
        (lambda: place.imagine("random", 0), "episodes is 0, but must be a whole number, 1 or more"),
        (lambda: place.imagine("oracle", 2, 2), "policy is 'oracle', but must be one that is told no site"),
        (lambda: place.imagine(3, 2, 2), "policy is 'int', but must be a Policy, an agent, or a function"),
        (lambda: place.imagine(wbench.load_policy("bc"), 2, 2), "adapted to access"),
        (lambda: place.imagine(Counting(), 2, 2), r"counting cannot read imagined observations \(IndexError"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            act()
    with pytest.raises(UnknownNameError, match=r"unknown world 'netwrld'\. Did you mean 'networld'"):
        wbench.load_world("netwrld")


@pytest.mark.slow
def test_logs_of_the_place_make_its_pay_better_known(world):
    """Of one place each is judged by others of it; of five places by those of the others, which tell nothing."""
    found = world.at(ACCESS, wbench.load_support(ACCESS, "dev:1", shots=10)).fidelity()
    parts = [wbench.load_support(ACCESS, f"dev:{site}", shots=2) for site in range(5)]
    names = ("obs", "action", "reward", "action_mask")
    columns = {name: torch.stack([getattr(part, name) for part in parts], 1).flatten(0, 1) for name in names}
    mixed = world.at(ACCESS, Support(**columns, quality=("own",) * 10)).fidelity()
    assert (found.shots, found.draws) == (10, 160) and 0 < found.obs < 1
    assert found.pay > found.pay_unread + 0.05 and found.pay - found.pay_unread > mixed.pay - mixed.pay_unread + 0.05
    with pytest.raises(InvalidValueError, match="2 or more: each is judged by what the others told"):
        world.at(ACCESS, wbench.load_support(ACCESS, "dev:1", shots=1)).fidelity()
