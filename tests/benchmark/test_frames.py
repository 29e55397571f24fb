"""Gymnasium makes the families by name, and frames show what happens."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import wbench
from wbench.benchmark.acting.frames import Film
from wbench.benchmark.registry import get_family, get_variant
from wbench.errors import InvalidValueError, UnknownNameError

gymnasium = pytest.importorskip("gymnasium")
FAMILIES = ("access", "power", "offload", "handover")


@pytest.mark.parametrize("name", FAMILIES)
def test_gymnasium_makes_and_checks_every_family(name: str):
    from gymnasium.utils.env_checker import check_env

    label = get_family(name).select("train")[1].name.partition("/")[2]
    env = gymnasium.make(f"wbench/{name}-v0", variant=label, sites="dev:0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that observations are unbounded
        check_env(env.unwrapped, skip_render_check=True)
    policy, total, over = wbench.load_policy("belief"), 0.0, False
    policy.adapt(f"{name}/{label}")
    obs, info = env.reset(seed=3)
    policy.reset(env)
    while not over:
        obs, reward, _, over, info = env.step(policy.act(obs, info))
        total += reward
    found = wbench.play(*get_variant(f"{name}/{label}"), policy.agent, [1_000_000], [3])
    assert total == pytest.approx(found.returns.item(), abs=1e-4)


@pytest.mark.parametrize("order", ["import gymnasium, wbench", "import wbench, gymnasium; wbench.make"])
def test_gymnasium_knows_it_once_both_are_imported(order: str):
    code = f"{order}; print(gymnasium.make('wbench/access-v0').unwrapped.variant.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == get_family("access").select("train")[0].name


def test_gymnasium_makes_vectors_and_refuses_what_is_not_there():
    envs = gymnasium.make_vec("wbench/power-v0", num_envs=2, vectorization_mode="vector_entry_point", sites="dev:0-1")
    assert envs.reset(seed=0)[0].shape[0] == 2 and envs.played == ((1_000_000, 0), (1_000_001, 1))
    with pytest.raises(UnknownNameError, match="Did you mean"):
        gymnasium.make("wbench/access-v0", variant="n8-c3-load0.15-l49")


@pytest.mark.parametrize("name", FAMILIES)
def test_frames_change_with_what_happens(name: str):
    variant = get_family(name).select("train")[0].name
    env = wbench.parallel_env(variant, render_mode="rgb_array")
    with pytest.raises(InvalidValueError, match="render is"):
        env.render()
    env.reset(seed=0)
    frames = [env.render()]
    for _ in range(3):
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        frames.append(env.render())
    assert {frame.shape for frame in frames} == {(400, 640, 3)} and frames[0].dtype == np.uint8
    assert all((one != other).any() for one, other in pairwise(frames))
    assert wbench.parallel_env(variant).render_mode is None


def test_collisions_are_red_and_packets_that_are_heard_green():
    import torch

    family, variant = get_variant(get_family("access").select("train")[0].name)
    env = wbench.make(variant.name, "dev:0")

    def cells(action: torch.Tensor) -> tuple[int, int]:
        _, info = env.reset(seeds=[0])
        played = action * info["action_mask"][..., 1]
        _, reward, _, _, info = env.step(played)
        film = Film(family, variant, env.simulator)
        film.add(played, reward, info["delivered"])
        top = film.frame()[:220].astype(int)
        red, green = ((top[..., k] > top[..., 1 - k] + 60).sum() for k in (0, 1))
        return int(red), int(green)

    _, info = env.reset(seeds=[0])
    waiting = info["action_mask"][0, :, 1].nonzero().flatten()
    together, alone = torch.zeros(2, 1, variant.agents, dtype=torch.long)
    together[0, waiting] = 1
    assert len(waiting) > 1 and cells(together)[0] > 0 and cells(together)[1] == 0
    assert cells(alone) == (0, 0)


def test_a_family_brings_its_own_drawing():
    def scene(film: Film, axes) -> tuple[str, np.ndarray]:
        axes.set_facecolor("red")
        axes.set_title(f"{len(film.choices)} slots")
        return "nothing", np.zeros(film.variant.agents)

    def red(family) -> int:
        env = wbench.parallel_env(family.select("train")[0], family=family, render_mode="rgb_array")
        env.reset(seed=0)
        return int((env.render().reshape(-1, 3) == (255, 0, 0)).all(1).sum())

    family = replace(get_family("power"), name="beacon", scene=scene)
    assert red(family) > 10_000 > red(replace(family, scene=None))


def test_a_mode_that_cannot_be_is_said_in_one_line():
    variant = get_family("access").select("train")[0].name
    with pytest.raises(InvalidValueError, match="render_mode is 'ascii', but must be rgb_array or human"):
        wbench.parallel_env(variant, render_mode="ascii")
