"""Fine-tuning learned values on K logged episodes, with a validation split inside them and the right to decline."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor

from ...benchmark.agent import Support
from ...benchmark.data.windows import Windows
from ...benchmark.family import Family, Variant
from ...learning.tuning import Notes, support_draws, tune
from .q_learning import ValueModel


@dataclass(frozen=True)
class FineTuneConfig:
    """How to fine-tune on K episodes.

    Attributes:
        steps: gradient steps at most; 0 = logs are read, and no weights change.
        batch_size: rows a step.
        slots: transitions a window.
        learning_rate: of Adam.
        check: steps between looks at the validation split.
        seed: of the sampling.
    """

    steps: int = 0
    batch_size: int = 512
    slots: int = 4
    learning_rate: float = 3e-5
    check: int = 20
    seed: int = 0


def fine_tune(
    pretrained: ValueModel, family: Family, variant: Variant, support: Support, config: FineTuneConfig
) -> tuple[ValueModel, int, Notes]:
    """Fine-tune a copy on the support, with the pretrained network as target.

    Returns:
        The weights with the least loss on the validation split inside the support, which are the pretrained ones unless others
        are clearly better, gradient steps taken, and figures to publish.
    """
    model = copy.deepcopy(pretrained)
    tuned = model.learnable(support.split(), family.name)
    if not tuned:
        return pretrained, 0, {"kept": False, "declined": f"no {pretrained.config.aim} to learn from and to validate on"}
    history = pretrained.config.history - 1
    draw, held = support_draws(family, variant, support, history, config.slots, config.batch_size, config.seed)

    def loss(batch: Windows) -> Tensor:
        return model.loss(pretrained, batch, family.name, model.config.cql_alpha)

    c = config
    notes = tune(
        tuned,
        loss,
        draw,
        held,
        steps=c.steps,
        learning_rate=c.learning_rate,
        check=c.check,
        max_grad_norm=10.0,
    )
    return model.eval(), config.steps, notes
