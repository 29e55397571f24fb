"""Whether an agent acts on what others observe, asked in every slot of the horizon, as it is played.

The agent plays a cell, and what it saw, did and said is kept. Then the cell is replayed to it with everybody else's
observations, masks and inboxes replaced: in episode b agent b mod N (and then the next ones, until every agent had its turn)
must do and say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import foreign
from ..agent import Agent, State
from ..data.support import support
from ..family import Family, Variant
from ..meter import MeteredEnvironment
from ..processes import one_thread, seed_everything
from ..randomness import EpisodeRandom
from ..rollout import play
from ..seeds import query_seeds
from ..site import RANGES


@dataclass(frozen=True)
class Question:
    """Where an agent is asked: a cell, as a protocol plays it.

    Attributes:
        site: number of the site.
        shots: K.
        episodes: query episodes, the batch size.
        logs: whose support it adapts on; see `data.support`.
    """

    site: int = RANGES["dev"].start
    shots: int = 0
    episodes: int = 20
    logs: str = "site"


@dataclass
class _Moment:
    """A slot of play: what all agents were shown, did and said."""

    obs: Tensor
    mask: Tensor
    inbox: Tensor
    action: Tensor
    message: Tensor | None = None


@dataclass
class _Tape(Agent):
    """Plays as an agent does, and keeps what happens."""

    agent: Agent
    moments: list[_Moment] = field(default_factory=list)

    @property
    def message_size(self) -> int:  # type: ignore[override]
        """Of the agent."""
        return self.agent.message_size

    def begin(self, state: State) -> None:
        """Let it begin."""
        seed_everything(state.variant.name)
        self.agent.begin(state)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What it says."""
        said = self.agent.message(obs, state)
        self.moments[-1].message = said.clone()
        return said

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """What it does."""
        done = self.agent.act(obs, inbox, state)
        self.moments.append(_Moment(obs.clone(), state.action_mask.clone(), inbox.clone(), done.clone()))
        return done


def peeks(agent: Agent, family: Family, variant: Variant, asked: Question, device: str = "cpu") -> str:
    """Where an agent acts on what others observe, in words; empty where it does not, or may.

    Args:
        agent: the agent that is asked; it is adapted anew, or practises.
        family: the family.
        variant: what is played.
        asked: where, and after how many shots.
        device: where the agent computes.
    """
    if agent.privileged:
        return ""
    told = f"{variant.name}, {asked.shots} shots: what {agent.label} does in slot"
    try:
        with one_thread():
            _prepare(agent, family, variant, asked, device)
            at = first_peek(agent, family, variant, [asked.site] * asked.episodes, query_seeds(asked.episodes), device)
    except BaseException as error:  # the agent's own code
        return f"{variant.name}, {asked.shots} shots: {agent.label} cannot be asked: {foreign(error)}"
    return "" if at is None else f"{told} {at} depends on what others observe"


def _prepare(agent: Agent, family: Family, variant: Variant, asked: Question, device: str) -> None:
    if agent.practises and asked.shots:
        agent.practise(MeteredEnvironment(family, variant, asked.site, asked.shots, device))
    else:
        agent.adapt(family, variant, support(family, variant, asked.site, asked.shots, asked.logs))


@torch.no_grad()
def first_peek(
    agent: Agent, family: Family, variant: Variant, sites: list[int], seeds: list[int], device: str = "cpu"
) -> int | None:
    """The first slot in which what agents do or say depends on what others observe; None where they never notice (DTDE).

    Args:
        agent: ready to begin.
        family: the family.
        variant: what is played.
        sites: site of each episode.
        seeds: scenario seed of each.
        device: where it is played.
    """
    tape = _Tape(agent)
    play(family, variant, tape, sites, seeds, device=device)
    turns = math.ceil(variant.agents / len(seeds)) if variant.agents > 1 else 0
    asked = [(turn * len(seeds), blank) for turn in range(turns) for blank in (False, True)]
    found = [_noticed(tape, family, variant, sites, seeds, first, blank) for first, blank in asked]
    return min((at for at in found if at is not None), default=None)


def _noticed(
    tape: _Tape, family: Family, variant: Variant, sites: list[int], seeds: list[int], first: int, blank: bool
) -> int | None:
    """The first slot in which agent `first + b` of episode b is another one, where all others are shown other things.

    These are what agents saw in another slot of another episode, or nothing but zeros.
    """
    moments, agent = tape.moments, tape.agent
    device = moments[0].obs.device
    turn = (torch.arange(len(seeds)) + first) % variant.agents
    others = (torch.arange(variant.agents) != turn[:, None]).to(device)  # [B, N]
    state = State(family, variant, EpisodeRandom(variant.name, sites, seeds, device), len(seeds), 0, moments[0].mask)
    seed_everything(variant.name)  # asked twice, an agent draws the same
    agent.begin(state)
    for t, now in enumerate(moments):
        other = moments[(t * 7 + len(moments) // 2) % len(moments)]
        obs, inbox, state.slot, state.action_mask = now.obs.clone(), now.inbox.clone(), t, now.mask.clone()
        obs[others], state.action_mask[others] = other.obs.flip(0)[others] * (not blank), other.mask.flip(0)[others]
        inbox[others] = 1 - inbox[others]
        if not torch.equal(agent.act(obs, inbox, state)[~others], now.action[~others]):
            return t
        if now.message is not None and not torch.equal(agent.message(obs, state)[~others], now.message[~others]):
            return t
    return None
