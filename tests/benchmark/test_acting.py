"""Acting in a loop of one's own is playing: the same returns, whatever the agent, the interface and the arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import wbench
from wbench.benchmark.agent import Agent
from wbench.benchmark.registry import get_family, get_variant, list_agents
from wbench.benchmark.rollout import play
from wbench.errors import InvalidValueError, UnknownNameError

ACCESS, POWER, OFFLOAD = (get_family(name).select("train")[0].name for name in ("access", "power", "offload"))
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_agent.py"
SITES, SEEDS = [1_000_000, 1_000_001], [3, 4]  # dev sites


class Talker(Agent):
    """Sends with a probability that its inbox and a coin decide; it remembers what it did."""

    name, message_size = "talker", 2

    def begin(self, state):
        state.memory["sent"] = torch.zeros(state.batch, state.variant.agents)

    def message(self, obs, state):
        return torch.stack([obs[..., 0], state.memory["sent"]], -1)

    def act(self, obs, inbox, state):
        state.memory["sent"] += 1.0
        send = state.random.uniform(obs.shape[1]) < 0.3 + inbox.sum(-1) / (2 + state.slot)
        return (send & state.action_mask[..., 1]).long()


def played(agent: str | Agent, name: str, shots=None) -> list[float]:
    """Returns of the harness."""
    family, variant = get_variant(name)
    one = wbench.load_policy(agent).agent
    one.adapt(family, variant, shots)
    return play(family, variant, one, SITES, SEEDS).returns.tolist()


def loop(agent: str | Agent, name: str, shots=None, masks: bool = False) -> list[float]:
    """Returns of a loop of one's own."""
    policy, env, total = wbench.load_policy(agent), wbench.make(name), torch.zeros(2, dtype=torch.float64)
    policy.adapt(name, shots)
    obs, info = env.reset(SITES, SEEDS)
    policy.reset(env)
    over = torch.zeros(2, dtype=torch.bool)
    while not over.any():
        obs, reward, _, over, info = env.step(policy.act(obs, info) if masks else policy.act(obs))
        total += reward.sum(1, dtype=torch.float64)
    return total.tolist()


SLOW = pytest.param("networld", marks=pytest.mark.slow)


@pytest.mark.parametrize("agent", [*sorted({*list_agents()} - {"networld"}), SLOW, str(EXAMPLE), "an object"])
def test_every_agent_acts_as_it_plays(agent: str):
    one = Talker() if agent == "an object" else agent
    shots = wbench.load_support(ACCESS, "dev:0", shots=2)
    assert loop(one, ACCESS, shots) == played(one, ACCESS, shots)


@pytest.mark.parametrize("name", [POWER, OFFLOAD])
@pytest.mark.parametrize("agent", ["bc", "estimator", "random"])
def test_every_kind_of_action_acts_as_it_plays(agent: str, name: str):
    assert loop(agent, name) == played(agent, name) == loop(agent, name, masks=True)


def test_a_reset_forgets_the_episode_and_keeps_what_was_read():
    policy, env = wbench.load_policy(Talker()), wbench.make(ACCESS)
    policy.adapt(ACCESS)
    rounds = []
    for _ in range(2):
        obs, _ = env.reset(SITES, SEEDS)
        policy.reset(env)
        taken = []
        for _ in range(5):
            taken.append(policy.act(obs))
            obs, *_ = env.step(taken[-1])
        rounds.append(torch.stack(taken))
    assert torch.equal(*rounds)
    policy = wbench.load_policy("estimator")
    assert policy.adapt(ACCESS, wbench.load_support(ACCESS, "dev:0", 3)) is policy.adaptation
    policy.reset()
    assert "3 shots" in repr(policy)


@pytest.mark.parametrize("name", [ACCESS, POWER, OFFLOAD])
def test_gymnasiums_arrays_give_the_same_returns(name: str):
    pytest.importorskip("gymnasium")
    envs, policy, total = wbench.vector_env(name, 2, sites=SITES[::-1]), wbench.load_policy("random"), np.zeros(2)
    policy.adapt(name)
    obs, _ = envs.reset(seed=SEEDS)
    policy.reset(envs)
    over = np.zeros(2, bool)
    while not over.any():
        action = policy.act(obs)
        assert envs.action_space.contains(action)
        obs, reward, _, over, _ = envs.step(action)
        total += reward
    assert envs.played == ((SITES[0], 3), (SITES[1], 4))
    family, variant = get_variant(name)
    assert total.tolist() == play(family, variant, policy.agent, SITES, SEEDS).returns.tolist()


