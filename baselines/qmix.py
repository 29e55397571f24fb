"""QMIX: values of joint actions that grow with every agent's own value (Rashid et al. 2018), for any number of agents.

In training a mixer sees all agents' observations and combines the values of the actions they took; acting needs an agent's own
value alone, since what is best for it is best for the sum. The mixer's weights come from an embedding of the agent and one of
the state, the mean over agents, so that it neither depends on the order nor on the number of agents (as in Qatten, Yang et al.
2020, and REFIL, Iqbal et al. 2021). Learning from logs is conservative (CQL) in the agents' own values, which the mixer keeps
in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, smooth_l1_loss

from ..benchmark.agent import Agent
from ..benchmark.data.windows import Windows
from .common.networks import Trunk
from .common.q_agent import ValueAgent
from .common.q_learning import (
    DEBUG,
    Transitions,
    ValueConfig,
    ValueModel,
    ValueTrainConfig,
    conservative_loss,
    double_q,
    pick,
    value_trainer,
)

DEFAULT_CHECKPOINT = "qmix-small"


@dataclass(frozen=True)
class QmixConfig(ValueConfig):
    """As `ValueConfig`.

    Attributes:
        embedding: size of the mixer's embeddings of agents and state.
        mixing: units of the mixer's hidden layer.
    """

    OWNER: ClassVar[str] = "QMIX"

    embedding: int = 64
    mixing: int = 32


class Mixer(nn.Module):
    """Q_tot = w2 . elu(sum_i w1_i Q_i / N + b1) + b2, with w1_i and w2 >= 0 given by agents and state.

    Args:
        config: settings.
    """

    def __init__(self, config: QmixConfig) -> None:
        super().__init__()
        size, hidden = config.embedding, config.mixing
        inputs = {name: shape.obs_size + shape.descriptor_size for name, shape in config.families.items()}
        self.encoder = Trunk(inputs, size, layers=1)
        self.first = nn.Linear(2 * size, hidden)
        self.bias = nn.Linear(size, hidden)
        self.second = nn.Linear(size, hidden)
        self.offset = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, 1))

    def forward(self, obs: Tensor, batch: Windows, family: str) -> Mix:
        """The mixing weights at slots with the standardised observations [R, S, O] of a batch's rows."""
        slots = obs.shape[1]
        public = batch.descriptor.unsqueeze(1).expand(-1, slots, -1)
        agent = self.encoder(torch.cat([obs, public], dim=-1), family)
        with torch.autocast(obs.device.type, enabled=False):
            agent = agent.float()
            state = batch.team_mean(agent)
            first = self.first(torch.cat([agent, state[batch.group]], dim=-1)).abs() / (batch.others + 1)[:, None, None]
            return Mix(first, self.bias(state), self.second(state).abs(), self.offset(state).squeeze(-1))


@dataclass(frozen=True)
class Mix:
    """Weights of a mixer at S slots of G joint windows of R rows.

    Attributes:
        first: [R, S, E], none negative.
        bias: [G, S, E].
        second: [G, S, E], none negative.
        offset: [G, S].
    """

    first: Tensor
    bias: Tensor
    second: Tensor
    offset: Tensor

    def total(self, values: Tensor, batch: Windows) -> Tensor:
        """Q_tot [G, S] of the agents' values [R, S]."""
        hidden = batch.team_sum(self.first * values.unsqueeze(-1)) + self.bias
        return (elu(hidden) * self.second).sum(-1) + self.offset


def _firsts(batch: Windows) -> Tensor:
    """The first row of each joint window, [G]."""
    return torch.searchsorted(batch.group, torch.arange(batch.groups, device=batch.group.device))


class Qmix(ValueModel):
    """Agents' values and their mixer.

    Args:
        config: settings or their dict.
    """

    CONFIG = QmixConfig
    SUMMARY = "QMIX: a monotonic mixture of the agents' values, for any number of agents, conservative on logs."

    def __init__(self, config: QmixConfig | dict[str, Any]) -> None:
        super().__init__(config)
        assert isinstance(self.config, QmixConfig)
        self.mixer = Mixer(self.config)

    def loss(self, target: Self, batch: Windows, family: str, cql_alpha: float) -> Tensor:
        """Huber loss of the joint value to its Double-Q target, and the conservative term."""
        seen, obs = (
            Transitions.of(self, batch, family),
            self.standardiser.standardise(batch.obs[:, self.config.history - 1 :], family),
        )
        reward = seen.reward[_firsts(batch)]
        values, later = self(seen.view.earlier(), family), seen.view.later()
        taken = pick(values, seen.taken)
        mix = self.mixer(obs[:, :-1], batch, family)
        with torch.no_grad():
            following = double_q(self(later, family), target(later, family), seen.allowed[:, 1:])
            backup = reward + self.config.discount * target.mixer(obs[:, 1:], batch, family).total(following, batch)
        loss = smooth_l1_loss(mix.total(taken, batch), backup)
        return loss + cql_alpha * conservative_loss(values, seen) if cql_alpha else loss


PRESETS = {
    "debug": replace(DEBUG, network=(*DEBUG.network, ("embedding", 16))),
    "small": ValueTrainConfig(
        steps=1500,
        batch_size=512,
    ),
}

TRAINER = value_trainer("qmix", Qmix, PRESETS)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    model = Qmix.from_pretrained(checkpoint or DEFAULT_CHECKPOINT)
    return ValueAgent("qmix", model, privileged_training=True, device=device)
