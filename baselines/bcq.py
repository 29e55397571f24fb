"""bcq: behaviour cloning weighed by a learned value, the control without world model and messages.

One network clones every recording, told its quality (random, medium, ...), another learns the value Q of playing on with the
improved policy pi_b(a | expert) exp(Q / tau), which is also what it plays: the best of all actions of the table where others
draw N candidates from the clone and weigh them (Ghasemipour et al., EMaQ, 2021; Peng et al., AWR, 2019).

Q is additive as NetWorld's: the team's value is the mean of the agents' (Sunehag et al. 2018), so that an agent is not credited
with what the others did at the same time, and the team's improved policy is the product of the agents' own (Wang et al., OMIGA,
2023). No world model, no messages: what a planner adds must show above this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, smooth_l1_loss

from ..benchmark.agent import Agent, Support
from ..benchmark.data.windows import Windows, WindowSampler
from ..benchmark.family import QUALITIES, FamilyShape
from ..benchmark.randomness import gumbel
from ..learning.training import Trainer
from .common.networks import AgentView, Trunk
from .common.q_agent import ValueAgent
from .common.q_learning import PretrainConfig, Seen, ValueConfig, ValueModel, pick, pretrain

DEFAULT_CHECKPOINT = "bcq-small"


@dataclass(frozen=True)
class BcqConfig(ValueConfig):
    """As `ValueConfig`; `temperatures` are tau in acting, and the unit of values is the deviation of a slot's team reward.

    Attributes:
        rewards: mean and deviation of a slot's team reward in the source data, by family.
        improvement: tau in learning, by family; 1 for others.
        weight: of the value's loss beside the clone's.
        sampled: families in which it draws from the improved policy; in the others it plays the mode.
        adjusted: families whose value is adjusted for who plays, as NetWorld's: it is told the quality of a recording, and does
            not learn from the mixed one, where a genie acts on what no agent sees. Unlike NetWorld's, which asks what is worth
            most among experts from the next slot on, it bootstraps from the value among those who recorded.
    """

    OWNER: ClassVar[str] = "bcq"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("values", "rewards")

    rewards: dict[str, tuple[float, float]] = field(default_factory=dict)
    improvement: dict[str, float] = field(default_factory=dict)
    weight: float = 4.0
    sampled: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()

    def measured(self, samplers: Mapping[str, WindowSampler]) -> Self:
        """These settings with what the source data of each family say."""
        rewards: dict[str, tuple[float, float]] = {}
        for name, sampler in samplers.items():
            slots = torch.cat([source.returns_to_go(0.0).flatten() for source in sampler.sources])
            rewards[name] = round(float(slots.mean()), 4), round(float(slots.std()), 4)
        return replace(super().measured(samplers), rewards=rewards)

    def improves_at(self, family: str) -> float:
        """Tau in learning in a family."""
        return self.improvement.get(family, 1.0)


class Bcq(ValueModel):
    """Clone and value on trunks of their own; the value is told who plays only where it is adjusted for that.

    Args:
        config: settings or their dict.
    """

    CONFIG = BcqConfig

    def __init__(self, config: BcqConfig | dict[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        inputs = {name: self.inputs(shape) for name, shape in c.families.items()}
        self.clone_trunk = Trunk(inputs, c.hidden, c.layers)
        self.clone_heads = nn.ModuleDict({name: nn.Linear(c.hidden, codec.size) for name, codec in self.codecs.items()})

    @property
    def settings(self) -> BcqConfig:
        """The settings as what they are."""
        assert isinstance(self.config, BcqConfig)
        return self.config

    def inputs(self, shape: FamilyShape) -> int:
        """Length of what clone and value of a family see: own observations, the variant's description, who plays."""
        return self.config.history * shape.obs_size + shape.descriptor_size + len(QUALITIES)

    def forward(self, view: AgentView, family: str, quality: Tensor | None = None) -> Tensor:
        """An agent's share Q of the team's value, for the rows of the action table, [..., number].

        Args:
            view: what the agents see.
            family: name of the family.
            quality: who plays, [...]; None = those of the quality aimed at. Without effect where the value is not adjusted.
        """
        told = self.told(view, quality) * (family in self.settings.adjusted)
        return self.heads[family](self.trunk(torch.cat([self.scaled(view, family).seen(), told], dim=-1), family))

    def clone(self, view: AgentView, mask: Tensor, family: str, quality: Tensor | None = None) -> Tensor:
        """Log-probabilities [..., number] of what players of a quality do, as in `forward`; `mask` [..., A] forbids choices."""
        x = torch.cat([self.scaled(view, family).seen(), self.told(view, quality)], dim=-1)
        codec = self.codecs[family]
        return codec.table_log_probs(codec.mask(self.clone_heads[family](self.clone_trunk(x, family)), mask))

    def told(self, view: AgentView, quality: Tensor | None) -> Tensor:
        """Who plays as a one-hot vector, [..., Q]; None = those of the quality aimed at."""
        if quality is None:
            aim = QUALITIES.index(self.settings.aim)
            quality = torch.full(view.descriptor.shape[:-1], aim, device=view.descriptor.device)
        return one_hot(quality, len(QUALITIES)).float()

    def draws(self, family: str) -> int:
        """Uniform numbers that choosing an action takes."""
        return self.numbers[family] if family in self.settings.sampled else 0

    def choose(self, view: AgentView, mask: Tensor, luck: Tensor, family: str) -> Tensor:
        """The mode of pi_b exp(Q / tau), or a draw from it: table rows [...]."""
        temperature = self.config.temperatures.get(family, self.settings.improves_at(family))
        logits = self.clone(view, mask, family) + self(view, family) / temperature
        if self.draws(family):
            logits = logits + gumbel(luck)
        return logits.argmax(-1)

    def scaled_reward(self, reward: Tensor, family: str) -> Tensor:
        """Team rewards, standardised."""
        mean, deviation = self.settings.rewards[family]
        return (reward - mean) / deviation

    def learnable(self, parts: Sequence[Support], family: str) -> list[nn.Parameter]:
        """Everything, as the clone holds it to what is done; the clone alone where nothing informs an adjusted value."""
        if family in self.settings.adjusted and not all(part.informs_values for part in parts):
            return [*self.clone_trunk.parameters(), *self.clone_heads.parameters()]
        return list(self.parameters())

    def loss(self, target: Self, batch: Windows, family: str, conservatism: float) -> Tensor:
        """Cross entropy of the clone, and Huber loss of the team's value to that of the improved policy."""
        seen, mask = Seen.of(self, batch, family), batch.action_mask[:, self.config.history - 1 :]
        now, later = seen.view.earlier(), seen.view.later()
        quality = batch.quality.unsqueeze(1).expand_as(seen.taken)
        with torch.no_grad():
            shares = target(later, family, quality)
            better = target.clone(later, mask[:, 1:], family) + shares / self.settings.improves_at(family)
            backup = seen.reward + self.config.discount * (better.softmax(-1) * shares).sum(-1)
        cloning = -pick(self.clone(now, mask[:, :-1], family, quality), seen.taken).mean()
        error = batch.team_mean(pick(self(now, family, quality), seen.taken) - backup)
        wrong = smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean(-1)
        known = batch.without_genie() if family in self.settings.adjusted else torch.ones_like(wrong)
        return cloning + self.settings.weight * (wrong * known).sum() / known.sum().clamp(min=1.0)


PRESETS = {
    "debug": PretrainConfig(release="mini", steps=20, rows=256, network=(("hidden", 32),)),
    "small": PretrainConfig(
        steps=6000,
        network=(
            ("temperatures", {"access": 1.5, "power": 1.4, "offload": 0.35}),
            ("improvement", {"power": 2.0}),
            ("adjusted", ("power",)),
        ),
    ),
}

TRAINER = Trainer("bcq", PRESETS, partial(pretrain, Bcq))


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return ValueAgent("bcq", Bcq.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), tracks=("offline",), device=device)
