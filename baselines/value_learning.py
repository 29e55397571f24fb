"""What IQL, QMIX and bcq share: the values of an agent's actions, their Bellman targets, pretraining.

Values are learned in units that are alike in all families. Unless a model says otherwise, the range of discounted team rewards
that was recorded spans UNITS, and its middle is zero. A unit is then worth about what one good action is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..benchmark.checkpoint import Pretrained
from ..benchmark.data.store import get_release
from ..benchmark.data.windows import Episodes, Windows, WindowSampler, load_episodes
from ..benchmark.family import Family, FamilyShape
from ..benchmark.two_hot import ActionCodec
from ..errors import CheckpointError, InvalidValueError, UnknownNameError
from .networks import AgentView, Dueling, Trunk, agent_views, input_size, table_mask

UNITS = 20.0


@dataclass(frozen=True)
class ValueConfig:
    """What the network is, and what its values mean.

    Attributes:
        families: shape of each family that it knows, by name.
        values: least and greatest discounted team reward recorded, by family.
        transitions: logged agent transitions that it was pretrained on.
        hidden: width.
        layers: shared layers.
        history: observations seen, the current one included.
        discount: of the value.
        conservatism: weight of the conservative term when learning from logs.
        temperatures: of the softmax over values that actions are drawn from, in value units, by family; without one the best
            action is played.
    """

    families: dict[str, FamilyShape]
    values: dict[str, tuple[float, float]]
    transitions: int = 0
    hidden: int = 256
    layers: int = 2
    history: int = 4
    discount: float = 0.95
    conservatism: float = 1.0
    temperatures: dict[str, float] = field(default_factory=dict)

    def measured(self, sources: Mapping[str, Sequence[Episodes]]) -> Self:
        """These settings with what the source data of each family say."""
        values: dict[str, tuple[float, float]] = {}
        for name, several in sources.items():
            lows, highs = zip(*(source.value_range(self.discount) for source in several), strict=True)
            values[name] = min(lows), max(highs)
        transitions = sum(source.transitions for several in sources.values() for source in several)
        return replace(self, values=values, transitions=transitions)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; raises `CheckpointError` on missing or unknown fields."""
        known = {each.name for each in fields(cls)}
        if set(data) - known or not {"families", "values"} <= set(data):
            unknown = ", ".join(sorted(set(data) - known)) or "none"
            raise CheckpointError(f"config.json: unknown fields {unknown}; allowed {', '.join(sorted(known))}.")
        try:
            families = {name: FamilyShape.from_dict(shape) for name, shape in data["families"].items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"config.json: bad family shape ({error}).") from error
        return cls(**{**data, "families": families, "values": {name: tuple(span) for name, span in data["values"].items()}})


class ValueModel(nn.Module, Pretrained, library_name="wbench", license="apache-2.0", tags=["wbench"]):
    """Values of all actions of an agent, from its own view; what a subclass adds is how they are learned.

    Args:
        config: settings or their dict.
    """

    PACKAGED = Path(__file__).parent / "checkpoints"
    CONFIG: type[ValueConfig] = ValueConfig
    RANKED = True  # whether it is told how good a recording is by its rank

    def __init__(self, config: ValueConfig | dict[str, Any]) -> None:
        super().__init__()
        self.config = c = self.CONFIG.from_dict(config) if isinstance(config, dict) else config
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.numbers = {name: len(codec.table()) for name, codec in self.codecs.items()}
        self.trunk = Trunk({name: self.inputs(shape) for name, shape in c.families.items()}, c.hidden, c.layers)
        self.heads = nn.ModuleDict({name: Dueling(c.hidden, number) for name, number in self.numbers.items()})

    def check(self, family: str) -> None:
        """Raise `CheckpointError` unless the checkpoint knows this family."""
        if family not in self.config.families:
            known = ", ".join(self.config.families)
            raise CheckpointError(f"this {type(self).__name__} was not trained on family {family!r}, only on {known}.")

    def inputs(self, shape: FamilyShape) -> int:
        """Length of what the value of a family sees."""
        return input_size(shape, self.config.history)

    def forward(self, view: AgentView, family: str) -> Tensor:
        """Values [..., number] of the rows of the action table."""
        return self.heads[family](self.trunk(view.features(), family))

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
        if temperature := self.config.temperatures.get(family):  # the greatest of logits with Gumbel noise is a sample
            scores = scores - temperature * torch.log(-torch.log(luck))
        return scores.argmax(-1)

    def scaled_reward(self, reward: Tensor, family: str) -> Tensor:
        """Team rewards in value units, shifted so that values lie around zero."""
        low, high = self.config.values[family]
        middle = (1.0 - self.config.discount) * (low + high) / 2.0
        return (reward - middle) * (UNITS / max(high - low, 1e-6))

    def loss(self, target: Self, batch: Windows, family: str, conservatism: float) -> Tensor:
        """What is minimised on a batch of windows; `target` is the slowly moving copy that gives Bellman targets."""
        raise NotImplementedError

    def surprise(self, batch: Windows, family: str) -> Tensor:
        """How little the network would have expected the recorded actions, by row, [R]."""
        seen = Seen.of(self, batch, family)
        return conservative_gap(self(seen.view, family)[:, :-1], seen).mean(-1)