@pytest.mark.parametrize("name", [ACCESS, POWER, OFFLOAD])
def test_pettingzoos_dicts_give_the_same_return(name: str):
    pytest.importorskip("pettingzoo")
    env, policy, total = wbench.parallel_env(name, sites=SITES), wbench.load_policy("belief"), 0.0
    policy.adapt(name)
    obs, _ = env.reset(seed=4)
    policy.reset(env)
    while env.agents:
        actions = policy.act(obs)
        assert all(env.action_space(agent).contains(actions[agent]) for agent in env.agents)
        obs, rewards, *_ = env.step(actions)
        total += sum(rewards.values())
    family, variant = get_variant(name)
    assert total == pytest.approx(play(family, variant, policy.agent, [SITES[0]], [4]).returns.item(), abs=1e-4)


def test_one_episode_without_a_batch_and_coins_of_its_own():
    policy, env = wbench.load_policy("random"), wbench.make(ACCESS, "dev:0")
    policy.adapt(ACCESS)
    obs, _ = env.reset()
    first = policy.act(obs[0])
    assert first.shape == (8,)
    policy.reset(seeds=[0])
    assert torch.equal(policy.act(obs[0]), first)
    policy.reset(seeds=[1])
    assert any(not torch.equal(policy.act(obs[0]), first) for _ in range(3))


def spoilt(column):
    """Two logs, one number of which is NaN."""
    logs = wbench.load_support(ACCESS, "dev:0", shots=2)
    numbers = getattr(logs, column).clone()
    numbers[1, 5, 3] = float("nan")
    return dataclasses.replace(logs, **{column: numbers})


