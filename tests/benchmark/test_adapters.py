"""PettingZoo and Gymnasium see the same episodes as wbench, and their own checks pass."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from pettingzoo.test import parallel_api_test, parallel_seed_test
from wbench.benchmark.adapters import parallel_env, vector_env
from wbench.benchmark.adapters.spaces import HybridSpace
from wbench.benchmark.data.schema import QOS
from wbench.benchmark.family import ActionComponent, check_action
from wbench.benchmark.registry import get_family, get_variant, list_families
from wbench.benchmark.seeds import SUPPORT_SEEDS
from wbench.errors import InvalidValueError

ACCESS = get_family("access")
VARIANT = "access/n8-c3-load0.15-l48"
CHOICE, LEVEL = ActionComponent("server", "categorical", 3), ActionComponent("frequency", "ordinal", 5, 0.5, 2.0)
SHAPES = {  # kinds of action beyond those of the built-in families
    "choice": (CHOICE,),
    "level": (LEVEL,),
    "levels": (LEVEL, ActionComponent("power", "ordinal", 5)),
    "hybrid": (CHOICE, LEVEL),
    "choice-and-levels": (CHOICE, LEVEL, ActionComponent("power", "ordinal", 5)),
}


def make(name):
    family, variant = get_variant(name)
    return family.make(variant, "cpu")


class EchoEnv:
    """Shows the first component of everybody's last action; lasts three slots; server 2 is never allowed."""

    def __init__(self, variant, components):
        self.variant, self.components, self.action = variant, components, None

    def _show(self, first):
        mask = torch.tensor([True, True, False] if self.components[0].kind == "categorical" else [True])
        info = {"action_mask": mask.expand(*first.shape, -1), "agent_mask": torch.ones_like(first, dtype=torch.bool)}
        return first[..., None].expand(*first.shape, ACCESS.obs_size).float(), info

    def reset(self, sites, seeds):
        self.slot = 0
        return self._show(torch.tensor(seeds)[:, None].expand(-1, self.variant.agents))

    def step(self, action):
        self.action = check_action(action, self.components, len(action), self.variant.agents)
        self.slot += 1
        first = self.action if len(self.components) == 1 else self.action[..., 0]
        obs, info = self._show(first)
        over = torch.full((len(action),), self.slot == 3)
        return obs, first.float(), over & False, over, info | dict.fromkeys(QOS, first.float())

    def qos(self):
        return {}


def echo(kind):
    """A fake family of one kind of action."""
    components = SHAPES[kind]
    return replace(ACCESS, actions=components, make=lambda variant, device: EchoEnv(variant, components))


def flat(action):
    """The numbers of one agent's action in a row."""
    return np.concatenate([np.ravel(part) for part in (action if isinstance(action, tuple) else (action,))])


def tasks():
    """A train and a held-out variant of every family."""
    return [
        v for name in list_families() for v in (get_family(name).select("train")[0], get_family(name).select("held-out")[-1])
    ]


@pytest.mark.parametrize("variant", tasks(), ids=lambda variant: variant.name)
def test_pettingzoo_accepts_every_family(variant):
    env = parallel_env(variant)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(env, num_cycles=300)
    assert env.possible_agents == [f"agent_{i}" for i in range(variant.agents)] and env.agents == []
    obs, infos = env.reset(seed=1)
    for agent in env.agents:
        assert env.observation_space(agent).contains(obs[agent])
        assert infos[agent].keys() == ({"action_mask"} if isinstance(obs[agent], dict) else set())


