"""What holds for every family and every reference policy of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from wbench.benchmark.family import Cloneable
from wbench.benchmark.protocol.references import measure, references
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.rollout import play

VARIANTS = (
    "access/n8-c2-load0.3",
    "access/n8-c1-load0.3-legacy",
    "power/n15-d800-v1-load0.7",
    "power/n10-d800-v1-load0.5-umi",
    "offload/n10-e3-p0.2",
    "offload/n15-e4-p0.3",
)
PLAYED = [(name, policy) for name in VARIANTS for policy in get_family(name.partition("/")[0]).policies]


@pytest.mark.parametrize(("name", "policy"), PLAYED)
def test_an_episode_is_the_same_to_the_bit_in_any_batch_and_order(name, policy):
    family, variant = get_variant(name)
    seeds = [11, 3, 7, 5, 2, 99]

    def run(some):
        slots = []
        played = play(family, variant, family.policies[policy](), some, record=slots.append)
        return played.returns, *(torch.stack([getattr(slot, key) for slot in slots], 1) for key in ("obs", "action"))

    together, backwards, alone = run(seeds), run(seeds[::-1]), [run([seed]) for seed in seeds]
    for i in range(len(seeds)):
        for whole, reverse, single in zip(together, backwards, alone[i], strict=True):
            assert torch.equal(whole[i], reverse[-1 - i]) and torch.equal(whole[i], single[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_forks_go_on_as_their_episodes_would_and_are_not_felt(name):
    family, variant = get_variant(name)
    record, episodes = [], torch.tensor([2, 0, 2, 1])
    play(family, variant, family.policies["random"](), [11, 3, 7], record=record.append)
    env = family.make(variant, "cpu")
    env.reset([11, 3, 7])
    assert isinstance(env, Cloneable)
    for slot in record[:40]:
        env.step(slot.action)
    fork = env.clone_episodes(episodes)
    for slot in record[40:60]:
        fork.step(slot.action[[0, 0, 0, 0]])  # what is done in one fork, another and the original do not notice
    fork = env.clone_episodes(episodes)
    for slot in record[40:]:
        went_on, original = fork.step(slot.action[episodes]), env.step(slot.action)
        assert all(torch.equal(mine, theirs[episodes]) for mine, theirs in zip(went_on[:2], original[:2], strict=True))
        assert torch.equal(original[1], slot.reward)
    assert all(torch.equal(fork.qos()[key], column[episodes]) for key, column in env.qos().items())


@pytest.mark.parametrize("name", ["access/n16-c1-load0.3", "power/n10-d800-v1-load0.5", "offload/n10-e3-p0.2"])
def test_frozen_references_are_what_is_measured(name):
    frozen, now = references(name), measure(*get_variant(name))
    assert dataclasses.astuple(now)[:4] == pytest.approx(dataclasses.astuple(frozen)[:4], abs=1e-4)
