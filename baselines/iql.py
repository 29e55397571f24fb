"""iql: *independent* Q-learning on the team reward (Tan 1993; Tampuu et al. 2017), with the practice of later years.

Not implicit Q-learning (Kostrikov et al. 2022), which has the same initials.

Every agent learns the value of its own actions from its own view and takes the others for a part of the world. Parameters are
shared, agents have identities, targets are Double-Q from a Polyak-averaged network, the network is dueling with layer norm, and
learning from logs is conservative (CQL).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..benchmark.agent import Agent
from ..benchmark.data.windows import Windows
from .common.q_agent import ValueAgent
from .common.q_learning import (
    DEBUG,
    Transitions,
    ValueModel,
    ValueTrainConfig,
    conservative_loss,
    double_q,
    pick,
    value_trainer,
)

DEFAULT_CHECKPOINT = "iql-small"


class Iql(ValueModel):
    """Independent values of all agents."""

    SUMMARY = "Independent Q-learning on the team reward: Double-Q, dueling, conservative on logs."

    def loss(self, target: Self, batch: Windows, family: str, cql_alpha: float) -> Tensor:
        """Huber loss to the Double-Q target of each agent alone, and the conservative term."""
        seen = Transitions.of(self, batch, family)
        values, later = self(seen.view.earlier(), family), seen.view.later()
        with torch.no_grad():
            following = double_q(self(later, family), target(later, family), seen.allowed[:, 1:])
            backup = seen.reward + self.config.discount * following
        loss = smooth_l1_loss(pick(values, seen.taken), backup)
        return loss + cql_alpha * conservative_loss(values, seen) if cql_alpha else loss


PRESETS = {
    "debug": DEBUG,
    "small": ValueTrainConfig(
        steps=1500,
        batch_size=512,
        network=(("cql_alpha", 3.0),),
    ),
}

TRAINER = value_trainer("iql", Iql, PRESETS)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return ValueAgent("iql", Iql.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)
