"""A critic of the whole team, and the actors that it trains; the critic exists in training alone, no checkpoint holds it.

An additive value cannot say that *one* of several agents should act: each is credited for acting, and then all of them act. So
where agents must agree who goes, a central critic learns from the recordings what a *joint* action is worth to the team,
knowing what all agents see. How actors learn from it is in `counterfactual.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..benchmark.data.windows import Windows
from ..benchmark.family import FamilyShape
from .modules import deep, mlp

WIDTH, EMBEDDING = 256, 128
FEW = 4.0  # agents; the embeddings of all are read as a mean and as a sum in this unit


class Actor(nn.Module):
    """What agents do and say in a family.

    Args:
        features: floats S that an agent sees in a slot.
        public: floats P that are known of the variant.
        history: slots L seen, the current one included.
        message: floats M that it broadcasts.
        hidden: width.
        size: of an action code.
    """

    def __init__(self, features: int, public: int, history: int, message: int, hidden: int, size: int) -> None:
        super().__init__()
        self.history = history
        self.policy = deep(history * (features + 2 * message) + public, hidden, size)
        self.voice = deep(features, hidden, message)

    def message(self, features: Tensor) -> Tensor:
        """Features [..., S] -> messages [..., M] in (-1, 1)."""
        return torch.tanh(self.voice(features).float())

    def forward(self, features: Tensor, inboxes: Tensor, public: Tensor) -> Tensor:
        """Features [..., L, S], those of inboxes [..., L, 2 M], what is public [..., P] -> logits [..., size]."""
        return self.policy(torch.cat([features.flatten(-2), inboxes.flatten(-2), public], dim=-1))


class CentralCritic(nn.Module):
    """Value of a joint action to the team, from what all agents see: each agent is embedded, the sum is read.

    Args:
        shape: of the family.
        actions: number of an agent's actions.
    """

    def __init__(self, shape: FamilyShape, actions: int) -> None:
        super().__init__()
        self.observation = nn.Linear(shape.obs_size + shape.descriptor_size, WIDTH)
        self.action = nn.Embedding(actions, WIDTH)
        self.embed = nn.Sequential(nn.LayerNorm(WIDTH), nn.SiLU(), mlp(WIDTH, WIDTH, EMBEDDING))
        self.read = nn.Sequential(mlp(2 * EMBEDDING + shape.descriptor_size, WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))

    def joint(self, obs: Tensor, taken: Tensor, batch: Windows) -> Tensor:
        """Value [groups] of what the agents of each joint window do, `taken` [R], at standardised observations [R, O]."""
        total = batch.team_sum(self.embed(self._seen(obs, batch) + self.action(taken)))
        return self._value(total, batch.team_mean(batch.others), batch.team_mean(batch.descriptor))

    def counterfactual(self, obs: Tensor, taken: Tensor, batch: Windows) -> Tensor:
        """Values [R, actions] of all actions of each agent while the others do what is `taken` [R] (COMA)."""
        embedded = self.embed(self._seen(obs, batch).unsqueeze(1) + self.action.weight)
        own = embedded[torch.arange(len(taken), device=taken.device), taken]
        others = (batch.team_sum(own)[batch.group] - own).unsqueeze(1)
        return self._value(others + embedded, batch.others.unsqueeze(1), batch.descriptor.unsqueeze(1))

    def _seen(self, obs: Tensor, batch: Windows) -> Tensor:
        return self.observation(torch.cat([obs, batch.descriptor], dim=-1))

    def _value(self, total: Tensor, others: Tensor, descriptor: Tensor) -> Tensor:
        mean = total / (others.unsqueeze(-1) + 1.0)
        known = descriptor.expand(*total.shape[:-1], -1)
        return self.read(torch.cat([mean, total / FEW, known], dim=-1)).squeeze(-1).float()
