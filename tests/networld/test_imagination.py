"""Imagined episodes depend on their number alone, follow the action and stay within what is possible; MAPPO learns in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.baselines.common.ppo import PpoConfig
from wbench.baselines.common.rollout import learn, play_round
from wbench.baselines.mappo import MappoConfig, fresh
from wbench.benchmark.data.support import support
from wbench.benchmark.data.windows import Episodes
from wbench.benchmark.families.access.layout import View
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.registry import get_family, get_variant
from wbench.errors import CheckpointError, InvalidValueError, UnknownNameError
from wbench.learning.world import make_world
from wbench.networld.imagination import Imagination, ImaginationConfig, ImaginedEnvironment

VARIANTS = ("access/n8-c3-load0.3-l48", "power/d2d-n14-s400-v1-load0.12-l48", "offload/n12-e3-p0.2")


@pytest.fixture(scope="module")
def model() -> NetWorld:
    return NetWorld.from_pretrained("networld-small")


def recorded(name: str, shots: int = 2, history: int = 4) -> Episodes:
    family, variant = get_variant(name)
    return Episodes.from_support(variant, support(family, variant, 0, shots), history, 0)


def imagine(model: NetWorld, name: str, first: int = 0, **settings: float) -> ImaginedEnvironment:
    return Imagination(model, ImaginationConfig(**settings)).imagine(get_variant(name)[0], recorded(name), first)


def legal(env: ImaginedEnvironment, mask: torch.Tensor) -> torch.Tensor:
    """The last choice that is allowed, and full power or clock."""
    choice = mask.shape[-1] - 1 - mask.flip(-1).int().argmax(-1)
    kinds = [component.kind for component in env.family.actions]
    parts = [choice.float() if kind == "categorical" else torch.ones(mask.shape[:2]) for kind in kinds]
    return torch.stack(parts, -1) if len(parts) > 1 else choice if kinds == ["categorical"] else parts[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_an_imagined_episode_depends_on_its_number_alone(model, name):
    """To the last bits: matrix products round differently in other shapes, so numbers are close rather than equal."""

    def run(first: int, episodes: int) -> list[torch.Tensor]:
        env = imagine(model, name, first)
        obs, info = env.reset(episodes)
        found = [obs, info["past"].movedim(0, 1), info["action_mask"]]
        for _ in range(3):
            obs, reward, *_, info = env.step(legal(env, info["action_mask"]))
            found += [obs, reward, info["action_mask"]]
        return found

    together, alone = run(0, 5), run(3, 1)
    assert len({float(episode.sum()) for episode in together[-3]}) == 5
    for whole, single in zip(together, alone, strict=True):
        assert torch.allclose(whole[3:4].float(), single.float(), atol=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_episodes_start_in_recorded_slots_and_stay_within_what_is_possible(model, name):
    env, source = imagine(model, name, slots=3), recorded(name)
    family, variant = get_variant(name)
    obs, info = env.reset(6)
    logged = source.joint("obs", *torch.cartesian_prod(torch.arange(2), torch.arange(variant.horizon)).unbind(1))[:, -1]
    assert all(bool((start == logged).all((1, 2)).any()) for start in obs)
    assert info["past"].shape == (4, *obs.shape) and env.variant == replace(variant, horizon=3)
    for slot in range(3):
        obs, reward, terminated, truncated, info = env.step(legal(env, info["action_mask"]))
        low, high = family.reward_range
        assert obs.isfinite().all() and bool(((reward.sum(1) >= low - 1e-5) & (reward.sum(1) <= high + 1e-5)).all())
        assert info["action_mask"][..., 0].all() and not terminated.any() and bool((truncated == (slot == 2)).all())
    with pytest.raises(InvalidValueError, match="step is 3, but must be below the horizon 3; reset first"):
        env.step(legal(env, info["action_mask"]))


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_allowed_can_be_read_from_an_observation(name):
    """The rule by which imagined observations get their masks, on recorded ones."""
    family, variant = get_variant(name)
    logs = support(family, variant, 0, 2)
    ever = logs.action_mask.flatten(0, 2).any(0)
    derived = ever.expand_as(logs.action_mask).clone()
    if family.choice is not None:
        derived[..., 1:] &= (logs.obs[..., family.choice] > 0.5).unsqueeze(-1)
    assert torch.equal(derived, logs.action_mask)


def test_imagined_masks_follow_the_imagined_queue(model):
    env = imagine(model, VARIANTS[0])
    obs, info = env.reset(16)
    for _ in range(3):
        obs, *_, info = env.step(torch.zeros(obs.shape[:2], dtype=torch.long))
        backlog = obs[..., env.family.choice] > 0.5
        assert torch.equal(info["action_mask"][..., 1], backlog) and 0 < backlog.float().mean() < 1
        assert not info["action_mask"][..., 4:].any()  # the variant has three channels


def test_the_action_changes_what_is_imagined(model):
    """Whose turn it is sends on channel 1 while all others are idle: its next observation shows that, and often a success."""
    ends = []
    for sends in (False, True):
        env = imagine(model, VARIANTS[0], slots=1)
        obs, info = env.reset(256)
        turn = (obs[..., View.slices["turn"].start] > 0.5) & info["action_mask"][..., 1]
        after, *_ = env.step((turn & sends).long())
        ends.append(after[turn])
    idle, sent = ends
    shown, acknowledged = View.slices["sent"].start, View.slices["outcome"].start + 1
    assert float(sent[:, shown].mean()) > float(idle[:, shown].mean()) + 0.2
    assert float(sent[:, acknowledged].mean()) > float(idle[:, acknowledged].mean()) + 0.02


def test_mappo_learns_in_imagination(model):
    """Before and after on the same imagined episodes, which it does not learn from."""
    name, config = VARIANTS[1], PpoConfig(epochs=4, batch_size=256, learning_rate=3e-3)
    policy = fresh(MappoConfig(families={"power": FamilyShape.of(get_family("power"))}, hidden=32), 0)

    def imagined_return() -> float:
        env = imagine(model, name, first=1_000_000, candidates=1, steps=2)
        return play_round(policy, [env], 32, config, torch.Generator().manual_seed(0)).returns[0]

    before = imagined_return()
    steps = learn(policy, [imagine(model, name, candidates=1, steps=2)], 8, 12, config)
    assert steps == 8 * 4 * 5 and imagined_return() > before


def test_bad_input_is_named(model):
    name = VARIANTS[0]
    world = Imagination(model)
    with pytest.raises(InvalidValueError, match="history of the recording is 3, but must be 4 or more"):
        world.imagine(get_family("access"), recorded(name, history=3))
    with pytest.raises(CheckpointError, match="not trained on family 'chess'"):
        world.imagine(replace(get_family("access"), name="chess"), recorded(name))
    env = world.imagine(get_family("access"), recorded(name))
    with pytest.raises(InvalidValueError, match="before reset"):
        env.step(torch.zeros(1, 8, dtype=torch.long))
    with pytest.raises(InvalidValueError, match="episodes is 0"):
        env.reset(0)
    env.reset(2)
    with pytest.raises(InvalidValueError, match=r"action\.shape"):
        env.step(torch.zeros(3, 8, dtype=torch.long))
    with pytest.raises(InvalidValueError, match="action is"):
        env.step(torch.full((2, 8), 7))
    for settings in ({"candidates": 0}, {"scale": -1.0}, {"behaviour": "best"}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            ImaginationConfig(**settings)
    with pytest.raises(UnknownNameError, match="world 'netwold'"):
        make_world("netwold")
