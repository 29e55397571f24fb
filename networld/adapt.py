"""Few-shot adaptation: a handful of parameters, a validation split inside the support, and the right to decline."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant, require
from ..learning.descent import move_average
from ..learning.tuning import Notes, tune
from .config import NetWorldConfig
from .losses import LossWeights, total
from .model import NetWorld


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt.

    Attributes:
        steps: gradient steps at most.
        batch_size: rows a step.
        learning_rate: of Adam.
        check: steps between looks at the validation split.
        seed: of the sampling.
        scratch: ignore the pretrained weights and train fresh ones on the support alone (an ablation).
        whole_steps: gradient steps where every weight is trained: from scratch, or in a family that is new to the network.
        whole_learning_rate: learning rate of those.
    """

    steps: int = 40
    batch_size: int = 512
    learning_rate: float = 3e-3
    check: int = 10
    seed: int = 0
    scratch: bool = False
    whole_steps: int = 300
    whole_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require(self.whole_steps >= 1, "whole_steps", self.whole_steps, "1 or more")


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
    the least loss there are returned, and those are the pretrained ones unless something is clearly better. A
    behaviour-conditioned value is left alone, and the scenario with it, where one of the two parts says nothing about it.
    """
    c = pretrained.config
    parts = support.split()
    train, held = (Episodes.from_support(variant, part, c.history, c.horizon) for part in parts)
    generator = torch.Generator().manual_seed(config.seed)
    device = next(pretrained.parameters()).device
    sampler, checker = WindowSampler(family, [train], generator), WindowSampler(family, [held], generator)
    model = copy.deepcopy(pretrained).requires_grad_(False)
    shift, world, value = torch.zeros(c.embedding, device=device), model.world_context, model.value_context
    tuned: list[Tensor] = [world.scale, world.shift]
    if family.name not in c.behaviour_conditioned or all(part.informs_values for part in parts):
        tuned += [shift, value.scale, value.shift]
    for parameter in tuned:
        parameter.requires_grad_(True)

    def loss(batch: Windows) -> Tensor:
        return total(model, pretrained, batch, family.name, LossWeights(), _fixed(config.seed, device), scenario_shift=shift)[0]

    a = config
    notes = tune(
        tuned, loss, sampler, checker, steps=a.steps, batch_size=a.batch_size, learning_rate=a.learning_rate, check=a.check
    )
    return Adapted(model.eval(), shift.detach(), a.steps, notes)


def train_from_scratch(like: NetWorld, family: Family, variant: Variant, support: Support, config: AdaptConfig) -> Adapted:
    """Train a fresh network of the same shape on the support alone: what adaptation is worth without pretraining."""
    network = replace(like.config, actor_families=())  # no central critic learns from a support
    model = fresh(network, family, support, config.seed).to(next(like.parameters()).device)
    return train_whole(model, family, variant, support, config)


def fresh(network: NetWorldConfig, family: Family, support: Support, seed: int) -> NetWorld:
    """A network of random weights, the same for the same seed, that sees a family in the scale of its support."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NetWorld(network)
    model.observation.fit(support.obs.flatten(0, 2), family.name)
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
        loss, _ = total(model, target, sampler.sample(config.batch_size).to(device), family.name, LossWeights(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        move_average(target.parameters(), model.parameters(), 0.02)
    shift = torch.zeros(c.embedding, device=device)
    return Adapted(target.eval(), shift, config.whole_steps, {"loss": float(loss.detach())})


def _fixed(seed: int, device: torch.device) -> torch.Generator:
    """The same diffusion times and noise in every call: two losses on one batch differ by their parameters alone."""
    return torch.Generator(device).manual_seed(seed)