@pytest.mark.parametrize("kind", SHAPES)
def test_every_kind_of_action_reaches_the_simulator(kind):
    env = parallel_env(VARIANT, family=echo(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(env, num_cycles=10)
        parallel_seed_test(lambda: parallel_env(VARIANT, family=echo(kind)), num_cycles=10)
    obs, _ = env.reset(seed=5)
    actions = {}
    for agent in env.agents:
        mask = obs[agent]["action_mask"] if isinstance(obs[agent], dict) else None
        actions[agent] = env.action_space(agent).sample(mask) if mask is not None else env.action_space(agent).sample()
        assert env.action_space(agent).contains(actions[agent])
    env.step(actions)
    sent = np.array([flat(actions[agent]) for agent in env.possible_agents], dtype=np.float32)
    assert np.array_equal(env.simulator.action[0].reshape(8, -1).numpy(), sent)

    envs = vector_env(VARIANT, 4, family=echo(kind))
    envs.reset(seed=0)
    envs.action_space.seed(0)
    batch = envs.action_space.sample()
    assert envs.action_space.contains(batch)
    envs.step(batch)
    parts = [np.asarray(part).reshape(4, 8, -1) for part in (batch if isinstance(batch, tuple) else (batch,))]
    if SHAPES[kind][0] is CHOICE:  # its last one is forbidden
        parts[0] = np.where(parts[0] == 2, 0, parts[0])
    assert np.allclose(envs.simulator.action.reshape(4, 8, -1).numpy(), np.concatenate(parts, -1))


def test_hybrid_actions_are_sampled_within_the_mask():
    space = parallel_env(VARIANT, family=echo("hybrid")).action_space("agent_0")
    assert isinstance(space, HybridSpace)
    assert {int(space.sample(np.array([0, 1, 0], np.int8))[0]) for _ in range(20)} == {1}


def test_an_episode_is_the_one_that_wbench_plays():
    env, own = parallel_env(VARIANT), make(VARIANT)
    obs, infos = env.reset(seed=42)
    tensor, info = own.reset([42], [42])
    generator = np.random.default_rng(0)
    while env.agents:
        assert np.array_equal(np.stack([obs[agent]["observation"] for agent in env.possible_agents]), tensor[0].numpy())
        assert np.array_equal(env.state(), tensor.flatten().numpy()) and env.state_space.contains(env.state())
        masks = [obs[agent]["action_mask"] for agent in env.possible_agents]
        assert np.array_equal(np.stack(masks), info["action_mask"][0].numpy())
        assert all(np.array_equal(infos[agent]["action_mask"], obs[agent]["action_mask"]) for agent in env.possible_agents)
        choice = [int(generator.choice(np.flatnonzero(mask))) for mask in masks]
        obs, rewards, terminated, truncated, infos = env.step(dict(zip(env.agents, choice, strict=True)))
        tensor, reward, _, over, info = own.step(torch.tensor([choice]))
        assert list(rewards.values()) == reward[0].tolist() and not any(terminated.values())
        assert set(truncated.values()) == {bool(over[0])}
        for name in QOS:
            assert [infos[agent][name] for agent in env.possible_agents] == info[name][0].tolist()
    assert env.qos() == {name: float(value[0]) for name, value in own.qos().items()}


def test_a_vector_is_the_same_episodes_and_its_reward_the_teams():
    envs, own = vector_env(VARIANT, 3), make(VARIANT)
    obs, infos = envs.reset(seed=10)
    tensor, info = own.reset([10, 11, 12], [10, 11, 12])
    assert obs.shape == (3, 8, ACCESS.obs_size) and envs.observation_space.contains(obs)
    assert np.array_equal(obs, tensor.numpy()) and np.array_equal(infos["action_mask"], info["action_mask"].numpy())
    for slot in range(128):
        action = infos["action_mask"].argmax(-1) * 0 + (slot % 8 == np.arange(8)) * 1
        obs, rewards, terminations, truncations, infos = envs.step(action)
        tensor, reward, _, _, info = own.step(torch.from_numpy(action))
        assert np.array_equal(obs, tensor.numpy()) and np.array_equal(infos["rewards"], reward.numpy())
        assert rewards.dtype == np.float64 and np.allclose(rewards, reward.sum(1).numpy()) and rewards.shape == (3,)
        assert not terminations.any() and truncations.tolist() == [slot == 127] * 3 and ("qos" in infos) == (slot == 127)
    assert all(np.array_equal(infos["qos"][name], value.numpy()) for name, value in own.qos().items())
    listed, _ = vector_env(VARIANT, 3).reset(seed=[12, 10, 11])
    assert np.array_equal(listed, own.reset([12, 10, 11], [12, 10, 11])[0].numpy())


def test_the_step_after_the_end_starts_the_next_episodes_as_gymnasium_expects():
    envs = RecordEpisodeStatistics(vector_env(VARIANT, 2))
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP and envs.unwrapped.num_envs == 2

    def episodes():
        first, _ = envs.reset(seed=3)
        returns, starts = np.zeros(2), [first]
        for _ in range(2):
            for _ in range(128):
                obs, reward, _, over, infos = envs.step(np.ones((2, 8), dtype=np.int64))
                returns += reward
            assert over.all() and np.allclose(infos["episode"]["r"], returns) and infos["episode"]["l"].tolist() == [128, 128]
            obs, reward, _, over, infos = envs.step(np.full((2, 8), 99))  # ignored
            assert not over.any() and not reward.any() and "rewards" not in infos
            returns = np.zeros(2)
            starts.append(obs)
        return np.stack(starts)

    starts = episodes()
    assert not np.array_equal(starts[0], starts[1]) and not np.array_equal(starts[1], starts[2])
    assert np.array_equal(starts, episodes())  # what follows a seed follows from it
    listed, infos = DictInfoToList(vector_env(VARIANT, 2)).reset(seed=0)
    assert len(infos) == 2 and infos[1]["action_mask"].shape == (8, ACCESS.mask_size) and len(listed) == 2


def test_sites_are_texts_too():
    env, envs = parallel_env(VARIANT, sites="dev:2"), vector_env(VARIANT, 2, sites="dev:2")
    env.reset(seed=0), envs.reset(seed=0)
    assert env.played == ((1_000_002, 0),) and envs.played == ((1_000_002, 0), (1_000_002, 1))
    assert "sites dev:2" in repr(env) and "sites dev:2" in repr(envs)
    with pytest.raises(InvalidValueError, match="like 3, 0-4 or dev:0-9"):
        parallel_env(VARIANT, sites="deev:2")


def test_unseeded_resets_draw_training_scenarios_only(monkeypatch):
    seen = []
    for env in (parallel_env(VARIANT), vector_env(VARIANT, 4)):
        reset = env.simulator.reset
        monkeypatch.setattr(env.simulator, "reset", lambda sites, seeds, reset=reset: seen.extend(seeds) or reset(sites, seeds))
        for _ in range(3):
            env.reset()
        env.reset(seed=7)
        env.reset()
        first = seen[-1]
        env.reset(seed=7)
        env.reset()
        assert seen[-1] == first
    assert len(set(seen)) > 15 and all(0 <= seed < SUPPORT_SEEDS for seed in seen)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda actions: actions.pop("agent_3"), "one for each of 8 agents"),
        (lambda actions: actions.update(agent_9=0), "one for each of 8 agents"),
        (lambda actions: actions.update(agent_3=5), r"in \[0, 3\]"),
        (lambda actions: actions.update(agent_3=-1), r"in \[0, 3\]"),
        (lambda actions: actions.update(agent_3=0.5), "an integer type"),
        (lambda actions: actions.update(agent_3="send"), "numbers"),
        (lambda actions: actions.update(agent_3=None), "numbers"),
        (lambda actions: actions.update(agent_3=[0, 1]), "same shape"),
    ],
)
def test_bad_actions_are_named(spoil, named):
    env = parallel_env(VARIANT)
    env.reset(seed=0)
    actions = dict.fromkeys(env.agents, 0)
    spoil(actions)
    with pytest.raises(InvalidValueError, match=named):
        env.step(actions)


