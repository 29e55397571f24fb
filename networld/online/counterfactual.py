"""How NetWorld plays to learn: samples of its improved policy, and in forks of the episodes what something else would lead to.

What one of many agents does shows faintly in the team's return, beneath the luck of all. So in some slots the environment is
copied, once for every agent and once more: in its fork an agent does something else, in the last nobody does, and then all of
them go on alike in the same scenario. The difference in what the team gets is due to that action alone (the 'vine' of Schulman
et al., TRPO, ICML 2015, section 5.2, with common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ...benchmark.agent import State
from ...benchmark.family import Cloneable
from ...benchmark.randomness import gumbel
from ...benchmark.rollout import mean_field
from ...learning.precision import mixed
from ..agent import NetWorldAgent
from ..model import NetWorld
from .config import Forks

FORBIDDEN = -1e9  # log-probabilities of what is not allowed are below this


@dataclass(frozen=True)
class Deviations:
    """What would have come of it if one agent had done something else, in M slots of recorded episodes.

    Attributes:
        place: episode and slot, [M, 2].
        usual: what the policy prefers, as an index into the table of actions, [M, N].
        other: what the agent did instead, [M, N].
        gain: by which the agent's share of the team's value would be greater, in the family's unit, [M, N].
    """

    place: Tensor
    usual: Tensor
    other: Tensor
    gain: Tensor


class Explorer(NetWorldAgent):
    """Plays samples of the improved policy without plans, every episode at a temperature of its own.

    Args:
        model: the network.
        temperatures: of the episodes, [B].
        forks: where episodes are forked.
        luck: draws what is clone_rows, and what agents do instead.

    Attributes:
        deviations: found in the forks, slot by slot.
        forked: slots played in forks.
    """

    block = 1024  # what it plays need not be the same to the bit in another batch
    privileged = True  # it is handed the environment, to fork it

    def __init__(self, model: NetWorld, temperatures: Tensor, forks: Forks, luck: torch.Generator) -> None:
        super().__init__(model)
        self._temperatures = temperatures.to(next(model.parameters()).device)
        self._forks, self._luck = forks, luck
        self.deviations: list[Deviations] = []
        self.forked = 0

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        forks, agents = self._forks, obs.shape[1]
        if (state.slot + agents) % forks.every == 0 and state.slot + forks.slots < state.variant.horizon:
            self._deviate(obs, inbox, state)
        prior, values = self._judge(obs, inbox, state)
        rows = torch.arange(len(values), device=values.device)
        luck = gumbel(state.random.draw().uniform(rows, agents, values.shape[1]))
        choice = (prior + values / self._temperatures[rows // agents].unsqueeze(1) + luck).argmax(-1)
        return self._actions(choice.view(-1, agents), state)

    def _judge(self, obs: Tensor, inbox: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Take in a slot; log-probabilities of the own policy and values of its actions, [R, number] each."""
        model, family = self._model, state.family.name
        with torch.no_grad(), mixed(obs.device):
            view = self._see(obs.flatten(0, 1), inbox.flatten(0, 1), state)
            world, value = model.contexts(view.latents, view.inboxes, view.scenario, family)
            prior = model.codecs[family].table_log_probs(model.behaviour_logits(world, view.action_mask, family))
            return prior.float(), model.critic(value, family).float()

    def _actions(self, choice: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D] of a table's indices [B, N]."""
        codec = self._model.codecs[state.family.name]
        return codec.decode(codec.table(choice.device)[choice])

    def _deviate(self, obs: Tensor, inbox: Tensor, state: State) -> None:
        """Fork some of the episodes, and note what everybody's doing something else leads to."""
        (batch, agents), device = obs.shape[:2], obs.device
        episodes = torch.randperm(batch, generator=self._luck, device=self._luck.device)[: self._forks.episodes].to(device)
        here = _part(state, episodes)
        usual, _ = self._greedy(obs[episodes], inbox[episodes], here)
        heard = mean_field(self.message(obs[episodes], here))
        other = self._something_else(usual, here)
        copies = torch.arange(len(episodes), device=device).repeat_interleave(agents + 1)
        choice = usual[copies].unflatten(0, (-1, agents + 1))
        alone = torch.arange(agents, device=device)
        choice[:, alone, alone] = other  # in the last fork nobody does
        value = self._go_on(choice.flatten(0, 1), heard[copies], _part(here, copies)).view(-1, agents + 1)
        place = torch.stack([episodes, torch.full_like(episodes, state.slot)], dim=1)
        self.deviations.append(Deviations(place, usual, other, (value[:, :-1] - value[:, -1:]) * agents))
        self.forked += len(copies) * self._forks.slots

    def _greedy(self, obs: Tensor, inbox: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Take in a slot; the mode of the policy that is played when training is done, [B, N], and the team's value, [B]."""
        c, family = self._model.config, state.family.name
        prior, values = self._judge(obs, inbox, state)
        share = ((prior + values / c.temperatures[family]).softmax(-1) * values).sum(-1)
        mode = (prior + values / c.acts_at(family)).argmax(-1)
        return mode.view(obs.shape[:2]), share.view(obs.shape[:2]).mean(1)

    def _something_else(self, usual: Tensor, state: State) -> Tensor:
        """An allowed action other than the usual one, all alike likely; where there is none, the usual one: [B, N]."""
        codec = self._model.codecs[state.family.name]
        even = torch.zeros(*usual.shape, codec.size, device=usual.device)
        allowed = codec.table_log_probs(codec.mask(even, state.action_mask)) > FORBIDDEN
        others = allowed.scatter(-1, usual.unsqueeze(-1), False)
        odds = (others | ~others.any(-1, keepdim=True)).flatten(0, 1).float()
        drawn = torch.multinomial(odds.to(self._luck.device), 1, generator=self._luck)
        return torch.where(others.any(-1), drawn.view(usual.shape).to(usual.device), usual)

    def _go_on(self, choice: Tensor, inbox: Tensor, state: State) -> Tensor:
        """The team's rewards and then its value, in the family's unit, [B], if they do this now and go on greedily."""
        c, env = self._model.config, state.env
        assert env is not None
        total = torch.zeros(len(choice), device=choice.device)
        for k in range(self._forks.slots):
            obs, reward, _, _, info = env.step(self._actions(choice, state))
            total += c.discount**k * reward.sum(1) / c.units[state.family.name]
            state.slot, state.action_mask = state.slot + 1, info["action_mask"]
            choice, value = self._greedy(obs, inbox, state)
            inbox = mean_field(self.message(obs, state))
        return total + c.discount**self._forks.slots * value


def _part(state: State, episodes: Tensor) -> State:
    """A state for these episodes [F] of it, in a fork of the environment; each as often as it is named."""
    agents = state.action_mask.shape[1]
    rows = (episodes.unsqueeze(1) * agents + torch.arange(agents, device=episodes.device)).flatten()
    memory = {name: column.index_select(0, rows) for name, column in state.memory.items()}
    env = cast(Cloneable, state.env).clone_episodes(episodes)
    return replace(state, batch=len(episodes), action_mask=state.action_mask[episodes], env=env, memory=memory)
