"""The central reference of `offload`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, State
from .layout import LOCAL_SPEED, SLOT
from .planning import LOCAL_ENERGY, late, plan, told, window
from .policies import HANDOVER, Seen

if TYPE_CHECKING:
    from .env import OffloadEnv
    from .variant import OffloadVariant

FUTURE = 0.5  # part of the planned price that a slot of a server is charged, for tasks that are still to come


class Genie(Agent):
    """Central greedy: sees everything and places the new tasks one after another, the largest first, each where it costs least.

    A server that is shared equally by amounts b_j finishes one more, b, after (b + sum_j min(b_j, b)) / rate, and b delays the
    others by that same sum: the cost of a place is the task's own time and the delay of all others.
    """

    name = "genie"
    privileged = True

    def begin(self, state: State) -> None:
        """Compute the plan of the sites, for the prices of what is still to come."""
        env, v = cast("OffloadEnv", state.env), cast("OffloadVariant", state.variant)
        state.memory["plan"] = plan(v, told(env.sites))
        state.memory["speed"] = window(env.sites.capacity.unsqueeze(-1) * env.sites.available(), 1, 4)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v, env = cast("OffloadVariant", state.variant), cast("OffloadEnv", state.env)
        seen, slot, common = Seen(obs, v.edges), state.slot % v.period, state.memory["plan"]
        queues = env.queues()
        order = seen.work.argsort(dim=1, descending=True, stable=True)
        size, work, queue, local = (x.gather(1, order) for x in (seen.size, seen.work, seen.local, seen.with_local))
        alone = (env.sites.band.unsqueeze(1) * seen.channel).permute(2, 0, 1)
        radio, pending, rate = (x.gather(2, order.expand_as(x)) for x in (*queues, alone))
        on_air, to_send = radio / rate, size / rate  # slots alone on the band, [E, B, N]
        speed = state.memory["speed"][..., slot].T  # [E, B]
        tariff = common.tariff[..., slot].T
        air_price, cpu_price = ((p[..., slot].T - 1.0) * FUTURE for p in (common.band_slower, common.edge_slower))
        here = local / v.deadline + late(local, v.deadline) + (v.arrival * local * (local - queue) * 0.5) / v.deadline
        here = here + LOCAL_ENERGY * work
        ids = torch.arange(1, v.edges + 1, device=obs.device).unsqueeze(-1)
        servers = torch.zeros_like(order)
        for n in range(int((size > 0).sum(1).max())):  # those with a task come first
            own_air = to_send[..., n] + on_air[..., n].sum(0)
            own_work = work[:, n] + pending[..., n]
            others_air = torch.minimum(on_air, own_air.unsqueeze(-1)).sum(2) - torch.minimum(on_air[..., n], own_air)
            others_work = torch.minimum(pending, own_work.unsqueeze(-1)).sum(2) - pending[..., n]
            delay = own_air + others_air + HANDOVER + (own_work + others_work) / speed
            more = others_air + air_price * to_send[..., n] + (others_work + cpu_price * work[:, n]) / speed
            edges = (delay + more) / v.deadline + late(delay, v.deadline) + tariff
            servers[:, n] = torch.cat([here[:, n].unsqueeze(0), edges]).argmin(0) * (size[:, n] > 0)
            chosen = servers[:, n] == ids
            on_air[..., n] += chosen * to_send[..., n]
            pending[..., n] += chosen * work[:, n]
        return seen.action(torch.zeros_like(servers).scatter(1, order, servers))


__all__ = ["Genie", "LOCAL_SPEED", "SLOT"]
