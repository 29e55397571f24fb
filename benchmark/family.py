"""What a task family is: variants, vectorised environments, actions, and the references that frame its scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from ..errors import InvalidValueError, UnknownNameError

if TYPE_CHECKING:
    from .agent import Agent

Split = Literal["train", "held-out"]
Info = dict[str, Any]


@dataclass(frozen=True)
class ActionComponent:
    """One part of an action.

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

    def descriptor(self) -> tuple[float, ...]:
        """Public numbers that describe it, each of order 1; what a scenario encoder reads."""


class Env(Protocol):
    """A batch of B episodes of one variant, stepped together. Gymnasium's names and five-tuple, torch tensors.

    `info` holds `action_mask` [B, N, A] bool and `agent_mask` [B, N] bool at every slot, and after a step the quality of
    service of that slot: `delivered`, `delay`, `dropped`, `energy`, each [B, N].
    """

    @property
    def variant(self) -> Variant:
        """What is being played."""

    def reset(self, seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Start the episodes with these scenario seeds; returns obs [B, N, O] and info."""

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot; returns obs [B, N, O], reward [B, N], terminated [B], truncated [B], info."""

    def qos(self) -> dict[str, Tensor]:
        """Quality of service of the episodes so far, each [B]."""


@dataclass(frozen=True)
class Family:
    """A kind of task, and all that the harness, the data and the agents need to know about it.

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
        policies: reference policies by name.
        random: name of the policy that scores 0.
        greedy: name of the private greedy policy.
        heuristic: name of the best informed decentralised policy.
        reference: name of the genie that scores 100.
        behaviours: the policies that record each data quality, with their noise: quality -> ((policy, noise), ...).
        relabel: relabels interchangeable parts of joint training windows at random, in place; None = there are none.
    """

    name: str
    version: str
    summary: str
    variants: Mapping[str, Variant]
    make: Callable[[Variant, torch.device | str], Env]
    obs_size: int
    descriptor_size: int
    actions: tuple[ActionComponent, ...]
    reward_range: tuple[float, float]
    policies: Mapping[str, Callable[[], Agent]]
    random: str
    greedy: str
    heuristic: str
    reference: str
    behaviours: Mapping[str, tuple[tuple[str, float], ...]]
    relabel: Callable[[dict[str, Tensor], torch.Generator], None] | None = None

    def variant(self, name: str) -> Variant:
        """The variant of this name; raises `UnknownNameError` with the nearest one."""
        if name not in self.variants:
            raise UnknownNameError("variant", name, self.variants, f"wbench show {self.name}")
        return self.variants[name]

    def select(self, split: Split) -> tuple[Variant, ...]:
        """The variants of a split, in listing order."""
        return tuple(v for v in self.variants.values() if v.split == split)


def require(condition: bool, field: str, given: object, allowed: str) -> None:
    """Raise `InvalidValueError` unless the condition holds."""
    if not condition:
        raise InvalidValueError(field, given, allowed)


def require_number(field: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidValueError` unless the value is finite and within [low, high]."""
    require(math.isfinite(value) and low <= value <= high, field, value, f"a finite number in [{low:g}, {high:g}]")


def check_categorical_action(action: object, shape: tuple[int, int], size: int) -> Tensor:
    """A valid [B, N] tensor of choices, or an `InvalidValueError` that names what is wrong.

    Args:
        action: what an agent returned.
        shape: the expected (B, N).
        size: number of choices; values must lie in [0, size).

    Returns:
        The action as int64.
    """
    require(isinstance(action, Tensor), "action", type(action).__name__, "a torch tensor")
    assert isinstance(action, Tensor)
    require(tuple(action.shape) == shape, "action.shape", tuple(action.shape), f"{shape} (episodes, agents)")
    kinds = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    require(action.dtype in kinds, "action.dtype", str(action.dtype), "an integer type")
    low, high = (int(x) for x in torch.aminmax(action))
    require(low >= 0 and high < size, "action", f"values in [{low}, {high}]", f"in [0, {size - 1}]")
    return action.long()