def test_misuse_is_named():
    env, envs, hybrid = parallel_env(VARIANT), vector_env(VARIANT, 2), vector_env(VARIANT, 2, family=echo("hybrid"))
    for call in (lambda: env.step({}), lambda: envs.step(np.zeros((2, 8), int)), env.state):
        with pytest.raises(InvalidValueError, match="reset first"):
            call()
    envs.reset(seed=0), hybrid.reset(seed=0)
    for call, named in (
        (lambda: env.reset(seed=-1), "whole number"),
        (lambda: env.reset(seed=0.5), "whole number"),
        (lambda: envs.reset(seed=[1, 2, 3]), "one integer or 2"),
        (lambda: envs.reset(options={"reset_mask": np.array([True, False])}), "start and end together"),
        (lambda: envs.step(np.zeros((2, 7), int)), "action.shape"),
        (lambda: envs.step(np.zeros((2, 8))), "integer"),
        (lambda: hybrid.step((np.zeros((2, 8), int),) * 3), "pair"),
        (lambda: hybrid.step((np.zeros((2, 8), int), np.full((2, 8), 1.0))), "levels"),
        (lambda: hybrid.step((np.zeros((2, 8), int), np.full((2, 8, 1), np.nan))), "frequency"),
        (lambda: vector_env(VARIANT, 0), "num_envs is 0"),
    ):
        with pytest.raises(InvalidValueError, match=named):
            call()


def test_nobody_outside_can_write_into_the_simulator():
    envs, own = vector_env(VARIANT, 2), make(VARIANT)
    obs, infos = envs.reset(seed=0)
    own.reset([0, 1], [0, 1])
    obs[:], infos["action_mask"][:] = 7, 0
    action = np.ones((2, 8), dtype=np.int64)
    assert np.array_equal(envs.step(action)[0], own.step(torch.from_numpy(action))[0].numpy())


def test_without_the_optional_packages_one_line_says_what_to_install_and_looking_needs_none():
    code = """if True:
        import inspect, sys, wbench, wbench.cli, wbench.benchmark.check.run
        print([name for name in ("gymnasium", "pettingzoo") if name in sys.modules])
        sys.modules["pettingzoo"] = None
        inspect.getmembers(wbench)
        exec("from wbench import *", {})
        for make in (wbench.parallel_env, lambda name: wbench.vector_env(name, 2)):
            try:
                make("access/n8-c3-load0.15-l48")
            except wbench.errors.MissingPackageError as error:
                print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, *messages = done.stdout.splitlines()
    assert imported == "[]" and len(messages) == 2 and all('pip install "wbench[envs]"' in message for message in messages)