def test_what_is_wrong_in_a_loop_is_said_in_one_line():
    policy, env = wbench.load_policy("bc"), wbench.make(ACCESS, "dev:0")
    obs = torch.zeros(1, 8, env.family.obs_size)
    for wrong, said in (
        (lambda: policy.act(obs), "act is 'before adapt'"),
        (lambda: env.step(torch.zeros(1, 8)), "step is 'before reset', but must be after it: obs, info = env.reset"),
        (lambda: env.qos(), "qos is 'before reset'"),
        (lambda: policy.reset(env), "env is 'not reset yet'"),
        (lambda: policy.reset(3), "env is 'int'"),
        (lambda: policy.adapt(ACCESS, 5), "shots is 5, but must be None, a Support"),
        (
            lambda: policy.adapt(ACCESS, wbench.load_support(POWER)),
            r"support of access/n8-.* is 'of .96, 20, 21. .*of .128, 8, 37.: logs of this very",
        ),
        (lambda: policy.adapt(ACCESS, spoilt("obs")), "obs of the support of access/n8-.* is 'NaN or infinite somewhere'"),
        (lambda: policy.adapt(ACCESS, spoilt("reward")), "reward of the support of access/n8-"),
        (lambda: wbench.load_policy(Talker(), "x"), "checkpoint is 'x'"),
        (lambda: wbench.load_policy(Talker), "agent is .*Talker.*, but must be .* an Agent that was made"),
        (lambda: wbench.load_policy(None), "agent is None, but must be a name of wbench list"),
        (lambda: wbench.load_support(ACCESS, "dev:0-3"), "site is 'dev:0-3', but must be one site"),
        (lambda: wbench.load_support(ACCESS, "dev:0", shots=0), "shots is 0"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            wrong()
    policy.adapt(ACCESS)
    seen, _ = env.reset()
    other = wbench.make(POWER)
    other.reset()
    for wrong, said in (
        (lambda: policy.act(seen[..., 1:]), r"obs.shape is \(1, 8, \d+\), but must be \(B, 8, 37\) or \(8, 37\)"),
        (lambda: policy.act("left"), "obs is 'str'"),
        (lambda: policy.act(seen * torch.nan), "obs is 'with NaN or infinity'"),
        (lambda: policy.act(seen, {}), r"info is \[\], but must be with an action_mask"),
        (lambda: env.step(torch.zeros(1, 7, dtype=torch.long)), r"action.shape is \(1, 7\), but must be \(1, 8\)"),
        (lambda: env.step([[0.5] * 8]), "action.dtype is 'float64', but must be an integer type"),
        (lambda: env.step("up"), "action is 'up', but must be numbers"),
        (lambda: env.reset(seeds=[-1]), "seed is -1"),
        (lambda: env.reset(sites=["dev:0", "dev:1"], seeds=[1, 2, 3]), "sites is '2 sites'"),
        (lambda: wbench.make(ACCESS, "sealed:0"), "sealed sites are the referee's"),
        (lambda: wbench.make(ACCESS, episodes=-1), "episodes is -1"),
        (lambda: wbench.make(ACCESS, episodes=0), "episodes is 0"),
        (lambda: wbench.make(ACCESS, 0.5), "sites is 0.5, but must be a number, a text such as dev:0-3"),
        (lambda: env.reset(seeds=-3), "seed is -3"),
        (lambda: env.reset(seeds=0.5), "seed is 0.5"),
        (lambda: env.reset(seeds="one"), "seed is 'one'"),
        (lambda: env.reset(seeds=[[1], [2]]), r"seed is \[1\], but must be a whole number, 0 or more"),
        (lambda: policy.reset(other), "env is 'of power/.*', but must be of access/.*, which the policy was adapted to"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            wrong()
    policy.act(seen)
    with pytest.raises(InvalidValueError, match=r"obs is '2 episodes', but must be 1 episodes; policy.reset\(\)"):
        policy.act(seen.repeat(2, 1, 1))
    for _ in range(env.variant.horizon - 1):
        policy.act(seen)
    with pytest.raises(InvalidValueError, match=r"act is 'slot 128', but must be below 128; policy.reset\(\)"):
        policy.act(seen)
    oracle = wbench.load_policy("oracle")
    oracle.adapt(ACCESS)
    with pytest.raises(InvalidValueError, match=r"oracle is 'without the environment', .*policy.reset\(env\)"):
        oracle.act(seen)


def test_an_agent_does_not_play_what_it_was_not_trained_on():
    with pytest.raises(InvalidValueError, match="family that tally was trained on, which power is not"):
        wbench.load_policy(EXAMPLE).adapt(POWER)


def test_an_environment_knows_where_it_is_played_and_takes_arrays():
    env, other = wbench.make(OFFLOAD, "dev:0-1", episodes=3), wbench.make(OFFLOAD)
    obs, _ = env.reset()
    assert env.played == ((1_000_000, 0), (1_000_001, 1), (1_000_000, 2)) and len(obs) == 3
    assert torch.equal(other.reset(sites=[1_000_000, 1_000_001, 1_000_000], seeds=range(3))[0], obs)
    choice, level = np.ones((3, obs.shape[1]), int), np.full((3, obs.shape[1], 1), 0.5)
    found = env.step((choice, level))[0]
    joined = np.concatenate([choice[..., None], level], -1)
    assert torch.equal(other.step(joined)[0], found)
    env.reset()
    assert [seed for _, seed in env.played] == [3, 4, 5]


def test_objects_show_themselves_with_shapes():
    env, policy, logs = wbench.make(ACCESS, "dev:0-3"), wbench.load_policy("estimator"), wbench.load_support(ACCESS, "dev:0", 2)
    shapes = f"{ACCESS}: obs [4, 8, 37], action [4, 8] of channel 0-4 (see action_mask)"
    assert repr(env) == f"Environment({shapes}; sites dev:0-3; not reset)"
    env.reset()
    assert "slot 0 of 128" in repr(env)
    assert repr(policy) == "Policy(estimator, not adapted)"
    policy.adapt(ACCESS, logs)
    assert f"Policy(estimator; {ACCESS}: obs [8, 37]" in repr(policy) and "2 shots" in repr(policy)
    assert repr(logs).startswith("Support(2 episodes: obs [2, 128, 8, 37], action [2, 128, 8], reward [2, 128, 8]; mean return")
    assert repr(get_family("access")).startswith("Family(access 2: 15 variants; 37 numbers observed; action channel)")
    assert repr(policy.agent) == "ReferenceAgent(estimator: 0 parameters)"
    assert repr(wbench.vector_env(ACCESS, 4, sites="dev:0")) == f"VectorEpisodes({shapes}; sites dev:0)"
    assert repr(wbench.parallel_env(ACCESS)).startswith(f"ParallelEpisode({ACCESS}: obs [8, 37]")


def test_worlds_are_loaded_by_name():
    world = wbench.load_world("networld")
    assert world.knows(get_family("access")) and world.parameters > 0
    with pytest.raises(UnknownNameError, match=r"unknown world 'netwrld'\. Did you mean 'networld'"):
        wbench.load_world("netwrld")
