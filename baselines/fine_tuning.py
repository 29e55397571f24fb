"""Fine-tuning learned values on K logged episodes, with a validation split inside them and the right to decline."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant
from .value_learning import ValueModel

RANKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class FineTuneConfig:
    """How to fine-tune on K episodes: gradient steps at most, rows a step, transitions a window, rate, steps between checks."""

    steps: int = 100
    rows: int = 512
    slots: int = 4
    rate: float = 3e-5
    check: int = 20
    seed: int = 0


Notes = Mapping[str, float | int | str | bool]


def fine_tune(
    pretrained: ValueModel, family: Family, variant: Variant, support: Support, config: FineTuneConfig
) -> tuple[ValueModel, Notes]:
    """Fine-tune a copy on the support, with the pretrained network as target.

    Returns:
        The weights with the least loss on the validation split inside the support, which are the pretrained ones unless others
        are better, and figures to publish.
    """
    history, device = pretrained.config.history, next(pretrained.parameters()).device
    generator = torch.Generator().manual_seed(config.seed)
    train, held = (Episodes.from_support(variant, part, history - 1, config.slots) for part in support.split())
    for part in (train, held) if pretrained.RANKED else ():
        part.rank = estimate_rank(pretrained, family, part)
    sampler, checker = (WindowSampler(family, [part], generator) for part in (train, held))
    validation = checker.sample(4 * config.rows).to(device)
    model = copy.deepcopy(pretrained)
    optimiser = torch.optim.Adam(model.parameters(), config.rate)

    def loss(batch: Windows) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model.loss(pretrained, batch, family.name, model.config.conservatism)

    with torch.no_grad():
        before = best = float(loss(validation))
    kept = pretrained
    for step in range(1, config.steps + 1):
        optimiser.zero_grad()
        loss(sampler.sample(config.rows).to(device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        if step % config.check == 0:
            with torch.no_grad():
                now = float(loss(validation))
            if now < best:
                best, kept = now, copy.deepcopy(model).eval()
    return kept, {"loss_before": before, "loss_after": best, "kept": kept is not pretrained}


@torch.no_grad()
def estimate_rank(model: ValueModel, family: Family, episodes: Episodes) -> Tensor:
    """The rank, on a grid, under which each episode's actions surprise least: [E]. K episodes cannot rank themselves."""
    sampler = WindowSampler(family, [episodes], torch.Generator().manual_seed(0))
    slots = torch.arange(0, episodes.starts(), max(1, episodes.starts() // 16))
    which = torch.arange(episodes.count).repeat_interleave(len(slots))
    batch = sampler.windows(episodes, which, slots.repeat(episodes.count)).to(next(model.parameters()).device)
    found = []
    for rank in RANKS:
        batch.rank.fill_(rank)
        with torch.autocast(batch.obs.device.type, torch.bfloat16):
            found.append(model.surprise(batch, family.name).float().view(episodes.count, -1).mean(1))
    return torch.tensor(RANKS)[torch.stack(found).argmin(0).cpu()]
