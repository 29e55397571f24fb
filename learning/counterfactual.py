"""Actors that a central critic trains on recordings, by the values of all that an agent could do instead.

The policy of an agent, which knows its own observations and its inbox, ascends

    sum_a pi(a) Q(s, a, others' actions drawn from their policies) - temperature KL(pi | pi_expert),

the exact gradient over the own actions, with the others where they are now (counterfactual values: Foerster et al., COMA, AAAI
2018). The gradient flows through the inbox into what the others say (Foerster et al., DIAL, NeurIPS 2016), so that messages
come to tell what the critic saw and the agent could not. States are those of all recordings, whoever acted in them.

The network that gives the expert's policy, and through which actors see the world, is finished by then and stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ..benchmark.data.windows import Windows, WindowSampler
from ..benchmark.family import FamilyShape
from .central_critic import Actor, CentralCritic
from .checkpoint import Pretrained
from .codec import ActionCodec
from .descent import Descent, DescentConfig
from .mean_field import delivered
from .parallel import Processes

RAREST = -12.0  # log-probability below which what the expert never does is not told apart


@dataclass(frozen=True)
class ActorInputs:
    """A batch of windows as actors see it; slot L is 'now', and a window shows one slot more.

    Attributes:
        features: [R, L + 2, S].
        public: [R, P].
        prior: log-probabilities of what the expert would do now, [R, number].
        obs: standardised observations, of now and of the slot after, [R, 2, O].
    """

    features: Tensor
    public: Tensor
    prior: Tensor
    obs: Tensor


@dataclass(frozen=True)
class ActorTask:
    """The actor of a family that is to be trained.

    Attributes:
        shape: of the family.
        codec: of its actions.
        actor: becomes the moving average of what is trained.
        see: how a batch is seen; without gradient.
        unit: of values: deviation of a slot's team reward.
    """

    shape: FamilyShape
    codec: ActionCodec
    actor: Actor
    see: Callable[[Windows], ActorInputs]
    unit: float

    def log_policy(self, actor: Actor, seen: ActorInputs, batch: Windows, slot: int) -> Tensor:
        """Log-probabilities [R, number] of an actor at a slot, after what all actors said before."""
        inboxes, stretch = delivered(actor.message(seen.features), batch), slice(slot - actor.history + 1, slot + 1)
        logits = actor(seen.features[:, stretch], inboxes[:, stretch], seen.public)
        return self.codec.table_log_probs(self.codec.mask(logits, batch.action_mask[:, slot])).float()


class CounterfactualActors(Descent):
    """Trains the actors of a finished network.

    Args:
        network: whose actors they are; it is what the training leaves.
        tasks: by family.
        samplers: of windows, by family.
        config: how to descend.
        processes: that train together.
        steps: to take.
        discount: of values.
        temperature: price of leaving the expert's policy, in the unit of values.
    """

    def __init__(
        self,
        network: Pretrained,
        tasks: Mapping[str, ActorTask],
        samplers: Mapping[str, WindowSampler],
        config: DescentConfig,
        processes: Processes,
        *,
        steps: int,
        discount: float,
        temperature: float,
    ) -> None:
        self._network, self._tasks, self._discount, self._temperature = network, tasks, discount, temperature
        averages = nn.ModuleDict({name: task.actor for name, task in tasks.items()})
        actors = copy.deepcopy(averages).requires_grad_(True)
        critics = nn.ModuleDict({name: CentralCritic(t.shape, len(t.codec.table())) for name, t in tasks.items()})
        critics.to(processes.device)
        targets = copy.deepcopy(critics).requires_grad_(False)
        self._actors, self._critics, self._targets = actors, critics, targets
        modules = {"actors": actors, "averages": averages, "critics": critics, "target_critics": targets}
        learned = dict(nn.ModuleDict({"actors": actors, "critics": critics}).named_parameters())
        pairs = [(targets, critics), (averages, actors)]
        chosen = {name: samplers[name] for name in tasks}
        super().__init__(chosen, config, processes, steps, learned, modules, pairs)

    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """Losses of the central critic and of the actor, and their sum."""
        task = self._tasks[family]
        actor, critic, target = (
            cast(Actor, self._actors[family]),
            cast(CentralCritic, self._critics[family]),
            cast(CentralCritic, self._targets[family]),
        )
        now = actor.history
        with torch.no_grad():
            seen = task.see(batch)
            after = task.log_policy(task.actor, seen, batch, now + 1)
            following = target.joint(seen.obs[:, 1], self._draw(after), batch)
            bellman = batch.team_mean(batch.reward[:, now]) / task.unit + self._discount * following
        log_policy = task.log_policy(actor, seen, batch, now)
        policy = log_policy.exp()
        with torch.no_grad():
            advantage = target.counterfactual(seen.obs[:, 0], self._draw(log_policy), batch)
            advantage -= (policy * advantage).sum(-1, keepdim=True)
        value = critic.joint(seen.obs[:, 0], task.codec.index(batch.action[:, now]), batch)
        price = self._temperature * (log_policy - seen.prior.float().clamp(min=RAREST))
        parts = {"central_critic": smooth_l1_loss(value, bellman), "actor": (policy * (price - advantage)).sum(-1).mean()}
        return {"loss": parts["central_critic"] + parts["actor"], **parts}

    def trained(self) -> Pretrained:
        """The network, with the moving averages of its actors."""
        return self._network

    def _draw(self, log_policy: Tensor) -> Tensor:
        """An action [R] of each agent, from log-probabilities [R, number]."""
        probabilities = log_policy.float().exp().to(self.noise.device)
        return torch.multinomial(probabilities, 1, generator=self.noise).squeeze(1).to(log_policy.device)
