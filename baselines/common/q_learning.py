"""What iql, qmix and brq share: the values of an agent's actions, their Bellman targets, pretraining.

Values are learned in units that are alike in all families. Unless a model says otherwise, the range of discounted team rewards
that was recorded spans UNITS, and its middle is zero. A unit is then worth about what one good action is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ...benchmark.agent import Support
from ...benchmark.data.windows import Windows, WindowSampler
from ...benchmark.family import QUALITIES, Family, FamilyShape, Quality
from ...benchmark.randomness import gumbel
from ...learning.checkpoint import Pretrained
from ...learning.codec import ActionCodec
from ...learning.context import codes
from ...learning.descent import Descent, DescentConfig, fit_sources, sources
from ...learning.modules import Standardiser
from ...learning.parallel import Processes
from ...learning.reading import ReaderConfig
from ...learning.training import Trainer
from .networks import AgentView, Dueling, Trunk, agent_views, input_size, table_mask

UNITS = 20.0


@dataclass(frozen=True)
class ValueConfig(ReaderConfig):
    """What the network is, and what its values mean.

    Attributes:
        families: shape of each family that it knows, by name.
        values: least and greatest discounted team reward recorded, by family.
        transitions: logged agent transitions that it was pretrained on.
        hidden: width.
        layers: shared layers.
        history: observations seen, the current one included.
        discount: of the value.
        aim: the recorded quality that play is to improve on.
        cql_alpha: weight of the conservative term when learning from logs.
        evaluation_temperatures: of the softmax over values that actions are drawn from in play, in value units, by family;
            without one the best action is played.
    """

    OWNER: ClassVar[str] = "IQL"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("values",)

    values: dict[str, tuple[float, float]]
    transitions: int = 0
    hidden: int = 256
    layers: int = 2
    history: int = 4
    discount: float = 0.95
    aim: Quality = "expert"
    cql_alpha: float = 1.0
    evaluation_temperatures: dict[str, float] = field(default_factory=dict)

    def measured(self, samplers: Mapping[str, WindowSampler]) -> Self:
        """These settings with what the source data of each family say."""
        values = {name: sampler.value_range(self.discount) for name, sampler in samplers.items()}
        return replace(self, values=values, transitions=sum(sampler.transitions for sampler in samplers.values()))


class ValueModel(nn.Module, Pretrained, library_name="wbench", license="apache-2.0", tags=["wbench"]):
    """Values of all actions of an agent, from its own view; what a subclass adds is how they are learned.

    Args:
        config: settings or their dict.
    """

    PACKAGED = Path(__file__).parents[1] / "checkpoints"
    CONFIG: type[ValueConfig] = ValueConfig

    def __init__(self, config: ValueConfig | dict[str, Any]) -> None:
        super().__init__()
        self.config = c = self.CONFIG.from_dict(config) if isinstance(config, dict) else config
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.numbers = {name: len(codec.table()) for name, codec in self.codecs.items()}
        self.standardiser = Standardiser({name: shape.obs_size for name, shape in c.families.items()})
        self.trunk = Trunk({name: self.inputs(shape) for name, shape in c.families.items()}, c.hidden, c.layers)
        self.heads = nn.ModuleDict({name: Dueling(c.hidden, number) for name, number in self.numbers.items()})
        self.support = c.make_encoder()

    def inputs(self, shape: FamilyShape) -> int:
        """Length of what the value of a family sees."""
        return input_size(shape, self.config.history, self.config.read_size(shape))

    def scaled(self, view: AgentView, family: str) -> AgentView:
        """A view with its observations standardised."""
        return replace(view, history=self.standardiser.standardise(view.history, family))

    def forward(self, view: AgentView, family: str) -> Tensor:
        """Values [..., number] of the rows of the action table."""
        return self.heads[family](self.trunk(self.scaled(view, family).features(), family))

    def draws(self, family: str) -> int:
        """Uniform numbers that choosing an action takes."""
        return self.numbers[family] if self.config.evaluation_temperatures.get(family) else 0

    def choose(self, view: AgentView, mask: Tensor, luck: Tensor, family: str) -> Tensor:
        """The table row to play, [...].

        Args:
            view: what the agents see.
            mask: allowed actions, [..., A] bool.
            luck: numbers in (0, 1), [..., draws].
            family: name of the family.
        """
        scores = self(view, family).masked_fill(~table_mask(self.codecs[family], mask), -torch.inf)
        if temperature := self.config.evaluation_temperatures.get(family):
            scores = scores + temperature * gumbel(luck)
        return scores.argmax(-1)

    def scaled_reward(self, reward: Tensor, family: str) -> Tensor:
        """Team rewards in value units, shifted so that values lie around zero."""
        low, high = self.config.values[family]
        middle = (1.0 - self.config.discount) * (low + high) / 2.0
        return (reward - middle) * (UNITS / max(high - low, 1e-6))

    def loss(self, target: Self, batch: Windows, family: str, cql_alpha: float) -> Tensor:
        """What is minimised on a batch of windows; `target` is the slowly moving copy that gives Bellman targets."""
        raise NotImplementedError

    def learnable(self, parts: Sequence[Support], family: str) -> list[nn.Parameter]:
        """What each of these parts of a support can tune, or judge: everything, or nothing.

        Without an example to follow the conservative term is silent, and Q-learning runs off to actions that nobody tried.
        """
        return list(self.parameters()) if all(self.config.aim in part.quality for part in parts) else []


@dataclass(frozen=True)
class Transitions:
    """A batch of windows as learning reads it: R rows, S transitions each.

    Attributes:
        view: views at S + 1 slots, [R, S + 1].
        allowed: which table rows are allowed at each, [R, S + 1, number].
        taken: table rows of the recorded actions, [R, S].
        reward: team reward in value units, [R, S].
        exemplary: whether a row was recorded by those whom play is to improve on, [R].
    """

    view: AgentView
    allowed: Tensor
    taken: Tensor
    reward: Tensor
    exemplary: Tensor

    @classmethod
    def of(cls, model: ValueModel, batch: Windows, family: str) -> Transitions:
        """Read a batch of windows whose history is that of the model."""
        now, codec = model.config.history - 1, model.codecs[family]
        site = codes(model.support, batch, family, batch.obs.shape[1] - now)
        return cls(
            agent_views(batch, model.config.history, site),
            table_mask(codec, batch.action_mask[:, now:]),
            codec.index(batch.action[:, now:-1]),
            model.scaled_reward(batch.reward[:, now:-1], family),
            batch.quality == QUALITIES.index(model.config.aim),
        )


def pick(values: Tensor, taken: Tensor) -> Tensor:
    """Values [...] of the taken actions [...] among values [..., number]."""
    return values.gather(-1, taken.unsqueeze(-1)).squeeze(-1)


def double_q(online: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
    """The target's value of the online network's best allowed action (van Hasselt et al. 2016): [..., number] -> [...]."""
    return pick(target, online.masked_fill(~allowed, -torch.inf).argmax(-1))


def conservative_loss(values: Tensor, seen: Transitions) -> Tensor:
    """CQL(H) (Kumar et al. 2020): soft maximum over the allowed actions less the recorded action's value [R, S, number].

    It is taken over the recordings of the best alone: in all of them it would hold play to what random players do.
    """
    gap = values.masked_fill(~seen.allowed[:, :-1], -torch.inf).logsumexp(-1) - pick(values, seen.taken)
    return (gap.mean(-1) * seen.exemplary).sum() / seen.exemplary.sum().clamp(min=1)


@dataclass(frozen=True)
class ValueTrainConfig(DescentConfig):
    """As `DescentConfig`.

    Attributes:
        slots: transitions a window.
        network: fields of the network's settings that differ from its defaults.
    """

    tau: float = 0.03
    steps: int = 4000
    slots: int = 1
    network: tuple[tuple[str, Any], ...] = ()


DEBUG = ValueTrainConfig(release="mini", steps=20, batch_size=256, warmup=5, network=(("hidden", 32),))


class ValueLearner(Descent[ValueModel]):
    """Learns values from all qualities of the train variants."""

    @classmethod
    def of(cls, kind: type[ValueModel], families: Sequence[Family], config: ValueTrainConfig, processes: Processes) -> Self:
        """A fresh network of a kind and the data of these families."""
        plain = kind.CONFIG({family.name: FamilyShape.of(family) for family in families}, {}, **dict(config.network))
        samplers = sources(families, config, plain.history - 1, config.slots)
        model = kind(plain.measured(samplers)).to(processes.device)
        fit_sources((model.standardiser, model.support), samplers)
        return cls(model, samplers, config, processes, averaged=True)

    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """The model's loss."""
        return {"loss": self.model.loss(self.target, batch, family, self.model.config.cql_alpha)}


def value_trainer(agent: str, kind: type[ValueModel], presets: Mapping[str, ValueTrainConfig]) -> Trainer[ValueTrainConfig]:
    """The trainer of an agent that plays by values."""
    return Trainer(agent, kind, presets, partial(ValueLearner.of, kind))
