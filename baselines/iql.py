"""IQL: independent Q-learning on the team reward (Tan 1993; Tampuu et al. 2017), with the practice of later years.

Every agent learns the value of its own actions from its own view and takes the others for a part of the world. Parameters are
shared, agents have identities, targets are Double-Q from a Polyak-averaged network, the network is dueling with layer norm, and
learning from logs is conservative (CQL).
"""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..benchmark.agent import Agent
from ..benchmark.data.windows import Windows
from ..learning.training import Trainer
from .common.q_agent import ValueAgent
from .common.q_learning import PretrainConfig, Seen, ValueModel, conservative_loss, double_q, pick, pretrain

DEFAULT_CHECKPOINT = "iql-small"


class Iql(ValueModel):
    """Independent values of all agents."""

    def loss(self, target: Self, batch: Windows, family: str, conservatism: float) -> Tensor:
        """Huber loss to the Double-Q target of each agent alone, and the conservative term."""
        seen = Seen.of(self, batch, family)
        values, later = self(seen.view.earlier(), family), seen.view.later()
        with torch.no_grad():
            following = double_q(self(later, family), target(later, family), seen.allowed[:, 1:])
            backup = seen.reward + self.config.discount * following
        loss = smooth_l1_loss(pick(values, seen.taken), backup)
        return loss + conservatism * conservative_loss(values, seen) if conservatism else loss


PRESETS = {
    "debug": PretrainConfig(release="mini", steps=20, rows=256, network=(("hidden", 32),)),
    "small": PretrainConfig(network=(("conservatism", 3.0), ("temperatures", {"power": 0.6, "offload": 0.45}))),
}

TRAINER = Trainer("iql", PRESETS, partial(pretrain, Iql))


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return ValueAgent("iql", Iql.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)
