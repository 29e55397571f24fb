"""The one interface through which every agent meets the benchmark, and what decentralised means in it.

The harness calls `act` with an agent's own observation and its inbox, and `message` for what it broadcasts. The harness,
not the agent, carries messages: it averages those of the others, delivers them one slot late and counts their bits. So
agent i's action can depend on agent j only through the mean field; a test perturbs everybody else and checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import require, require_known
from .family import PRIVILEGED, Env, Family, Variant
from .randomness import EpisodeRandom

if TYPE_CHECKING:
    from .meter import MeteredEnvironment


@dataclass
class State:
    """What the harness hands to an agent for a batch of B episodes, and where the agent keeps what it remembers.

    Attributes:
        family: the family being played.
        variant: the variant being played (its public description).
        random: keyed random numbers, the same whatever else is in the batch.
        batch: number of episodes B.
        slot: current slot, from 0.
        action_mask: actions allowed now, [B, N, A] bool, a function of each agent's own observation.
        env: the environment itself, for agents marked `privileged` only; for all others `AttributeError`.
        memory: the agent's own.
    """

    family: Family
    variant: Variant
    random: EpisodeRandom
    batch: int
    slot: int
    action_mask: Tensor
    hidden: InitVar[Env | None] = None
    memory: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, hidden: Env | None) -> None:
        self._hidden = hidden

    @property
    def env(self) -> Env:
        """The environment; raises `AttributeError` for agents that are not privileged: they are told no site and no state."""
        if self._hidden is None:
            raise AttributeError("state.env is handed to agents marked privileged alone: no other is told site or state.")
        return self._hidden


@dataclass(frozen=True, repr=False)
class Support:
    """The K logged episodes of the target variant that an agent may adapt on.

    Attributes:
        obs: [K, T, N, O] float32.
        action: [K, T, N] int64 or float32, or [K, T, N, D] float32 (see `family.Env`).
        reward: [K, T, N] float32.
        action_mask: [K, T, N, A] bool.
        quality: which behaviour recorded each episode.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    action_mask: Tensor
    quality: tuple[str, ...]

    @property
    def shots(self) -> int:
        """Number of episodes K."""
        return self.obs.shape[0]

    @property
    def transitions(self) -> int:
        """Number of agent transitions."""
        return self.reward.numel()

    @property
    def informs_values(self) -> bool:
        """Whether a behaviour-conditioned value learns from it: not where a genie saw more than agents do."""
        return any(quality != PRIVILEGED for quality in self.quality)

    def require_fitting(self, family: Family, variant: Variant) -> None:
        """Raise `InvalidValueError` unless these are whole episodes of the variant, in finite numbers."""
        told, size = f"support of {variant.name}", (variant.horizon, variant.agents, family.obs_size)
        found = tuple(self.obs.shape[1:])
        require(found == size, told, f"of {found} (slots, agents, observation)", f"of {size}: logs of this very variant")
        for name in ("obs", "reward", "action"):
            shown = f"{name} of the {told}"
            require(bool(getattr(self, name).isfinite().all()), shown, "NaN or infinite somewhere", "finite; mend the log")

    def __repr__(self) -> str:
        """Shapes instead of numbers."""
        shapes = ", ".join(f"{name} {list(getattr(self, name).shape)}" for name in ("obs", "action", "reward"))
        earned = float(self.reward.sum((1, 2)).mean()) if self.shots else 0.0
        return (
            f"Support({self.shots} episodes: {shapes}; mean return {earned:.4g}; by {', '.join(dict.fromkeys(self.quality))})"
        )

    def choose(self, episodes: Sequence[int] | slice, slots: slice = slice(None)) -> Support:
        """Some of the episodes, by number, and some of their slots."""
        numbers = list(range(self.shots)[episodes] if isinstance(episodes, slice) else episodes)
        columns = (self.obs, self.action, self.reward, self.action_mask)
        obs, action, reward, mask = (x[numbers][:, slots] for x in columns)
        return Support(obs, action, reward, mask, tuple(self.quality[k] for k in numbers))

    def split(self) -> tuple[Support, Support]:
        """A part to adapt on and a part to validate on: the last fifth of the episodes, or the last quarter of a single one."""
        if self.shots >= 2:
            cut = self.shots - max(1, self.shots // 5)
            return self.choose(slice(cut)), self.choose(slice(cut, None))
        cut = self.action.shape[1] * 3 // 4
        return self.choose(slice(None), slice(cut)), self.choose(slice(None), slice(cut, None))


@dataclass(frozen=True)
class Adaptation:
    """What an agent did with its support; goes into the ledger and the result file.

    Attributes:
        gradient_steps: optimiser steps taken.
        notes: figures worth publishing, e.g. validation losses and whether the adapted weights were kept.
    """

    gradient_steps: int = 0
    notes: dict[str, float | int | str | bool] = field(default_factory=dict)


class Agent:
    """Base of all agents. Only `act` must be written.

    Attributes:
        name: what the board shows.
        privileged: sees the environment's hidden state when acting (references only).
        message_size: floats broadcast a slot, M.
        parameters: number of trained parameters.
        checkpoint_digest: SHA-256 of the weights, empty for a fixed rule.
        settings_digest: SHA-256 of the checkpoint's `config.json`, empty without one; with other settings it is another agent.
        recipe: digest of how the checkpoint was trained, but for the seed; empty where nobody says. Checkpoints that agree in
            it are trainings of one recipe, and one row of a board.
        planner_calls: network evaluations made by a planner since the agent was built.
        tracks: what it may have used before it meets a site: logs of train sites alone (`offline`), play of train sites too
            (`online`), or nothing (`scratch`). The first is the default.
        track: which of them it plays in.
        privileged_training: a part of it saw global state in training (a mixer, a centralised critic).
        source_transitions: logged agent transitions of train variants that its checkpoint was trained on.
        source_steps: environment steps in train variants that its checkpoint was trained with.
    """

    name = "agent"
    privileged = False
    message_size = 0
    parameters = 0
    checkpoint_digest = ""
    settings_digest = ""
    recipe = ""
    planner_calls = 0
    tracks: tuple[str, ...] = ("offline",)
    track = "offline"
    privileged_training = False
    source_transitions = 0
    source_steps = 0

    @property
    def practises(self) -> bool:
        """Whether it learns a site by K episodes' worth of metered play, in the place of K logged episodes.

        Never in track `offline`, always in track `scratch`; in track `online` a learner that reads logs says no.
        """
        return self.track != "offline"

    @property
    def label(self) -> str:
        """What the board shows: its name, with its track where it has several."""
        return self.name if len(self.tracks) == 1 else f"{self.name}/{self.track}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label}: {self.parameters:,} parameters)"

    def enter(self, track: str) -> None:
        """Take part in this track. A learner overrides it to put pretrained weights away in track `scratch`.

        Raises:
            UnknownNameError: it has no such track.
        """
        require_known(f"track of {self.name}", track, self.tracks, f"wbench show {self.name}")
        self.track = track

    def knows(self, family: Family) -> bool:
        """Whether it can play this family; a learner knows those that it was trained on."""
        return True

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Prepare for a variant. Called once per cell, with None at zero shots; must forget any earlier adaptation."""
        return Adaptation()

    def practise(self, environment: MeteredEnvironment) -> Adaptation:
        """Learn online in a metered environment; called instead of `adapt` where K > 0 and the agent `practises`.

        Like `adapt` it must forget earlier cells.
        """
        raise NotImplementedError(f"{self.name} does not learn online")

    def begin(self, state: State) -> None:
        """Start a batch of episodes; `state.memory` is empty."""

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What each agent broadcasts in this slot: [B, N, M], from its own observation [B, N, O] and memory."""
        return obs.new_zeros(*obs.shape[:2], self.message_size)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D] from own observations [B, N, O] and inboxes [B, N, M] (others' mean, one slot old)."""
        raise NotImplementedError


def random_action(state: State) -> Tensor:
    """Fresh uniform draws from the allowed actions of every agent: [B, N], or [B, N, D] where actions have D components."""
    parts: list[Tensor] = []
    for component in state.family.actions:
        if component.kind == "categorical":
            draws = state.random.uniform(*state.action_mask.shape[1:])
            parts.append(torch.where(state.action_mask, draws, -1.0).argmax(-1))
        else:
            parts.append(component.low + (component.high - component.low) * state.random.uniform(state.variant.agents))
    return parts[0] if len(parts) == 1 else torch.stack([part.float() for part in parts], dim=-1)


class RandomPolicy(Agent):
    """Uniform over the allowed actions."""

    name = "random"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return random_action(state)
