"""What a task family is: variants, vectorised environments, actions, and the references that frame its scores."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args, runtime_checkable

import torch
from torch import Tensor

from ..errors import require, require_known

Split = Literal["train", "held-out"]
Info = dict[str, Any]
Permute = Callable[[dict[str, Tensor], torch.Generator], None]
Scene = Callable[[Any, Any], tuple[str, Any]]  # of an `acting.frames.Film` and the axes: what waits at agents [N], by what name


@dataclass(frozen=True)
class ActionComponent:
    """One part of an action. An action has at most one categorical component, the first: the action mask is about that one.

    Attributes:
        name: what it decides.
        kind: `categorical` (choices without order: one-hot) or `ordinal` (levels or a range: two-hot).
        size: number of choices, or of bins.
        low: smallest value of an ordinal component.
        high: largest value of an ordinal component.
    """

    name: str
    kind: Literal["categorical", "ordinal"]
    size: int
    low: float = 0.0
    high: float = 1.0


class Variant(Protocol):
    """One fully specified member of a family; a frozen dataclass."""

    @property
    def name(self) -> str:
        """`family/label`, e.g. `access/n8-c1-load0.4`."""

    @property
    def family(self) -> str:
        """Name of the family."""

    @property
    def split(self) -> Split:
        """Whether agents may train on it."""

    @property
    def agents(self) -> int:
        """Number of agents N."""

    @property
    def horizon(self) -> int:
        """Slots in an episode."""

    @property
    def period(self) -> int:
        """Slots after which what is hidden at a site repeats, which all agents know; 1 = it does not change in an episode."""

    def descriptor(self) -> tuple[float, ...]:
        """Public numbers that describe it, each of order 1; what a scenario encoder reads."""


class Env(Protocol):
    """A batch of B episodes of one variant, stepped together. Gymnasium's names and five-tuple, torch tensors.

    Actions are [B, N] integers where the only component is categorical, [B, N] floats where it is ordinal, and floats
    [B, N, D] where there are D components. `info` holds `action_mask` [B, N, A] bool and `agent_mask` [B, N] bool at every
    slot, and after a step the quality of service of that slot: `delivered`, `delay`, `dropped`, `energy`, each [B, N].

    Attributes:
        charged: whether rewards hold the site's charge, which no observation shows; only a check ever sets it False.
    """

    charged: bool

    @property
    def variant(self) -> Variant:
        """What is being played."""

    def reset(self, sites: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Start one episode a (site, seed); returns obs [B, N, O] and info. A batch may mix sites."""

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot; returns obs [B, N, O], reward [B, N], terminated [B], truncated [B], info."""

    def qos(self) -> dict[str, Tensor]:
        """Quality of service of the episodes so far, each [B]."""


@runtime_checkable
class Cloneable(Env, Protocol):
    """An environment that can be copied in the middle of its episodes, to see what something else would lead to."""

    def clone_episodes(self, episodes: Tensor) -> Env:
        """A copy that goes on from this slot with these episodes [F], each as often as it is named; nothing is felt here."""


E = TypeVar("E", bound=Env)


def clone_rows(env: E, episodes: Tensor, axes: Mapping[str, int]) -> E:
    """A copy of an environment that goes on with some of its episodes.

    Args:
        env: the environment.
        episodes: by number, [F].
        axes: which axis of its tensors the episodes are, by attribute; everything else is shared.
    """
    copied = copy.copy(env)
    for name, axis in axes.items():
        setattr(copied, name, getattr(env, name).index_select(axis, episodes))
    return copied


_inside = 0  # cells that an agent is in; a number of the process, so that no thread of the agent's escapes it


@contextmanager
def closed() -> Iterator[None]:
    """While an agent learns a site or plays: no environment can be made, and no hidden parameters be asked for."""
    global _inside
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1


def _unless_closed(family: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    require(not _inside, f"an environment or a site of {family!r}", "asked for inside a cell", "left to the harness")
    return function(*given, **named)


@dataclass(frozen=True, repr=False)
class Family:
    """A kind of task, and all that the harness, the data and the agents need to know about it.

    Its functions take its own kind of variants.

    Attributes:
        name: its name.
        version: version of the dynamics; any change of a score's meaning raises it, and with it the protocol hash.
        summary: one line on what it models.
        variants: every listed variant by name.
        make: builds the environment of a variant on a device.
        obs_size: length O of an agent's observation.
        descriptor_size: length of `Variant.descriptor()`.
        actions: the components of an action.
        reward_range: least and greatest *team* reward (sum over agents) of one slot.
        policies: what builds a reference policy (`agent.Agent`), by name. `random` scores 0 and `genie` 100; `prior`, `belief`,
            `estimator` and `oracle` are there in every family (see `admission`), others as the field knows them.
        behaviours: the policies that record each data quality, with their noise: quality -> ((policy, noise), ...).
        support: the policies that record the K-th support episode, in turns; none of them is told the site.
        hidden: what is hidden at a site of a variant, by name, numbers or arrays; for people and privileged policies.
        references: file with the frozen returns that frame its scores; None = the package's own.
        layout: the parts of an observation in order, by name: how many floats, and what they are; may be left out.
        shown: places in an observation of what one looks at to judge a world model, by name, e.g. the own queue.
        permute: relabels interchangeable parts of joint training windows at random, in place; None = there are none.
        qos_range: least and greatest value that each quality of service of an episode can have, by name; None = not known.
        choice: place in an observation that is 1 where the agent may choose freely, and 0 where only choice 0 is allowed: it
            makes the action mask of an imagined observation; None = agents may always choose.
        draw: writes a picture of a site of a variant; None = there is none to draw.
        turns: names of the layout's parts that tell of an agent's fixed turns and of the slot alone; the first begins with 1
            in the own turn, and choice 0 is to wait. Agents differ in nothing else that lasts, and may exchange turns; empty =
            there are none.
        scene: draws the last slots of an episode for a frame, and says what waits at every agent; None = only what they did.
    """

    name: str
    version: str
    summary: str
    variants: Mapping[str, Variant]
    make: Callable[[Any, torch.device | str], Env]
    obs_size: int
    descriptor_size: int
    actions: tuple[ActionComponent, ...]
    reward_range: tuple[float, float]
    policies: Mapping[str, Callable[[], Any]]
    behaviours: Mapping[str, tuple[tuple[str, float], ...]]
    hidden: Callable[[Any, int], Mapping[str, Any]]
    support: tuple[tuple[str, float], ...] = (("random", 0.0), ("medium", 0.05), ("belief", 0.05))
    references: Path | None = None
    layout: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)
    permute: Permute | None = None
    choice: int | None = None
    qos_range: Callable[[Any], Mapping[str, tuple[float, float]]] | None = None
    draw: Callable[[Family, Variant, int, Path], None] | None = None
    turns: tuple[str, ...] = ()
    scene: Scene | None = None

    def __post_init__(self) -> None:
        kinds = [component.kind for component in self.actions]
        require(
            bool(kinds) and "categorical" not in kinds[1:], "actions", kinds, "at most one categorical component, the first"
        )
        for part in self.turns:
            require(part in self.layout, "turns", part, f"parts of the layout: {', '.join(self.layout)}")
        for name in ("make", "hidden"):
            object.__setattr__(self, name, partial(_unless_closed, self.name, getattr(self, name)))

    @property
    def mask_size(self) -> int:
        """Length A of an action mask: the choices of the categorical component, or 1 (always allowed) where there is none."""
        return self.actions[0].size if self.actions[0].kind == "categorical" else 1

    def parts(self, names: Sequence[str]) -> Tensor:
        """Where these parts of the layout stand in an observation, one after another, [P]."""
        sizes = [size for size, _ in self.layout.values()]
        where = dict(zip(self.layout, torch.arange(sum(sizes)).split(sizes), strict=True))
        return torch.cat([where[name] for name in names])

    def variant(self, name: str) -> Variant:
        """The variant of this name; raises `UnknownNameError` with the nearest one."""
        require_known("variant", name, self.variants, f"wbench show {self.name}")
        return self.variants[name]

    def select(self, split: Split) -> tuple[Variant, ...]:
        """The variants of a split, in listing order."""
        return tuple(v for v in self.variants.values() if v.split == split)

    def __repr__(self) -> str:
        played = ", ".join(component.name for component in self.actions)
        known = f"{len(self.variants)} variants; {self.obs_size} numbers observed"
        return f"Family({self.name} {self.version}: {known}; action {played})"


@dataclass(frozen=True)
class FamilyShape:
    """What a network must know of a family; part of its checkpoint.

    Attributes:
        obs_size: length of an observation.
        descriptor_size: length of a variant's descriptor.
        actions: components of an action.
        reward_low: least team reward of a slot.
        reward_high: greatest team reward of a slot.
    """

    obs_size: int
    descriptor_size: int
    actions: tuple[ActionComponent, ...]
    reward_low: float
    reward_high: float

    @classmethod
    def of(cls, family: Family) -> FamilyShape:
        """The shape of a family."""
        return cls(family.obs_size, family.descriptor_size, family.actions, *family.reward_range)


def require_number(field: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidValueError` unless the value is finite and within [low, high]."""
    require(math.isfinite(value) and low <= value <= high, field, value, f"a finite number in [{low:g}, {high:g}]")


