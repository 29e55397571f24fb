"""Few-shot adaptation: the code of a site, read from a few episodes and refined, with the right to decline."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..benchmark.agent import Support
from ..benchmark.data.context import Context
from ..benchmark.data.windows import Episodes, WindowSampler
from ..benchmark.family import Family, Variant
from ..errors import require
from ..learning.context import WINDOWS, as_context, site_table
from ..learning.descent import move_average
from ..learning.tuning import Notes, tune
from .config import NetWorldConfig
from .losses import LossWeights, slot_losses, total
from .model import NetWorld


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt.

    Attributes:
        steps: gradient steps that refine the code of a site; 0 = it is read, and not refined.
        batch_size: rows a step where every weight is trained.
        learning_rate: of Adam.
        check: steps between looks at the validation split.
        seed: of the sampling.
        scratch: ignore the pretrained weights and train fresh ones on the support alone (an ablation).
        whole_steps: gradient steps where every weight is trained: from scratch, or in a family that is new to the network.
        whole_learning_rate: learning rate of those.
    """

    steps: int = 0
    batch_size: int = 512
    learning_rate: float = 1e-2
    check: int = 10
    seed: int = 0
    scratch: bool = False
    whole_steps: int = 300
    whole_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require(self.whole_steps >= 1, "whole_steps", self.whole_steps, "1 or more")


@dataclass(frozen=True)
class Adapted:
    """The outcome: a model, the code of the site by agent and slot of the period [N, L, S], steps taken, published figures."""

    model: NetWorld
    site: Tensor
    steps: int
    notes: Notes


def adapt(pretrained: NetWorld, family: Family, variant: Variant, support: Support | None, config: AdaptConfig) -> Adapted:
    """Read the code of the site from K episodes, and refine it by the world model's likelihood of them.

    `z* = argmax_z log p(o', r | history, a, z)`, from what the support encoder reads, over one shift a slot of the period and
    one an agent. The last fifth of the episodes is kept aside, and decides whether the shifts are kept. One episode alone
    leaves nothing aside, and is read only.
    """
    with torch.no_grad():
        site = site_table(pretrained.support, family.name, variant, support)
    if support is None or support.shots < 2 or not config.steps or pretrained.support is None:
        return Adapted(pretrained, site, 0, {})
    shifts, notes = _search(pretrained, family, variant, support, config)
    return Adapted(pretrained, site + shifts, config.steps, notes)


def _search(model: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> tuple[Tensor, Notes]:
    """Shifts of the site's code [N, L, S] under which the support is likelier; zero if none is clearly so."""
    model = copy.deepcopy(model).requires_grad_(False)
    parts, name = support.split(), family.name
    device = next(model.parameters()).device
    with torch.no_grad():
        read = site_table(model.support, name, variant, parts[0])
    tokens = read[..., : model.config.site]
    by_slot, by_agent = torch.zeros_like(tokens[:1]), torch.zeros_like(tokens[:, :1])
    found = [by_slot.requires_grad_(True), by_agent.requires_grad_(True)]
    rest = (0, read.shape[-1] - tokens.shape[-1])  # of what is read the evidence stays as it is
    descriptor = torch.tensor([variant.descriptor()], device=device)

    def loss(episode: Context) -> Tensor:
        site = read + pad(by_slot + by_agent, rest)
        parts = slot_losses(model, model, episode, lambda _, n, t: site[n, t % variant.period], descriptor, name)
        return parts["reward"] + parts["following"]

    generator = torch.Generator().manual_seed(config.seed)
    train, held = (as_context(variant, part, 0, 0, device) for part in parts)
    draws = (partial(_one, part, generator) for part in (train, held))
    notes = tune(found, loss, *draws, steps=config.steps, learning_rate=config.learning_rate, check=config.check)
    return pad(by_slot + by_agent, rest).detach(), notes


def _one(logs: Context, generator: torch.Generator) -> Context:
    """One of the episodes of a place, at random."""
    chosen = torch.randint(logs.obs.shape[1], (1,), generator=generator)
    columns = ("obs", "action_mask", "action", "reward", "mask")
    return replace(logs, **{name: getattr(logs, name)[:, chosen] for name in columns})


def train_from_scratch(like: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Train a fresh network of the same shape on the support alone: what adaptation is worth without pretraining."""
    model = fresh(like.config, family, support, config.seed).to(next(like.parameters()).device)
    return train_whole(model, family, variant, support, config)


def fresh(network: NetWorldConfig, family: Family, support: Support, seed: int) -> NetWorld:
    """A network of random weights, the same for the same seed, that sees a family in the scale of its support."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NetWorld(network)
    model.observation.fit(support.obs.flatten(0, 2), family.name)
    if model.support is not None:
        obs, after = support.obs[:, :-1].flatten(0, 2), support.obs[:, 1:].flatten(0, 2)
        done, paid = support.action[:, :-1].flatten(0, 2), support.reward[:, :-1].flatten()
        model.support.fit(obs, after, done, paid, torch.full_like(paid, support.reward.shape[2]), family.name)
    return model


def train_whole(model: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Train every weight of a network, in place, on the whole support; what comes back is its moving average."""
    c, device = model.config, next(model.parameters()).device
    source = Episodes.from_support(variant, support, c.history, c.horizon)
    sampler = WindowSampler(family, [source], torch.Generator().manual_seed(config.seed))
    target = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), config.whole_learning_rate, weight_decay=1e-2, fused=True)
    noise = torch.Generator(device).manual_seed(config.seed)
    for _ in range(config.whole_steps):
        optimiser.zero_grad()
        batch = sampler.sample(config.batch_size, shots=(support.shots - 1,), per_context=WINDOWS).to(device)
        loss, _ = total(model, target, batch, family.name, LossWeights(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        move_average(target.parameters(), model.parameters(), 0.02)
    site = site_table(target.eval().support, family.name, variant, support)
    return Adapted(target, site, config.whole_steps, {"loss": float(loss.detach())})
