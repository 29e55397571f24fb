"""Turns that all agents compute alike: who takes whose place in a slot, by what the world model expects of the site.

In a family with fixed turns an agent's place is its number: user i sends in the slots of place i, good or bad. Agents that
differ in nothing else may exchange their places. What a place pays in a slot is expected by the world model, which has read the
site's logs; all agents hold the same logs, and so they agree without a word: in every slot the best places go to those that
were served least so far. An agent then sees the last slots as one that always had its place of now, and it waits where it has
no turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmark.agent import Support
from ..benchmark.family import Family, Variant
from .model import NetWorld

LOGGED = 48  # observations of the logs whose expected pay in a place is averaged


@dataclass(frozen=True)
class Turns:
    """Who takes whose place.

    Attributes:
        index: where an observation tells of place and slot, [P].
        shown: what it says there to the holder of each place in each slot, [T, N, P].
        turn: whether a place has a turn in a slot, [T, N] bool.
        place: the place of each agent in each slot, [T, N].
    """

    index: Tensor
    shown: Tensor
    turn: Tensor
    place: Tensor

    def history(self, seen: Tensor, slot: int) -> Tensor:
        """The last observations [R, L, O] of all agents, as in the place that each has now."""
        told, length = seen.clone(), seen.shape[1]
        for k in range(max(0, length - 1 - slot), length):
            held = self.shown[slot - length + 1 + k, self.place[slot]]
            told[:, k, self.index] = held.repeat(len(seen) // len(held), 1)
        return told

    def allowed(self, mask: Tensor, slot: int) -> Tensor:
        """Action masks [R, A] where those that have no turn may choose nothing but the first choice."""
        waits = ~self.turn[slot, self.place[slot]].repeat(len(mask) // self.place.shape[1])
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        return mask & (first | ~waits.unsqueeze(1))


def exchange(
    model: NetWorld, site: Tensor, family: Family, variant: Variant, support: Support, temperature: float
) -> Turns | None:
    """Turns by what K logs say of a site; None where a family has none, or nobody ever had a choice in the logs.

    Args:
        model: the world model.
        site: what is read of the site by agent and slot of the period, [N, L, S].
        family: the family.
        variant: its variant.
        support: the logs.
        temperature: of the policy that is played.
    """
    chose = (support.action_mask.sum(-1) > 1).nonzero()
    if not family.turns or not len(chose):
        return None
    index = family.parts(family.turns).to(site.device)
    shown = support.obs[0][..., index].to(site.device)
    turn = shown[..., 0] > 0
    order = torch.randperm(len(chose), generator=torch.Generator().manual_seed(0))
    logged, mask = (x[tuple(chose[order[:LOGGED]].T)].to(site.device) for x in (support.obs, support.action_mask))
    slot, place = turn.nonzero().T
    obs = logged.expand(len(slot), -1, -1).clone()
    obs[..., index] = shown[slot, place].unsqueeze(1)  # [turns, LOGGED, O]
    held = site[place, slot % variant.period].unsqueeze(1).expand(*obs.shape[:2], -1)
    pay = torch.zeros(turn.shape, device=site.device)
    pay[turn] = _pay(model, family.name, variant, obs, mask.expand(len(slot), -1, -1), held, temperature).mean(1)
    return Turns(index, shown, turn, take_places(pay))


def take_places(pay: Tensor) -> Tensor:
    """The place of each agent by slot [T, N], of what every place pays [T, N]: the best to those that were served least."""
    served, places = pay.new_zeros(pay.shape[1]), torch.empty_like(pay, dtype=torch.int64)
    best = pay.argsort(dim=-1, descending=True, stable=True)
    for slot, order in enumerate(best):
        least = served.argsort(stable=True)
        places[slot, least] = order
        served[least] += pay[slot, order].clamp(min=0.0)
    return places


@torch.no_grad()
def _pay(model: NetWorld, family: str, variant: Variant, obs: Tensor, mask: Tensor, site: Tensor, temperature: float) -> Tensor:
    """Pay that the policy expects, in deviations of an agent's pay [...], of observations [..., O] without a history."""
    latent = model(obs, family)
    scenario = model.scenario(torch.tensor(variant.descriptor(), device=obs.device), family).expand(*obs.shape[:-1], -1)
    prospects = model.prospects(latent, scenario, site, family)
    history = latent.unsqueeze(-2).expand(*latent.shape[:-1], model.config.history, -1)
    unheard = latent.new_zeros(*history.shape[:-1], 2 * model.config.message)
    world, value = model.contexts(history, unheard, scenario, model.told(site, prospects, family))
    values = model.values(value, prospects, float(variant.agents), family)
    return (model.policy_logits(world, values, mask, family, temperature).softmax(-1) * prospects).sum(-1)