def check_action(action: object, components: Sequence[ActionComponent], episodes: int, agents: int) -> Tensor:
    """A valid action tensor, or an `InvalidValueError` that names field, value and range.

    Args:
        action: what an agent returned.
        components: parts of an action, with the sizes of this variant.
        episodes: expected B.
        agents: expected N.

    Returns:
        [B, N] int64 where the only component is categorical, else float32 [B, N], or [B, N, D] where there are D components.
    """
    shape = (episodes, agents) if len(components) == 1 else (episodes, agents, len(components))
    require(isinstance(action, Tensor), "action", type(action).__name__, "a torch tensor")
    assert isinstance(action, Tensor)
    require(tuple(action.shape) == shape, "action.shape", tuple(action.shape), f"{shape} (episodes, agents, ...)")
    if len(components) == 1 and components[0].kind == "categorical":
        require(action.dtype in _INTEGERS, "action.dtype", str(action.dtype), "an integer type")
        _require_within("action", action, 0, components[0].size - 1)
        return action.long()
    require(action.dtype.is_floating_point, "action.dtype", str(action.dtype), "a floating type")
    for component, part in zip(components, action.unsqueeze(-1).flatten(2).unbind(-1), strict=True):
        field = f"action ({component.name})"
        if component.kind == "categorical":
            _require_within(field, part, 0, component.size - 1)
            require(bool((part == part.round()).all()), field, "a fraction", "whole numbers")
        else:
            _require_within(field, part, component.low, component.high)
    return action.float()


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _require_within(field: str, values: Tensor, low: float, high: float) -> None:
    least, most = (float(x) for x in torch.aminmax(values))  # NaN anywhere makes both NaN, and the comparison false
    require(least >= low and most <= high, field, f"values in [{least:g}, {most:g}]", f"in [{low:g}, {high:g}]")


Quality = Literal["random", "medium", "expert", "mixed"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
PRIVILEGED: Quality = "mixed"  # holds a genie's play, which acts on what no agent sees
