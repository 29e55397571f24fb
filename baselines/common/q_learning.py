"""What IQL, QMIX and bcq share: the values of an agent's actions, their Bellman targets, pretraining.

Values are learned in units that are alike in all families. Unless a model says otherwise, the range of discounted team rewards
that was recorded spans UNITS, and its middle is zero. A unit is then worth about what one good action is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ...benchmark.agent import Support
from ...benchmark.data.release import get_release
from ...benchmark.data.windows import Windows, WindowSampler, load_samplers
from ...benchmark.family import QUALITIES, Family, FamilyShape, Quality
from ...benchmark.randomness import gumbel
from ...learning.checkpoint import CheckpointConfig, Pretrained
from ...learning.codec import ActionCodec
from ...learning.modules import Standardiser
from ...learning.precision import mixed
from ...learning.training import Run, follow, set_rate
from .networks import AgentView, Dueling, Trunk, agent_views, input_size, table_mask

UNITS = 20.0


@dataclass(frozen=True)
class ValueConfig(CheckpointConfig):
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
        conservatism: weight of the conservative term when learning from logs.
        temperatures: of the softmax over values that actions are drawn from, in value units, by family; without one the best
            action is played.
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
    conservatism: float = 1.0
    temperatures: dict[str, float] = field(default_factory=dict)

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

    def inputs(self, shape: FamilyShape) -> int:
        """Length of what the value of a family sees."""
        return input_size(shape, self.config.history)

    def scaled(self, view: AgentView, family: str) -> AgentView:
        """A view with its observations standardised."""
        return replace(view, history=self.standardiser.standardise(view.history, family))

    def forward(self, view: AgentView, family: str) -> Tensor:
        """Values [..., number] of the rows of the action table."""
        return self.heads[family](self.trunk(self.scaled(view, family).features(), family))

    def draws(self, family: str) -> int:
        """Uniform numbers that choosing an action takes."""
        return self.numbers[family] if self.config.temperatures.get(family) else 0

    def choose(self, view: AgentView, mask: Tensor, luck: Tensor, family: str) -> Tensor:
        """The table row to play, [...].

        Args:
            view: what the agents see.
            mask: allowed actions, [..., A] bool.
            luck: numbers in (0, 1), [..., draws].
            family: name of the family.
        """
        scores = self(view, family).masked_fill(~table_mask(self.codecs[family], mask), -torch.inf)
        if temperature := self.config.temperatures.get(family):
            scores = scores + temperature * gumbel(luck)
        return scores.argmax(-1)

    def scaled_reward(self, reward: Tensor, family: str) -> Tensor:
        """Team rewards in value units, shifted so that values lie around zero."""
        low, high = self.config.values[family]
        middle = (1.0 - self.config.discount) * (low + high) / 2.0
        return (reward - middle) * (UNITS / max(high - low, 1e-6))

    def loss(self, target: Self, batch: Windows, family: str, conservatism: float) -> Tensor:
        """What is minimised on a batch of windows; `target` is the slowly moving copy that gives Bellman targets."""
        raise NotImplementedError

    def learnable(self, parts: Sequence[Support], family: str) -> list[nn.Parameter]:
        """What each of these parts of a support can tune, or judge: everything, or nothing.

        Without an example to follow the conservative term is silent, and Q-learning runs off to actions that nobody tried.
        """
        return list(self.parameters()) if all(self.config.aim in part.quality for part in parts) else []


@dataclass(frozen=True)
class Seen:
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
    def of(cls, model: ValueModel, batch: Windows, family: str) -> Seen:
        """Read a batch of windows whose history is that of the model."""
        now, codec = model.config.history - 1, model.codecs[family]
        return cls(
            agent_views(batch, model.config.history),
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


def conservative_loss(values: Tensor, seen: Seen) -> Tensor:
    """CQL(H) (Kumar et al. 2020): soft maximum over the allowed actions less the recorded action's value [R, S, number].

    It is taken over the recordings of the best alone: in all of them it would hold play to what random players do.
    """
    gap = values.masked_fill(~seen.allowed[:, :-1], -torch.inf).logsumexp(-1) - pick(values, seen.taken)
    return (gap.mean(-1) * seen.exemplary).sum() / seen.exemplary.sum().clamp(min=1)


@dataclass(frozen=True)
class PretrainConfig:
    """How to pretrain on the train variants.

    Attributes:
        release: the data.
        steps: gradient steps.
        rows: agent windows a step, shared equally among the families.
        slots: transitions a window.
        rate: peak learning rate; linear warm-up over the first twentieth, cosine decay.
        decay: weight decay.
        follow: share by which the target network moves to the online one after a step (Polyak; Lillicrap et al. 2016).
        save_every: steps between resumable states.
        seed: of initialisation and sampling.
        network: fields of the network's settings that differ from its defaults.
    """

    release: str = "standard"
    steps: int = 4000
    rows: int = 3072
    slots: int = 1
    rate: float = 1e-3
    decay: float = 1e-2
    follow: float = 0.03
    save_every: int = 250
    seed: int = 0
    network: tuple[tuple[str, Any], ...] = ()


def pretrain(
    kind: type[ValueModel],
    families: Sequence[Family],
    config: PretrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> ValueModel:
    """Learn from all qualities of the train variants; the moving average of the network goes to `folder`.

    Args:
        kind: what is trained.
        families: the families; every step takes an equal share of rows from each.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.
    """
    run = Run(folder, config, resume, on_step)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    plain = kind.CONFIG({family.name: FamilyShape.of(family) for family in families}, {}, **dict(config.network))
    samplers = load_samplers(families, get_release(config.release), plain.history - 1, config.slots, generator)
    model = kind(plain.measured(samplers)).to(device)
    model.standardiser.fit_sources(samplers)
    target = copy.deepcopy(model).requires_grad_(False)
    parameters, averages = list(model.parameters()), list(target.parameters())
    optimiser = torch.optim.AdamW(parameters, config.rate, betas=(0.9, 0.98), weight_decay=config.decay, fused=True)
    for step in range(run.begin({"model": model, "target": target, "optimiser": optimiser}, generator), config.steps):
        set_rate(optimiser, config.rate * _schedule(step / config.steps))
        losses: dict[str, Tensor] = {}
        optimiser.zero_grad()
        for name, sampler in samplers.items():
            batch = sampler.sample(config.rows // len(samplers)).to(device)
            with mixed(device):
                loss = model.loss(target, batch, name, model.config.conservatism)
            (loss / len(samplers)).backward()
            losses[f"{name}/loss"] = loss.detach()
        advance(parameters, averages, optimiser, config.follow, clip=1.0)
        if run.due(step):
            run.note(step, losses)
        run.keep(step + 1)
    run.finish(target)
    return target.eval()


def advance(
    parameters: Sequence[Tensor], averages: Sequence[Tensor], optimiser: torch.optim.Optimizer, share: float, clip: float = 10.0
) -> None:
    """One optimiser step with gradients of at most this norm, then the target network's parameters follow by this share."""
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    follow(averages, parameters, share)


def _schedule(progress: float) -> float:
    return min(1.0, 20.0 * progress + 0.05) * 0.5 * (1.0 + math.cos(math.pi * progress))
