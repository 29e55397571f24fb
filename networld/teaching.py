"""A critic of the whole team teaches a policy to use its messages; in training alone, no checkpoint holds it.

An additive value cannot say that *one* of several agents should act: each is credited for acting, and then all of them act. So
where agents must agree who goes, a critic learns from the recordings what a *joint* action is worth to the team, knowing what
all agents see. The policy of an agent, which knows its own observations and its inbox, then ascends

    sum_a pi(a) Q(s, a, others' actions drawn from their policies) - temperature KL(pi | pi_expert),

the exact gradient over the own actions, with the others where they are now (counterfactual: Foerster et al., COMA, AAAI 2018).
That gradient flows through the inbox into what the others say (Foerster et al., DIAL, NeurIPS 2016), so that messages come to
tell whatever the critic saw and the agent could not. States are those of all recordings, whoever played them.

It is the second course of training: the world model is finished and stays as it is, the actors read its latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ..benchmark.data.windows import Windows
from ..benchmark.family import FamilyShape
from ..benchmark.two_hot import ActionCodec
from .config import NetWorldConfig
from .losses import Encoded, contexts_at, delivered, encode
from .model import NetWorld
from .modules import mlp

WIDTH, TRACE = 256, 128
RAREST = -12.0  # log-probability below which what the expert never does is not told apart
FEW = 4.0  # agents; the traces of all are read as a mean and as a sum in this unit


class TeamCritic(nn.Module):
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


def critics(network: NetWorldConfig) -> nn.ModuleDict:
    """A critic for each family that is taught."""
    shapes = {name: network.families[name] for name in network.taught}
    return nn.ModuleDict({name: TeamCritic(shape, len(ActionCodec(shape.actions).table())) for name, shape in shapes.items()})


@dataclass(frozen=True)
class Lesson:
    """One family's lesson.

    Attributes:
        family: its name.
        learner: network whose actor learns.
        finished: the finished network, with the moving average of that actor.
        critic: the team's critic, who learns too.
        late: its moving average, who judges.
        temperature: how dear it is to leave the expert's ways, in the family's unit of values.
    """

    family: str
    learner: NetWorld
    finished: NetWorld
    critic: TeamCritic
    late: TeamCritic
    temperature: float

    def losses(self, batch: Windows, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of the team's critic and of the actor.

        Args:
            batch: windows of the family.
            generator: source of the actions that agents are taken to do.
        """
        c, now, family = self.finished.config, self.finished.config.history, self.family
        codec = self.finished.codecs[family]
        obs = self.finished.observation.standardise(batch.obs[:, now : now + 2], family)
        mask = batch.action_mask[:, now : now + 2]
        with torch.no_grad():
            seen = encode(self.finished, batch, family, now + 2)
            known = batch.valid[:, : now + 2].unsqueeze(-1)
            sights = self.finished.sight(seen.latents, batch.obs[:, : now + 2], family) * known
            world, _ = contexts_at(self.finished, seen, now, family)
            prior = codec.table_log_probs(self.finished.behaviour_logits(world, mask[:, 0], family)).float().clamp(min=RAREST)
            after = self._policy(self.finished, sights, seen.scenario, batch, now + 1, mask[:, 1])
            following = self.late.joint(obs[:, 1], _draw(after, generator), batch)
            bellman = batch.team_mean(batch.reward[:, now]) / c.units[family] + c.discount * following
        log_policy = self._policy(self.learner, sights, seen.scenario, batch, now, mask[:, 0])
        policy = log_policy.exp()
        with torch.no_grad():
            worth = self.late.deviations(obs[:, 0], _draw(log_policy, generator), batch)
            worth -= (policy * worth).sum(-1, keepdim=True)
        value = self.critic.joint(obs[:, 0], codec.index(batch.action[:, now]), batch)
        price = self.temperature * (log_policy - prior)
        return {"team_critic": smooth_l1_loss(value, bellman), "actor": (policy * (price - worth)).sum(-1).mean()}

    def _policy(self, network: NetWorld, sights: Tensor, scenario: Tensor, batch: Windows, slot: int, mask: Tensor) -> Tensor:
        """Log-probabilities [R, number] of a network's actors at a slot, after what all of them said before."""
        inboxes = delivered(network.actor(self.family).message(sights), batch)
        known = Encoded(sights, inboxes, scenario).until(slot, network.config.history)
        return network.taught_log_policy(*known, mask, self.family).float()


def lessons_of(
    learner: NetWorld, finished: NetWorld, critic: nn.ModuleDict, late: nn.ModuleDict, temperature: float
) -> dict[str, Lesson]:
    """A lesson for each family that has a critic, by name; see `Lesson`."""
    pairs = {name: (cast(TeamCritic, critic[name]), cast(TeamCritic, late[name])) for name in critic}
    return {name: Lesson(name, learner, finished, *pair, temperature) for name, pair in pairs.items()}


def _draw(log_policy: Tensor, generator: torch.Generator | None) -> Tensor:
    """An action [R] of each agent, from log-probabilities [R, number]."""
    return torch.multinomial(log_policy.float().exp(), 1, generator=generator).squeeze(1)
