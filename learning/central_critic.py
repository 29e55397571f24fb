"""A critic of the whole team teaches a policy to use its messages; in training alone, no checkpoint holds it.

An additive value cannot say that *one* of several agents should act: each is credited for acting, and then all of them act. So
where agents must agree who goes, a critic learns from the recordings what a *joint* action is worth to the team, knowing what
all agents see. The policy of an agent, which knows its own observations and its inbox, then ascends

    sum_a pi(a) Q(s, a, others' actions drawn from their policies) - temperature KL(pi | pi_expert),

the exact gradient over the own actions, with the others where they are now (counterfactual: Foerster et al., COMA, AAAI 2018).
That gradient flows through the inbox into what the others say (Foerster et al., DIAL, NeurIPS 2016), so that messages come to
tell whatever the critic saw and the agent could not. States are those of all recordings, whoever played them.

Whoever gives the expert's ways, and whatever agents see the world through, is finished by then and stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ..benchmark.data.windows import Windows
from ..benchmark.family import FamilyShape
from .codec import ActionCodec
from .mean_field import delivered
from .modules import deep, mlp
from .training import follow

WIDTH, TRACE = 256, 128
RAREST = -12.0  # log-probability below which what the expert never does is not told apart
FEW = 4.0  # agents; the traces of all are read as a mean and as a sum in this unit


class Actor(nn.Module):
    """What agents do and say in a family where they are taught.

    Args:
        sight: floats S that an agent sees in a slot.
        public: floats P that are known of the variant.
        history: slots L seen, the current one included.
        message: floats M that it broadcasts.
        hidden: width.
        size: of an action code.
    """

    def __init__(self, sight: int, public: int, history: int, message: int, hidden: int, size: int) -> None:
        super().__init__()
        self.history = history
        self.policy = deep(history * (sight + 2 * message) + public, hidden, size)
        self.voice = deep(sight, hidden, message)

    def message(self, sight: Tensor) -> Tensor:
        """Sights [..., S] -> messages [..., M] in (-1, 1)."""
        return torch.tanh(self.voice(sight).float())

    def forward(self, sights: Tensor, inboxes: Tensor, public: Tensor) -> Tensor:
        """Sights [..., L, S], features of inboxes [..., L, 2 M], what is public [..., P] -> logits [..., size]."""
        return self.policy(torch.cat([sights.flatten(-2), inboxes.flatten(-2), public], dim=-1))


class CentralCritic(nn.Module):
    """Value of a joint action to the team, from what all agents see: each agent leaves a trace, their sum is read.

    Args:
        shape: of the family.
        actions: number of an agent's actions.
    """

    def __init__(self, shape: FamilyShape, actions: int) -> None:
        super().__init__()
        self.see = nn.Linear(shape.obs_size + shape.descriptor_size, WIDTH)
        self.act = nn.Embedding(actions, WIDTH)
        self.trace = nn.Sequential(nn.LayerNorm(WIDTH), nn.SiLU(), mlp(WIDTH, WIDTH, TRACE))
        self.read = nn.Sequential(mlp(2 * TRACE + shape.descriptor_size, WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))

    def joint(self, obs: Tensor, taken: Tensor, batch: Windows) -> Tensor:
        """Value [groups] of what the agents of each joint window do, `taken` [R], at standardised observations [R, O]."""
        total = batch.team_sum(self.trace(self._seen(obs, batch) + self.act(taken)))
        return self._value(total, batch.team_mean(batch.others), batch.team_mean(batch.descriptor))

    def deviations(self, obs: Tensor, taken: Tensor, batch: Windows) -> Tensor:
        """Value [R, actions] of each agent's doing something else while the others do what is `taken` [R]."""
        traces = self.trace(self._seen(obs, batch).unsqueeze(1) + self.act.weight)
        own = traces[torch.arange(len(taken), device=taken.device), taken]
        others = (batch.team_sum(own)[batch.group] - own).unsqueeze(1)
        return self._value(others + traces, batch.others.unsqueeze(1), batch.descriptor.unsqueeze(1))

    def _seen(self, obs: Tensor, batch: Windows) -> Tensor:
        return self.see(torch.cat([obs, batch.descriptor], dim=-1))

    def _value(self, total: Tensor, others: Tensor, descriptor: Tensor) -> Tensor:
        mean = total / (others.unsqueeze(-1) + 1.0)
        known = descriptor.expand(*total.shape[:-1], -1)
        return self.read(torch.cat([mean, total / FEW, known], dim=-1)).squeeze(-1).float()


