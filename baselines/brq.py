"""brq: behaviour-regularised Q-learning, the control without world model and messages.

One network clones every recording, told its quality (random, medium, ...), another learns the value Q of the improved policy
pi_b(a | expert) exp(Q / temperature), the solution of Q-learning with a KL penalty towards the clone (Wu et al., BRAC, 2019;
Peng et al., AWR, 2019). It plays that policy too, over all actions of the table, where others draw N candidates from the clone
and weigh them (Ghasemipour et al., EMaQ, 2021). It is not the BCQ of Fujimoto et al. (2019): it constrains no action, perturbs
none, and takes no maximum over samples of a generative model.

Q is additive as NetWorld's: the team's value is the mean of the agents' (Sunehag et al. 2018), so that an agent is not credited
with what the others did at the same time, and the team's improved policy is the product of the agents' own (Wang et al., OMIGA,
2023). No world model, no messages: what a planner adds must show above this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, smooth_l1_loss

from ..benchmark.agent import Agent, Support
from ..benchmark.data.windows import Windows, WindowSampler
from ..benchmark.family import QUALITIES, FamilyShape
from ..benchmark.randomness import gumbel
from .common.networks import AgentView, Trunk
from .common.q_agent import ValueAgent
from .common.q_learning import DEBUG, Transitions, ValueConfig, ValueModel, ValueTrainConfig, pick, value_trainer

DEFAULT_CHECKPOINT = "brq-small"


@dataclass(frozen=True)
class BrqConfig(ValueConfig):
    """As `ValueConfig`; the unit of values is the deviation of a slot's team reward.

    Attributes:
        rewards: mean and deviation of a slot's team reward in the source data, by family.
        temperatures: of the improved policy whose value is learned, by family; 1 for others. That of the policy that is played
            is the same, unless `evaluation_temperatures` says another.
        value_weight: of the value's loss beside the clone's.
        sampled: families in which it draws from the improved policy; in the others it plays the mode.
        behaviour_conditioned: families whose value is told the quality of a recording, as NetWorld's, and does not learn from
            the mixed one, where a genie acts on what no agent sees. Unlike NetWorld's, which asks what is worth
            most among experts from the next slot on, it bootstraps from the value among those who recorded.
    """

    OWNER: ClassVar[str] = "brq"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("values", "rewards")

    rewards: dict[str, tuple[float, float]] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    value_weight: float = 4.0
    sampled: tuple[str, ...] = ()
    behaviour_conditioned: tuple[str, ...] = ()

    def measured(self, samplers: Mapping[str, WindowSampler]) -> Self:
        """These settings with what the source data of each family say."""
        rewards: dict[str, tuple[float, float]] = {}
        for name, sampler in samplers.items():
            slots = torch.cat([source.returns_to_go(0.0).flatten() for source in sampler.sources])
            rewards[name] = round(float(slots.mean()), 4), round(float(slots.std()), 4)
        return replace(super().measured(samplers), rewards=rewards)

    def temperature(self, family: str) -> float:
        """Of the improved policy whose value is learned in a family."""
        return self.temperatures.get(family, 1.0)


class Brq(ValueModel):
    """Clone and value on trunks of their own; the value is told who acts where it is behaviour-conditioned.

    Args:
        config: settings or their dict.
    """

    CONFIG = BrqConfig
    SUMMARY = (
        "Behaviour-regularised Q-learning: behaviour cloning weighed by an additive value of the team, NetWorld's value "
        "without its world model and messages, a cheap control."
    )

    def __init__(self, config: BrqConfig | dict[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        inputs = {name: self.inputs(shape) for name, shape in c.families.items()}
        self.clone_trunk = Trunk(inputs, c.hidden, c.layers)
        self.clone_heads = nn.ModuleDict({name: nn.Linear(c.hidden, codec.size) for name, codec in self.codecs.items()})

    @property
    def settings(self) -> BrqConfig:
        """The settings as what they are."""
        assert isinstance(self.config, BrqConfig)
        return self.config

    def inputs(self, shape: FamilyShape) -> int:
        """Length of what clone and value of a family see: own observations, the variant's description, who plays."""
        return self.config.history * shape.obs_size + shape.descriptor_size + self.config.read_size(shape) + len(QUALITIES)

    def forward(self, view: AgentView, family: str, quality: Tensor | None = None) -> Tensor:
        """An agent's share Q of the team's value, for the rows of the action table, [..., number].

        Args:
            view: what the agents see.
            family: name of the family.
            quality: of the behaviour, [...]; None = the quality aimed at. Without effect where no value is conditioned on it.
        """
        told = self.told(view, quality) * (family in self.settings.behaviour_conditioned)
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
        """The mode of pi_b exp(Q / temperature), or a draw from it: table rows [...]."""
        temperature = self.config.evaluation_temperatures.get(family, self.settings.temperature(family))
        logits = self.clone(view, mask, family) + self(view, family) / temperature
        if self.draws(family):
            logits = logits + gumbel(luck)
        return logits.argmax(-1)

    def scaled_reward(self, reward: Tensor, family: str) -> Tensor:
        """Team rewards, standardised."""
        mean, deviation = self.settings.rewards[family]
        return (reward - mean) / deviation

    def learnable(self, parts: Sequence[Support], family: str) -> list[nn.Parameter]:
        """Everything, as the clone holds it to what is done; the clone alone where nothing informs a conditioned value."""
        if family in self.settings.behaviour_conditioned and not all(part.informs_values for part in parts):
            return [*self.clone_trunk.parameters(), *self.clone_heads.parameters()]
        return list(self.parameters())

    def loss(self, target: Self, batch: Windows, family: str, cql_alpha: float) -> Tensor:
        """Cross entropy of the clone, and Huber loss of the team's value to that of the improved policy."""
        seen, mask = Transitions.of(self, batch, family), batch.action_mask[:, self.config.history - 1 :]
        now, later = seen.view.earlier(), seen.view.later()
        quality = batch.quality.unsqueeze(1).expand_as(seen.taken)
        with torch.no_grad():
            shares = target(later, family, quality)
            better = target.clone(later, mask[:, 1:], family) + shares / self.settings.temperature(family)
            backup = seen.reward + self.config.discount * (better.softmax(-1) * shares).sum(-1)
        cloning = -pick(self.clone(now, mask[:, :-1], family, quality), seen.taken).mean()
        error = batch.team_mean(pick(self(now, family, quality), seen.taken) - backup)
        wrong = smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean(-1)
        known = batch.without_genie() if family in self.settings.behaviour_conditioned else torch.ones_like(wrong)
        return cloning + self.settings.value_weight * (wrong * known).sum() / known.sum().clamp(min=1.0)


PRESETS = {
    "debug": DEBUG,
    "small": ValueTrainConfig(
        steps=1500,
        batch_size=512,
        network=(
            ("evaluation_temperatures", {"access": 3.0, "power": 1.4, "offload": 5.0}),
            ("temperatures", {"power": 2.0}),
            ("behaviour_conditioned", ("power",)),
            ("sampled", ("power",)),
        ),
    ),
}

TRAINER = value_trainer("brq", Brq, PRESETS)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return ValueAgent("brq", Brq.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), tracks=("offline",), device=device)
