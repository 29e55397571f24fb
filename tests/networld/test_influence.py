"""The regression inside the support encoder: coefficients that are known, and what is left of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from wbench.benchmark.data.context import Context
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.registry import get_family
from wbench.learning.reading import InfluenceEncoder, regress

PLACES, EPISODES, SLOTS, AGENTS, HEADS = 2, 3, 400, 5, 4
SEEN = torch.full((PLACES, 1, 1), float(EPISODES * SLOTS))


def centred(x):
    return x - x.mean((1, 2), keepdim=True)


@pytest.fixture(scope="module")
def planted():
    """Causes that go together, what they do to each agent, the effects, and their noise."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(PLACES, EPISODES, SLOTS, 1, HEADS, generator=generator)
    cause = torch.randn(PLACES, EPISODES, SLOTS, AGENTS, HEADS, generator=generator) + 2.0 * common
    influence = torch.randn(PLACES, AGENTS, AGENTS, HEADS, generator=generator)
    noise = 0.1 * torch.randn(PLACES, EPISODES, SLOTS, AGENTS, HEADS, generator=generator)
    effect = torch.einsum("pctnq,pnmq->pctmq", cause, influence) + noise
    return centred(cause), influence, centred(effect), centred(noise)


def test_influences_are_recovered_although_all_act_together(planted):
    cause, influence, effect, noise = planted
    both, found, left = regress(cause, effect, SEEN, torch.full((HEADS,), 1e-6))
    assert (found - influence).abs().max() < 0.02
    assert (both - influence).abs().max() > 2.0, "a covariance alone does not tell who it was"
    own = influence.diagonal(dim1=1, dim2=2).transpose(1, 2)  # an agent's own part is not the others'
    assert torch.allclose(left, noise + cause * own[:, None, None], atol=0.1)


def test_coefficients_are_those_of_least_squares(planted):
    cause, _, effect, _ = planted
    ridge = 0.3
    _, found, _ = regress(cause, effect, SEEN, torch.full((HEADS,), ridge))
    x, y = (part[1, ..., 2].reshape(-1, AGENTS).double().numpy() for part in (cause, effect))
    grown = np.vstack([x, np.sqrt(ridge * len(x)) * np.eye(AGENTS)])
    wanted = np.linalg.lstsq(grown, np.vstack([y, np.zeros((AGENTS, AGENTS))]), rcond=None)[0]
    assert np.allclose(found[1, ..., 2], wanted, atol=1e-4)


SHAPES = {"access": FamilyShape.of(get_family("access"))}


def logs(places, episodes, agents):
    """Random joint logs of so many places."""
    generator = torch.Generator().manual_seed(1)
    lead = places, episodes, 61, agents
    return Context(
        obs=torch.randn(*lead, SHAPES["access"].obs_size, generator=generator),
        action_mask=torch.ones(*lead, 5, dtype=torch.int8),
        action=torch.randint(5, (places, episodes, 60, agents), generator=generator),
        reward=torch.randn(places, episodes, 60, agents, generator=generator),
        mask=torch.ones(places, episodes, dtype=torch.bool),
        agents=torch.full((places,), agents),
        period=torch.full((places,), 12),
        place=torch.arange(places),
    )


def padded(context, episodes, agents):
    """The same logs, with room for more episodes and agents."""
    columns = {}
    for name in ("obs", "action_mask", "action", "reward"):
        old = getattr(context, name)
        new = old.new_zeros(old.shape[0], episodes, old.shape[2], agents, *old.shape[4:])
        new[:, : old.shape[1], :, : old.shape[3]] = old
        columns[name] = new
    mask = torch.arange(episodes).expand(len(context.agents), -1) < context.mask.shape[1]
    return replace(context, **columns, mask=mask)


@torch.no_grad()
def test_what_is_not_there_changes_nothing_and_the_order_of_episodes_neither():
    torch.manual_seed(0)
    encoder, few = InfluenceEncoder(SHAPES, 16), logs(2, 3, 4)
    descriptor = torch.zeros(2, SHAPES["access"].descriptor_size)
    code, wide = encoder(few, descriptor, "access"), encoder(padded(few, 5, 7), descriptor, "access")
    assert torch.allclose(wide.table[:, :4], code.table, atol=1e-5) and torch.allclose(wide.evidence, code.evidence, atol=1e-5)
    order = torch.tensor([2, 0, 1])
    turned = replace(few, **{name: getattr(few, name)[:, order] for name in ("obs", "action_mask", "action", "reward")})
    assert torch.allclose(encoder(turned, descriptor, "access").table, code.table, atol=1e-5)
    assert code.evidence.shape == (2, 12, 5 + InfluenceEncoder.EVENTS, 16)


@torch.no_grad()
def test_no_episode_says_the_same_of_every_agent():
    encoder = InfluenceEncoder(SHAPES, 16)
    code = encoder(logs(1, 0, 4), torch.zeros(1, SHAPES["access"].descriptor_size), "access")
    assert torch.isfinite(code.table).all() and torch.allclose(code.table, code.table[:, :1].expand_as(code.table), atol=1e-6)