@dataclass(frozen=True)
class Seen:
    """A batch of windows as those see it who are taught; slot L is 'now', and a window shows one slot more.

    Attributes:
        sights: [R, L + 2, S].
        public: [R, P].
        prior: log-probabilities of what the expert would do now, [R, number].
        obs: standardised observations, of now and of the slot after, [R, 2, O].
    """

    sights: Tensor
    public: Tensor
    prior: Tensor
    obs: Tensor


@dataclass(frozen=True)
class Pupil:
    """Who is taught in a family.

    Attributes:
        shape: of the family.
        codec: of its actions.
        actor: who learns.
        slow: its moving average.
        see: how a batch is seen; without gradient.
        unit: of values: deviation of a slot's team reward.
    """

    shape: FamilyShape
    codec: ActionCodec
    actor: Actor
    slow: Actor
    see: Callable[[Windows], Seen]
    unit: float

    def log_policy(self, actor: Actor, seen: Seen, batch: Windows, slot: int) -> Tensor:
        """Log-probabilities [R, number] of the actor, or of its average, at a slot, after what all said before."""
        inboxes, stretch = delivered(actor.message(seen.sights), batch), slice(slot - actor.history + 1, slot + 1)
        logits = actor(seen.sights[:, stretch], inboxes[:, stretch], seen.public)
        return self.codec.table_log_probs(self.codec.mask(logits, batch.action_mask[:, slot])).float()


class Teachable(Protocol):
    """A network that has actors."""

    codecs: dict[str, ActionCodec]

    def actor(self, family: str) -> Actor:
        """Who is taught in a family."""


def pupils(
    learner: Teachable,
    average: Teachable,
    shapes: Mapping[str, FamilyShape],
    units: Mapping[str, float],
    see: Callable[[str, Windows], Seen],
) -> dict[str, Pupil]:
    """Who is taught, by family.

    Args:
        learner: the network whose actors learn.
        average: the network that holds their moving averages.
        shapes: of families.
        units: of values, for each family where somebody is taught.
        see: how a batch of a family is seen.
    """
    return {
        name: Pupil(shapes[name], learner.codecs[name], learner.actor(name), average.actor(name), partial(see, name), unit)
        for name, unit in units.items()
    }


class School(nn.Module):
    """The critics of the team, a family each, and their lessons.

    Args:
        pupils: who is taught, by family.
        discount: of values.
        temperature: how dear it is to leave the expert's ways, in the unit of values.
    """

    def __init__(self, pupils: Mapping[str, Pupil], discount: float, temperature: float) -> None:
        super().__init__()
        self._pupils, self._discount, self._temperature = pupils, discount, temperature
        self.critics = nn.ModuleDict({name: CentralCritic(p.shape, len(p.codec.table())) for name, p in pupils.items()})
        self.late = copy.deepcopy(self.critics).requires_grad_(False)  # moving averages, who judge

    def learned(self) -> list[nn.Parameter]:
        """What learns: actors and critics."""
        return [*(p for pupil in self._pupils.values() for p in pupil.actor.parameters()), *self.critics.parameters()]

    def losses(self, batch: Windows, family: str, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of the team's critic and of the actor.

        Args:
            batch: windows of the family.
            family: its name.
            generator: source of the actions that agents are taken to do.
        """
        pupil, now = self._pupils[family], self._pupils[family].actor.history
        critic, late = cast(CentralCritic, self.critics[family]), cast(CentralCritic, self.late[family])
        with torch.no_grad():
            seen = pupil.see(batch)
            after = pupil.log_policy(pupil.slow, seen, batch, now + 1)
            following = late.joint(seen.obs[:, 1], _draw(after, generator), batch)
            bellman = batch.team_mean(batch.reward[:, now]) / pupil.unit + self._discount * following
        log_policy = pupil.log_policy(pupil.actor, seen, batch, now)
        policy = log_policy.exp()
        with torch.no_grad():
            worth = late.deviations(seen.obs[:, 0], _draw(log_policy, generator), batch)
            worth -= (policy * worth).sum(-1, keepdim=True)
        value = critic.joint(seen.obs[:, 0], pupil.codec.index(batch.action[:, now]), batch)
        price = self._temperature * (log_policy - seen.prior.float().clamp(min=RAREST))
        return {"central_critic": smooth_l1_loss(value, bellman), "actor": (policy * (price - worth)).sum(-1).mean()}

    def follow(self, share: float) -> None:
        """Move all moving averages this share of the way."""
        follow(self.late.parameters(), self.critics.parameters(), share)
        for pupil in self._pupils.values():
            follow(pupil.slow.parameters(), pupil.actor.parameters(), share)


def _draw(log_policy: Tensor, generator: torch.Generator | None) -> Tensor:
    """An action [R] of each agent, from log-probabilities [R, number]."""
    probabilities = log_policy.float().exp().to(generator.device if generator else log_policy.device)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1).to(log_policy.device)