@dataclass(frozen=True)
class Seen:
    """A batch of windows as learning reads it: R rows, S transitions each.

    Attributes:
        view: views at S + 1 slots, [R, S + 1].
        allowed: which table rows are allowed at each, [R, S + 1, number].
        taken: table rows of the recorded actions, [R, S].
        reward: team reward in value units, [R, S].
    """

    view: AgentView
    allowed: Tensor
    taken: Tensor
    reward: Tensor

    @classmethod
    def of(cls, model: ValueModel, batch: Windows, family: str) -> Seen:
        """Read a batch of windows whose history is that of the model."""
        now, codec = model.config.history - 1, model.codecs[family]
        return cls(
            agent_views(batch, model.config.history),
            table_mask(codec, batch.action_mask[:, now:]),
            codec.index(batch.action[:, now:-1]),
            model.scaled_reward(batch.reward[:, now:-1], family),
        )


def pick(values: Tensor, taken: Tensor) -> Tensor:
    """Values [...] of the taken actions [...] among values [..., number]."""
    return values.gather(-1, taken.unsqueeze(-1)).squeeze(-1)


def double_q(online: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
    """The target's value of the online network's best allowed action (van Hasselt et al. 2016): [..., number] -> [...]."""
    return pick(target, online.masked_fill(~allowed, -torch.inf).argmax(-1))


def conservative_gap(values: Tensor, seen: Seen) -> Tensor:
    """CQL(H) (Kumar et al. 2020): soft maximum over the allowed actions less the recorded action's value, [R, S]."""
    return values.masked_fill(~seen.allowed[:, :-1], -torch.inf).logsumexp(-1) - pick(values, seen.taken)


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
        seed: of initialisation and sampling.
        network: fields of the network's settings that differ from its defaults.
    """

    release: str = "standard"
    steps: int = 1000
    rows: int = 1024
    slots: int = 2
    rate: float = 1e-3
    decay: float = 1e-2
    follow: float = 0.005
    seed: int = 0
    network: tuple[tuple[str, Any], ...] = ()


def pretrain(
    kind: type[ValueModel],
    families: Sequence[Family],
    config: PretrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> ValueModel:
    """Learn from all qualities of the train variants; the moving average of the network goes to `folder`."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    plain = kind.CONFIG({family.name: FamilyShape.of(family) for family in families}, {}, **dict(config.network))
    release = get_release(config.release)
    sources = {family.name: load_episodes(family, release, plain.history - 1, config.slots) for family in families}
    model = kind(plain.measured(sources)).to(device)
    samplers = {family.name: WindowSampler(family, sources[family.name], generator) for family in families}
    target = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=config.decay)
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * _schedule(step / config.steps)
        optimiser.zero_grad()
        for name, sampler in samplers.items():
            batch = sampler.sample(config.rows // len(samplers)).to(device)
            with torch.autocast(device, torch.bfloat16):
                loss = model.loss(target, batch, name, model.config.conservatism)
            (loss / len(samplers)).backward()
        advance(model, target, optimiser, config.follow)
        if on_step and (step % 10 == 0 or step + 1 == config.steps):
            on_step(step)
    folder.mkdir(parents=True, exist_ok=True)
    target.eval().save_pretrained(folder)
    return target


def pretrain_preset(
    agent: str,
    kind: type[ValueModel],
    presets: Mapping[str, PretrainConfig],
    families: Sequence[Family],
    name: str,
    folder: Path,
    *,
    resume: bool,
    seed: int,
    device: str,
    on_step: Callable[[int, int], None],
) -> None:
    """What `wbench train` does for an agent of this kind; minutes, so it does not resume."""
    if name not in presets:
        raise UnknownNameError("preset", name, presets, f"wbench train {agent} --preset small")
    if resume:
        raise InvalidValueError("--resume", resume, f"left out: {agent} trains in minutes and starts afresh")
    config = replace(presets[name], seed=seed)
    pretrain(kind, families, config, folder, device=device, on_step=lambda step: on_step(step, config.steps))


def advance(model: ValueModel, target: ValueModel, optimiser: torch.optim.Optimizer, follow: float) -> None:
    """One optimiser step with clipped gradients, then the target network follows."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimiser.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, follow)


def _schedule(progress: float) -> float:
    return min(1.0, 20.0 * progress + 0.05) * 0.5 * (1.0 + math.cos(math.pi * progress))
