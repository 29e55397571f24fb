"""Reference policies of `power`: rules of a field engineer, and the same rule with more and more knowledge of the site."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...agent import Agent, RandomPolicy, State, Support
from ..reader import Reader, part
from ..revealed import CERTAINTY, Revealed
from .estimator import cautious, read
from .layout import View, ratio
from .planning import AMPLITUDES, Knowledge, levels, make_plan, served, worth

if TYPE_CHECKING:
    from .env import PowerEnv
    from .variant import PowerVariant


class FullPower(Agent):
    """Everybody at full power: the myopic rule, best for each whatever the others do, if energy were free."""

    name = "full"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        return torch.ones_like(obs[..., 0])


class Aloha(Agent):
    """Full power with a fixed probability (Roberts 1975)."""

    name = "medium"

    def __init__(self, probability: float = 0.3) -> None:
        self._probability = probability

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        return (state.random.uniform(obs.shape[1]) < self._probability).float()


class Planner(Agent):
    """Follows a plan that all links compute alike from the same knowledge, as far as the own queue and channel agree.

    A link takes the power whose worth to itself most exceeds what the plan says that others lose, and the price of energy. It
    knows its own queue and channel; of the others it knows what the plan supposes.

    Args:
        strength: how much a loss of others counts.
    """

    def __init__(self, strength: float = 1.0) -> None:
        self._strength = strength

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        """Knowledge of S sites, and which of them each episode is at, [B]."""
        raise NotImplementedError

    def begin(self, state: State) -> None:
        """Make the plan of every site."""
        known, place = self._knowledge(state)
        plan = make_plan(cast("PowerVariant", state.variant), known)
        state.memory.update(known=known, place=place, plan=plan)
        state.memory.update(outside=known.outside[place], count=known.count[place])

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view, memory, t = View(obs), state.memory, state.slot
        known, place, plan = memory["known"], memory["place"], memory["plan"]
        period = cast("PowerVariant", state.variant).period
        if t > 0:
            self._listen(view, memory, t - 1, period)
        need = torch.exp2(view.need[..., 0]) - 1.0
        slots = torch.expm1(view.queue[..., 1])
        noise = 1.0 + memory["outside"][..., t % period] + plan.interference[place, t]
        reached = (ratio(view.snr[..., 0]) / noise).unsqueeze(-1) * levels(obs)
        own = worth(slots).unsqueeze(-1) * served(reached, need.unsqueeze(-1), slots.unsqueeze(-1))
        cost = self._strength * plan.harm[place, t] + known.price[place, None, None] * levels(obs)
        return torch.tensor(AMPLITUDES, device=obs.device)[(own - cost).argmax(-1)]

    def _listen(self, view: View, memory: dict[str, Any], t: int, period: int) -> None:
        """Learn what disturbs from outside in this slot of the period from what was heard in slot t."""
        plan, place, phase = memory["plan"], memory["place"], t % period
        heard = (ratio(view.noise[..., 0]) - 1.0 - plan.interference[place, t]).clamp(min=0.0)
        count = memory["count"][..., phase]
        weight = 1.0 / (count + 1.0)
        memory["outside"][..., phase] = memory["outside"][..., phase] * (1.0 - weight) + heard * weight
        memory["count"][..., phase] = count + 1.0


class Prior(Planner):
    """Told what sites are like on average, and nothing of this one."""

    name = "prior"

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        known = cautious(cast("PowerVariant", state.variant))
        return _on(state, replace(known, count=torch.full_like(known.count, torch.inf)))


class Belief(Planner):
    """Starts with what sites are like on average; learns from what it hears in play."""

    name = "belief"

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        return _on(state, cautious(cast("PowerVariant", state.variant)))


class Estimator(Reader, Belief):
    """Reads the site from the K support episodes; what it hears in play comes on top. Without support it is `belief`."""

    def read(self, variant: PowerVariant, support: Support) -> Knowledge:
        """Estimate gains, the outside's sequence and the price from the joint log."""
        return read(variant, support)

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        return _on(state, self._read) if self._read else super()._knowledge(state)


class Oracle(Planner):
    """Told the site; acts on own observations."""

    name = "oracle"
    privileged = True

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        return true_knowledge(cast("PowerEnv", state.env))


class RevealedEstimator(Revealed, Estimator):
    """The control of the admission, see `Revealed`."""

    def _knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        true, site = true_knowledge(cast("PowerEnv", state.env))
        read, log = super()._knowledge(state)
        _, first, place = _unique(log * len(true.price) + site)  # each pair of a site and a log that is played
        site, log = site[first], log[first]
        known = {
            name: self.mixed(value[site].log1p(), getattr(read, name)[log].log1p(), log).expm1()  # levels, as they are heard
            for name, value in vars(true).items()
            if name != "count"
        }
        slots = state.variant.horizon / cast("PowerVariant", state.variant).period
        return Knowledge(**known, count=torch.full_like(known["outside"], CERTAINTY * slots)), place


def true_knowledge(env: PowerEnv) -> tuple[Knowledge, Tensor]:
    """The S sites being played as they are, and which of them each episode is at, [B]."""
    _, first, place = _unique(env.site)
    diagonal = torch.eye(env.variant.agents, dtype=torch.bool, device=env.device)
    cross = env.links[first].masked_fill(diagonal, 0.0)
    outside = env.outside[first]
    count = torch.full_like(outside, torch.inf)
    return Knowledge(cross, env.direct[first], env.need[first], outside, env.price[first], count), place


def _on(state: State, known: Knowledge) -> tuple[Knowledge, Tensor]:
    """Knowledge of S sites, and whose each episode is: a batch has as many equal parts, one after the other."""
    known = Knowledge(**{name: value.to(state.random.device) for name, value in vars(known).items()})
    return known, part(state, len(known.price))


def _unique(site: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The different sites, the first episode at each, and which of them each episode is at."""
    sites, place = site.unique(return_inverse=True)
    first = torch.full_like(sites, len(site)).scatter_reduce(0, place, torch.arange(len(site), device=site.device), "amin")
    return sites, first, place


POLICIES: dict[str, type[Agent]] = {
    p.name: p for p in (RandomPolicy, FullPower, Aloha, Prior, Belief, Estimator, Oracle, RevealedEstimator)
}
