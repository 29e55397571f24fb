"""`handover`: user association with mobility in a ray-traced city (categorical action: stay, or go to a station).

N users move on streets. A user's level of a station is the traced gain of its street cell, a residual shadowing and a fading;
its SINR counts all other stations by their load. A station shares its airtime, after what other tenants take, equally among
its users, and its backhaul in proportion. A handover interrupts for a part of a slot, may be billed, and the next one is not
allowed before HOLD slots. A link whose SINR falls below FAILURE fails and comes back at the strongest station, REPAIR slots
later. The reward of user n is `(min(rate / need, 1) - PRICE bill) / N`: the team reward is the share of the needs that is met,
less what handovers cost. docs/explanation/handover.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info
from ...physics.channel import from_db
from ...physics.interference import SINR_CAP, rate
from ...processes import plain_types
from ..layout import phases
from ..slots import SlotEnv
from .layout import DB_SCALE, FASTEST, LOOKS, LOWEST, MAX_STATIONS, METRES, ROUTE_SCALE, View
from .scenario import SLOT, draw_scenario
from .site import POWER, draw_site, same_carrier, stacked
from .variant import BAND, HandoverVariant

ACTIONS = (ActionComponent("station", "categorical", MAX_STATIONS + 1),)
NEIGHBOURS = 4  # strongest ones that a user reports
DETECTED = 0.0  # dB over the noise: neighbours below are not reported
FAILURE = -8.0  # dB SINR: out of synchrony (Qout of 3GPP TR 36.839)
HOLD = 16  # slots from a handover until the next may be asked for
REPAIR = 6  # slots: T310 of 1 s, search and re-establishment
PRICE = 6.0  # of a handover that is billed, in slots of a satisfied user
INTERRUPTION = 0.2  # of the slot of a handover is lost
WATTS = float(from_db(POWER - 30.0))

EPISODIC = {  # what a `HandoverEnv` holds of each episode, and on which axis
    **dict.fromkeys(("serving", "wait", "hold", "load", "users", "tariff", "backhaul", "share", "active", "speed"), 0),
    **dict.fromkeys(("_rate", "_sinr", "_moved", "_failed", "_idle", "_outages", "_failures", "_energy", "_delivered"), 0),
    **dict.fromkeys(("ratio", "measured", "where", "coins", "bills"), 1),
    "_mask": 0,
}


class HandoverEnv(SlotEnv):
    """B episodes of one `handover` variant. An action is 0 = stay, 1 + b = go to station b; what the mask forbids is to stay.

    What is public here is the state that references marked privileged read:

    Attributes:
        places: the site of each episode.
        serving: station of every user, [B, N].
        wait: slots until its link is there again, [B, N]; `hold`: until a handover is allowed.
        load: share of each station's airtime in use in the last slot, [B, S]; `users`: attached to it.
        ratio: received power of each station over the noise, [T + 2, B, N, S]; row t + 1 is slot t.
        measured: measured levels in dB over the noise, the same.
        where: positions in m, [T + 2 + max(LOOKS), B, N, 2].
        coins, bills: uniforms of the tenants [T, B, S] and of the bills [T, B, N].
        tariff: probability that a handover into a station is billed, by slot of the period, [B, S, L].
        backhaul: Mbit/s, [B, S].
        share: of the airtime that other tenants take, [B, S, L]; `active`: their probability, [B, S].
    """

    variant: HandoverVariant
    choices = ACTIONS
    episodic = EPISODIC
    tariff: Tensor
    backhaul: Tensor
    share: Tensor
    active: Tensor

    @plain_types()
    def __init__(self, variant: HandoverVariant, device: torch.device | str = "cpu") -> None:
        super().__init__(variant, device)
        self._phases = phases(variant.period).to(self.device)
        self._index = torch.arange(variant.agents, device=self.device) / variant.agents
        self._same = same_carrier(variant.stations).to(self.device)
        self._stations = torch.arange(variant.stations, device=self.device)

    def _begin(self, sites: Sequence[int], seeds: Sequence[int]) -> None:
        v, batch = self.variant, len(seeds)
        self.places = [draw_site(v, site) for site in sites]
        for name in ("tariff", "backhaul", "share", "active"):
            setattr(self, name, stacked(self.places, name, self.device))
        drawn = [draw_scenario(v, *each) for each in zip(self.places, sites, seeds, strict=True)]
        level, self.measured, self.where, self.speed, self.coins, self.bills = (
            torch.from_numpy(np.stack(parts, axis)).to(self.device)
            for parts, axis in zip(zip(*drawn, strict=True), (1, 1, 1, 0, 1, 1), strict=True)
        )
        self.ratio = torch.exp(level * (np.log(10.0) / 10.0))
        self.serving = self.measured[0].argmax(-1)
        zeros = torch.zeros(batch, v.agents, device=self.device)
        self.wait, self.hold, self._rate, self._sinr, self._moved, self._failed = zeros, zeros, zeros, zeros, zeros, zeros
        self._idle = zeros  # slots that a user has been without service
        self._outages = torch.zeros(batch, v.horizon + 1, device=self.device)  # histogram of their lengths
        self._failures, self._energy, self._delivered = torch.zeros(3, batch, device=self.device).unbind()
        self.users = self._count(torch.ones_like(zeros))
        self.load = (self.users > 0).float() * 0.5

    def _count(self, amount: Tensor) -> Tensor:
        """Sum of an amount of every user [B, N] by serving station, [B, S]."""
        return amount.new_zeros(len(amount), self.variant.stations).scatter_add_(1, self.serving, amount)

    def _play(self, action: Tensor) -> tuple[Tensor, Info]:
        return self.advance(torch.where(self._mask.gather(-1, action.unsqueeze(-1)).squeeze(-1), action, 0))

    def advance(self, chosen: Tensor) -> tuple[Tensor, Info]:
        """Play one slot with these choices [B, N], all allowed; returns reward [B, N] and quality of service."""
        v, t = self.variant, self._slot
        moved = (chosen > 0).float()
        target = torch.where(chosen > 0, chosen - 1, self.serving)
        bill = self._bill(target, moved, t)
        self.serving = target
        linked = (self.wait == 0).float()
        sinr = self._heard(self.ratio[t + 1])
        failed = linked * (sinr < 10.0 ** (FAILURE / 10.0))
        linked = linked - failed
        efficiency = rate(sinr, SINR_CAP)
        tenants = self.share[..., t % v.period] * (self.coins[t] < self.active)
        self.users = self._count(linked)
        alone = BAND * efficiency * (1.0 - INTERRUPTION * moved) * linked
        airtime = ((1.0 - tenants) / self.users.clamp(min=1.0)).gather(1, self.serving)
        asked = (alone * airtime).clamp(max=v.need)
        carried = (self.backhaul / self._count(asked).clamp(min=1e-6)).clamp(max=1.0)
        got = asked * carried.gather(1, self.serving)
        used = got / alone.clamp(min=1e-6)
        self.load = (tenants + self._count(used)).clamp(max=1.0)
        self._rate, self._sinr, self._moved, self._failed = got / v.need, sinr * linked, moved, failed
        self._slot = t + 1
        before = self.serving
        self._repair(failed)
        bill = bill + self._bill(self.serving, (self.serving != before).float(), t)
        self.hold = torch.where(moved > 0, float(HOLD), self.hold)
        self.hold = ((self.hold - 1.0) * (1.0 - failed)).clamp(min=0.0)
        idle = self._tally(got, failed, used)
        energy = WATTS * SLOT * used
        return (self._rate - bill) / v.agents, {"delivered": got * SLOT, "delay": idle, "dropped": failed, "energy": energy}

    def _bill(self, target: Tensor, moved: Tensor, slot: int) -> Tensor:
        """What the users that moved to these stations in a slot are billed, [B, N]."""
        tariff = self.tariff[..., slot % self.variant.period].gather(1, target) * moved
        return PRICE * self.charged * (self.bills[slot] < tariff)

    def _heard(self, ratio: Tensor) -> Tensor:
        """SINR at every user [B, N]: other stations disturb by the load that they had in the last slot."""
        signal = ratio.gather(-1, self.serving.unsqueeze(-1)).squeeze(-1)
        disturbed = torch.matmul(ratio * self.load.unsqueeze(1), self._same).gather(-1, self.serving.unsqueeze(-1))
        return signal / (1.0 + disturbed.squeeze(-1))

    def _repair(self, failed: Tensor) -> None:
        """Links that failed wait; those that have waited come back at the station that was measured strongest."""
        back = self.wait == 1.0
        self.wait = torch.where(failed > 0, float(REPAIR), (self.wait - 1.0).clamp(min=0.0))
        self.serving = torch.where(back, self.measured[self._slot].argmax(-1), self.serving)

    def _tally(self, got: Tensor, failed: Tensor, used: Tensor) -> Tensor:
        """Keep what `qos` tells; returns slots that every user has been without service, [B, N]."""
        served = got > 0
        ended = served & (self._idle > 0)
        self._outages.scatter_add_(1, self._idle.long().clamp(max=self.variant.horizon), ended.float())
        self._idle = torch.where(served, 0.0, self._idle + 1.0)
        self._failures = self._failures + failed.sum(1)
        self._delivered = self._delivered + got.sum(1)
        self._energy = self._energy + WATTS * SLOT * used.sum(1)
        return self._idle

    def qos(self) -> dict[str, Tensor]:
        """Per episode [B]: goodput (Mbit/s a user), length of outages mean and p95 (slots), failures of links, energy (J)."""
        open_ = torch.zeros_like(self._outages).scatter_add_(1, self._idle.long(), (self._idle > 0).float())
        count = self._outages + open_
        lengths = torch.arange(count.shape[1], device=self.device)
        total = count.sum(1)
        share = count.cumsum(1) / total.clamp(min=1.0).unsqueeze(1)
        return {
            "goodput": self._delivered / (max(self._slot, 1) * self.variant.agents),
            "delay_mean": (count * lengths).sum(1) / total.clamp(min=1.0),
            "delay_p95": (share < 0.95).sum(1).float() * (total > 0),
            "drops": self._failures.clone(),
            "energy": self._energy.clone(),
        }

    def clone_episodes(self, episodes: Tensor) -> Self:
        """See `SlotEnv`."""
        copied = super().clone_episodes(episodes)
        copied.places = [self.places[k] for k in episodes.tolist()]
        return copied

    def _reported(self) -> Tensor:
        """Neighbours that every user reports, [B, N, S]: the strongest that it finds."""
        neighbours = self.measured[self._slot].scatter(-1, self.serving.unsqueeze(-1), -torch.inf)
        count = min(NEIGHBOURS, self.variant.stations - 1)
        least = neighbours.topk(count, dim=-1).values[..., -1:].clamp(min=DETECTED)
        return neighbours >= least

    def _observe(self) -> tuple[Tensor, Info]:
        v, t = self.variant, self._slot
        s = v.stations
        obs = torch.zeros(*self.serving.shape, View.size, device=self.device)
        view = View(obs)
        free = (self.wait == 0) & (self.hold == 0)
        reported = self._reported()
        serving = self.serving.unsqueeze(-1) == self._stations
        level = ((self.measured[t] - LOWEST) / DB_SCALE).clamp(min=0.0)
        view.free[..., 0] = free
        view.wait[..., 0], view.wait[..., 1], view.wait[..., 2] = self.wait > 0, self.wait / 8.0, self.hold / 8.0
        view.level[..., :s] = level * (reported | serving)
        view.reported[..., :s], view.serving[..., :s] = reported, serving
        view.load[..., 0] = self.users.gather(1, self.serving) / v.agents
        view.load[..., 1] = self.load.gather(1, self.serving)
        view.rate[..., 0], view.rate[..., 1] = self._rate, torch.log2(1.0 + self._sinr) / 8.0
        view.moved[..., 0], view.failed[..., 0] = self._moved, self._failed
        here = self.where[t + 1]
        ways = [self.where[t + 1 + look] - here for look in LOOKS]
        view.position[:] = here / METRES
        view.heading[..., :2] = torch.nn.functional.normalize(ways[0], dim=-1)
        view.heading[..., 2] = self.speed / FASTEST
        view.route[:] = torch.cat(ways, dim=-1) / ROUTE_SCALE
        view.phase[:] = self._phases[t % v.period]
        view.index[..., 0] = self._index
        mask = torch.zeros(*self.serving.shape, MAX_STATIONS + 1, dtype=torch.bool, device=self.device)
        mask[..., 0] = True
        mask[..., 1 : s + 1] = reported & free.unsqueeze(-1)
        self._mask = mask
        return obs, {"action_mask": mask, "agent_mask": mask[..., 0].clone()}
