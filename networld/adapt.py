"""Few-shot adaptation: a handful of parameters, a validation split inside the support, and the right to decline."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant
from ..benchmark.training import Notes, follow, tune
from .losses import LossWeights, total
from .model import NetWorld


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt.

    Attributes:
        steps: gradient steps at most.
        rows: rows a step.
        rate: learning rate.
        check: steps between looks at the validation split.
        seed: of the sampling.
        scratch: ignore the pretrained weights and train fresh ones on the support alone, for `scratch_steps` (an ablation).
        scratch_steps: gradient steps from scratch.
    """

    steps: int = 40
    rows: int = 512
    rate: float = 3e-3
    check: int = 10
    seed: int = 0
    scratch: bool = False
    scratch_steps: int = 300


@dataclass(frozen=True)
class Adapted:
    """The outcome: a model (as pretrained if declined), its scenario shift [E], steps taken, published figures."""

    model: NetWorld
    shift: Tensor
    steps: int
    notes: Notes


def adapt(pretrained: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Tune the scenario embedding and the context adapters on K episodes.

    A fifth of the support (a whole episode where there are several, else the last slots) is kept aside; the parameters with
    the least loss there are returned, and those are the pretrained ones unless something is clearly better.
    """
    c = pretrained.config
    train, held = (Episodes.from_support(variant, part, c.history, c.horizon) for part in support.split())
    generator = torch.Generator().manual_seed(config.seed)
    device = next(pretrained.parameters()).device
    sampler, checker = WindowSampler(family, [train], generator), WindowSampler(family, [held], generator)
    model = copy.deepcopy(pretrained).requires_grad_(False)
    shift = torch.zeros(c.embedding, device=device, requires_grad=True)
    tuned = [shift]
    for context in (model.world_context, model.value_context):
        tuned += [context.scale.requires_grad_(True), context.shift.requires_grad_(True)]

    def loss(batch: Windows) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return total(model, pretrained, batch, family.name, LossWeights(), _fixed(config.seed), scenario_shift=shift)[0]

    notes = tune(tuned, loss, sampler, checker, steps=config.steps, rows=config.rows, rate=config.rate, check=config.check)
    return Adapted(model.eval(), shift.detach(), config.steps, notes)


def train_from_scratch(like: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Train a fresh network of the same shape on the support alone: what adaptation is worth without pretraining."""
    c, device = like.config, next(like.parameters()).device
    source = Episodes.from_support(variant, support, c.history, c.horizon)
    sampler = WindowSampler(family, [source], torch.Generator().manual_seed(config.seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = NetWorld(c).to(device)
    model.observation.fit(support.obs.flatten(0, 2).to(device), family.name)
    target = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    noise = torch.Generator(device).manual_seed(config.seed)
    for _ in range(config.scratch_steps):
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss, _ = total(model, target, sampler.sample(config.rows).to(device), family.name, LossWeights(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        follow(target, model, 0.02)
    shift = torch.zeros(c.embedding, device=device)
    return Adapted(target.eval(), shift, config.scratch_steps, {"loss": float(loss.detach())})


def _fixed(seed: int) -> torch.Generator:
    """The same diffusion times and noise in every call: two losses on one batch differ by their parameters alone."""
    return torch.Generator().manual_seed(seed)
