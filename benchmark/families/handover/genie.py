"""The central reference of `handover`: it assigns all users together, on the true map and along the ways that they will go."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, State
from ...physics.interference import SINR_CAP, rate
from .env import FAILURE, HOLD, INTERRUPTION, PRICE
from .planning import FAILS, Knowledge, cell_of
from .policies import true_knowledge
from .site import same_carrier
from .variant import BAND, HandoverVariant

if TYPE_CHECKING:
    from .env import HandoverEnv

POINTS = (0, 1, 3, 5, 7, 10, 14, 18, 22)  # slots ahead that an assignment is valued at
WEIGHTS = (1.0, 1.5, 2.0, 2.0, 2.5, 3.5, 4.0, 4.0, 2.0)
SWEEPS = 2
KEEPS = 0.8  # correlation of a residual level from slot to slot
WIDEST = 12.0  # dB, of a residual that is believed: more is a station without a traced path
MARGIN = 0.2  # satisfied slots that a handover must gain
LATER = 5  # points up to which a user may wait with a handover
FAIL_COST = 0.3  # satisfied slots that a slot below the failure level costs


class Genie(Agent):
    """Best responses of all users in turn, until nobody gains for the team; every slot anew over the next ones."""

    name, privileged = "genie", True

    def begin(self, state: State) -> None:
        """Look at the sites."""
        known, place = true_knowledge(cast("HandoverEnv", state.env))
        state.memory["known"], state.memory["place"] = known, place

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, env = cast("HandoverVariant", state.variant), cast("HandoverEnv", state.env)
        known, place = cast(Knowledge, state.memory["known"]), cast(Tensor, state.memory["place"])
        alone, fails = self._links(env, known, place, state.slot, v)
        free = state.action_mask[..., 1 : v.stations + 1]
        soon = (state.slot + torch.arange(1, HOLD, device=place.device)) % v.period
        tariff = known.tariff[place]
        price, cheapest = (
            PRICE * each + INTERRUPTION + MARGIN for each in (tariff[..., state.slot % v.period], tariff[..., soon].amin(-1))
        )
        chosen = Assignment(env, state.slot, alone, fails, (price, cheapest), free).solve(SWEEPS)
        return torch.where(chosen == env.serving, 0, 1 + chosen)

    def _links(self, env: HandoverEnv, known: Knowledge, place: Tensor, slot: int, v: HandoverVariant) -> tuple[Tensor, Tensor]:
        """Needs that each link could carry alone on a station without tenants, and its chance to fail, [B, N, S, H] both."""
        points = torch.tensor(POINTS, device=place.device)
        ways = env.where[slot + 1 + points]  # [H, B, N, 2]
        table = known.level[place.view(1, -1, 1), cell_of(ways)]  # [H, B, N, S]
        now = 10.0 * torch.log10(env.ratio[slot + 1])
        level = table + (now - table[:1]).clamp(-WIDEST, WIDEST) * (KEEPS ** points.view(-1, 1, 1, 1))
        ratio = 10.0 ** (level / 10.0)
        others = torch.matmul(ratio * env.load.unsqueeze(1), same_carrier(v.stations).to(ratio.device))
        sinr = (ratio / (1.0 + others)).permute(1, 2, 3, 0)
        fails = torch.sigmoid((FAILURE - 10.0 * torch.log10(sinr)) / FAILS)
        return BAND * rate(sinr, SINR_CAP) * (1.0 - fails) / v.need, fails


class Assignment:
    """Users and stations over the next slots, and what an assignment of all users is worth.

    Args:
        env: the environment, for where users are and what stations carry.
        slot: the slot that is to be played.
        alone: needs that a link could carry with all the airtime of its station, [B, N, S, H].
        fails: chance that it fails, [B, N, S, H].
        prices: of a handover into a station now and at best later, [B, S] each.
        free: stations that a user may go to, [B, N, S].
    """

    def __init__(
        self, env: HandoverEnv, slot: int, alone: Tensor, fails: Tensor, prices: tuple[Tensor, Tensor], free: Tensor
    ) -> None:
        v = env.variant
        slots = (slot + torch.tensor(POINTS, device=alone.device)) % v.period
        share = env.share[..., slots]  # [B, S, H]
        active = env.active.unsqueeze(-1)
        weights = alone.new_tensor(WEIGHTS)
        left = torch.stack([1.0 - share, torch.ones_like(share)], -1).unsqueeze(1)  # with and without tenants
        self._weights = torch.stack([active * weights, (1.0 - active) * weights], -1)  # [B, S, H, 2]
        self._alone = alone.unsqueeze(-1) * left  # [B, N, S, H, 2]
        self._loss = FAIL_COST * fails * weights  # [B, N, S, H]
        self._backhaul = (env.backhaul / v.need)[..., None, None]
        (self._price, self._cheapest), self._free, self._serving = prices, free, env.serving
        self._linked = (env.wait == 0).float()

    def solve(self, sweeps: int) -> Tensor:
        """Stations [B, N], by best responses of one user after another."""
        stations = self._alone.shape[2]
        chosen = self._serving.clone()
        here = torch.nn.functional.one_hot(chosen, stations).to(self._alone.dtype)
        at = here * self._linked.unsqueeze(-1)
        for _ in range(sweeps):
            for n in range(at.shape[1]):
                at[:, n] = 0.0
                gain = self._joined(at, n) - self._loss[:, n]  # [B, S, H]
                whole, later = gain.sum(-1), gain[..., LATER:].sum(-1)
                go = torch.where(self._free[:, n], whole - self._price, -torch.inf)
                wait = ((whole - later) * here[:, n]).sum(-1) + (later - self._cheapest).amax(-1)
                stay = torch.maximum((whole * here[:, n]).sum(-1), wait)
                best = go.max(-1)
                chosen[:, n] = torch.where(best.values > stay, best.indices, self._serving[:, n])
                at[:, n] = torch.nn.functional.one_hot(chosen[:, n], stations).to(at.dtype)
        return chosen

    def _joined(self, at: Tensor, n: int) -> Tensor:
        """What user n adds at each station, at each alone, [B, S, H], with the others at it as `at` says."""
        others = at.sum(1)[..., None, None]  # [B, S, 1, 1]
        there = at[..., None, None]
        without = ((self._alone / others.clamp(min=1.0).unsqueeze(1)).clamp(max=1.0) * there).sum(1)
        shared = (self._alone / (others + 1.0).unsqueeze(1)).clamp(max=1.0)
        joined = (shared * there).sum(1) + shared[:, n]
        more = torch.minimum(joined, self._backhaul) - torch.minimum(without, self._backhaul)
        return (more * self._weights).sum(-1)
