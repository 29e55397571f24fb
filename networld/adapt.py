"""Few-shot adaptation: a handful of parameters, a validation split inside the support, and the right to decline."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant
from .losses import LossWeights, encode, slot_contexts, total
from .model import NetWorld

RANKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt.

    Attributes:
        steps: gradient steps at most.
        rows: rows a step.
        rate: learning rate.
        check: steps between looks at the validation split.
        seed: of the sampling.
    """

    steps: int = 40
    rows: int = 512
    rate: float = 3e-3
    check: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """The outcome: a model (the pretrained one itself if declined), its scenario shift [E], steps taken, published figures."""

    model: NetWorld
    shift: Tensor
    steps: int
    notes: dict[str, float | int | str | bool]


def adapt(pretrained: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Tune the scenario embedding and the context adapters on K episodes.

    A fifth of the support (a whole episode where there are several, else the last slots) is kept aside; the parameters with
    the least loss there are returned, and those are the pretrained ones unless something is better.
    """
    c = pretrained.config
    train, held = (Episodes.from_support(variant, part, c.history, c.horizon) for part in support.split())
    for part in (train, held):
        part.rank = estimate_rank(pretrained, family, part)
    generator = torch.Generator().manual_seed(config.seed)
    device = next(pretrained.parameters()).device
    sampler, checker = WindowSampler(family, [train], generator), WindowSampler(family, [held], generator)
    validation = checker.sample(2 * config.rows).to(device)
    model = copy.deepcopy(pretrained)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    shift = torch.zeros(c.embedding, device=device, requires_grad=True)
    tuned = [shift]
    for context in (model.world_context, model.value_context):
        tuned += [context.scale.requires_grad_(True), context.shift.requires_grad_(True)]
    optimiser = torch.optim.Adam(tuned, lr=config.rate)

    def loss(batch: Windows) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return total(model, pretrained, batch, family.name, LossWeights(), _fixed(config.seed), scenario_shift=shift)[0]

    with torch.no_grad():
        before = best = float(loss(validation))
    kept: list[Tensor] | None = None
    for step in range(1, config.steps + 1):
        optimiser.zero_grad()
        loss(sampler.sample(config.rows).to(device)).backward()
        optimiser.step()
        if step % config.check == 0:
            with torch.no_grad():
                now = float(loss(validation))
            if now < best:
                best, kept = now, [parameter.detach().clone() for parameter in tuned]
    notes: dict[str, float | int | str | bool] = {"loss_before": before, "loss_after": best, "kept": kept is not None}
    if kept is None:
        return Adapted(pretrained, torch.zeros_like(shift), config.steps, notes)
    with torch.no_grad():
        for tensor, value in zip(tuned, kept, strict=True):
            tensor.copy_(value)
    return Adapted(model.eval(), shift.detach(), config.steps, notes)


@torch.no_grad()
def estimate_rank(model: NetWorld, family: Family, episodes: Episodes) -> Tensor:
    """The rank, on a grid, under which each episode's actions are likeliest: [E]. K episodes cannot rank themselves."""
    sampler = WindowSampler(family, [episodes], torch.Generator())
    slots = torch.arange(0, episodes.starts(), max(1, episodes.starts() // 16))
    device = next(model.parameters()).device
    found = []
    for episode in range(episodes.count):
        batch = sampler.windows(episodes, torch.full_like(slots, episode), slots).to(device)
        fit = [
            float(_behaviour_loss(model, replace(batch, rank=torch.full_like(batch.rank, rank)), family.name)) for rank in RANKS
        ]
        found.append(RANKS[fit.index(min(fit))])
    return torch.tensor(found)


def _behaviour_loss(model: NetWorld, batch: Windows, family: str) -> Tensor:
    now, codec = model.config.history, model.codecs[family]
    _, value = slot_contexts(model, encode(model, batch, family))
    logits = model.behaviour_logits(value[:, 0], batch.action_mask[:, now], family)
    return -codec.log_prob(logits, codec.encode(batch.action[:, now])).mean()


def _fixed(seed: int) -> torch.Generator:
    """The same diffusion times and noise in every call: two losses on one batch differ by their parameters alone."""
    return torch.Generator().manual_seed(seed)
