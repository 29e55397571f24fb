"""`offload`: mobile-edge computing offload with queues (hybrid action: a server, and the local clock).

N devices get tasks of so many Mbit and Gcycle. A task is computed on the device's own CPU, or sent over the device's one
radio to an edge server and computed there. Each edge has a band *whose airtime is shared equally by the devices that send to
it in the slot*, and a processor shared equally by the devices that have work there, after what other tenants take. A device's
queues (CPU, radio, each edge) are first in, first out. A task unfinished `deadline` slots after its arrival is dropped.

Every slot costs a device 1/deadline per task alive, DROP_PENALTY per task dropped, ENERGY_WEIGHT per joule and TARIFF_WEIGHT
per task billed; its reward is minus that, divided by N. So the team reward (the sum) is a mean over devices.

What is hidden (`site`): speed and band of each edge, when other tenants come, the tariff that each edge has in each slot of
the period, and everybody else's channels and queues. No observation shows a bill.

The model is that of Tang and Wong ('Deep reinforcement learning for task offloading in mobile edge computing systems', IEEE
Trans. Mobile Computing 2022), the numbers are rounded from Rahmati et al. (QECO, arXiv 2311.02525). In both a device has an
uplink of its own at 14 Mbit/s and edges are alike: bands, tenants and tariffs are ours. docs/explanation/offload.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info, clone_rows
from ...physics.queues import serve, total
from ...processes import plain_types
from ..layout import phases
from ..slots import SlotEnv
from . import site as sites_of
from .layout import LOCAL_SPEED, MAX_DENSITY, MAX_EDGES, MAX_SIZE, MEAN_SIZE, MEAN_WORK, MIN_SIZE, SLOT, View
from .scenario import AXES, draw_scenario, efficiency, shadowing
from .site import Sites
from .variant import OffloadVariant

CPU_ENERGY = 0.1  # J per Gcycle and GHz^2: switched capacitance 1e-28 (Mao et al., IEEE JSAC 2016); 1.76 W at 2.6 GHz
RADIO_POWER = 0.2  # W: 23 dBm, power class 3 of 3GPP TS 38.101-1
DROP_PENALTY = 1.0  # on top of the 1 that its wait has cost by then
ENERGY_WEIGHT = 0.5  # per J
TARIFF_WEIGHT = 1.5  # per task billed


EPISODIC = {  # what an `OffloadEnv` holds of each episode, and on which axis
    **dict.fromkeys(("_action", "_clock", "_dropped", "_drops", "_energy", "_finished", "_last_delay"), 0),
    **dict.fromkeys(("_bits", "_delays", "_server", "_work", "_sent", "_served", "_delay_at", "_billing"), 1),
    **dict.fromkeys(("_scenario", "_capacity", "_tariff", "_at"), 2),
    "_band": 1,
}
QUEUES = {name: axis for name, axis in EPISODIC.items() if name not in ("_scenario", "_capacity", "_tariff", "_billing")}


class OffloadEnv(SlotEnv):
    """B episodes of one `offload` variant. An action is a server (0 = local, e = edge e) and the clock, a part of LOCAL_SPEED.

    The server is ignored where no task waits.

    A device's tasks live in tables [K, B, N] ordered by age: at most one arrives in a slot and none lives longer than the
    deadline K, so entry k is the task that arrived k slots before the last arrival, and every queue is in order of age.
    A task without work left is no task; one with Mbit left is in the radio queue.

    Attributes:
        sites: the hidden parameters, [B, ...]; for privileged policies.
    """

    variant: OffloadVariant
    sites: Sites
    episodic = EPISODIC
    _billing: Tensor | None

    @plain_types()
    def __init__(self, variant: OffloadVariant, device: torch.device | str = "cpu") -> None:
        super().__init__(variant, device)
        e = variant.edges
        self.choices = (ActionComponent("server", "categorical", e + 1), ActionComponent("frequency", "ordinal", 5))
        self._servers = torch.arange(e + 1.0, device=self.device).view(-1, 1, 1)  # [1 + E, 1, 1]
        self._ages = torch.arange(1.0, variant.deadline + 1, device=self.device).view(-1, 1, 1)  # at the end of the slot
        self._index = torch.arange(variant.agents, device=self.device) / variant.agents
        self._phases = phases(variant.period).to(self.device)

    def _begin(self, sites: Sequence[int], seeds: Sequence[int]) -> None:
        v, batch = self.variant, len(seeds)
        self.sites = sites_of.sites(v, sites, self.device)
        drawn = [draw_scenario(v, site, seed) for site, seed in zip(sites, seeds, strict=True)]
        tasks, drive, tenants, billing = (
            np.stack(parts, axis) for parts, axis in zip(zip(*drawn, strict=True), AXES, strict=True)
        )
        mean = self.sites.snr.permute(1, 0, 2).cpu().numpy()  # [E, B, N]
        rates = efficiency(mean.astype(np.float64) + shadowing(drive)).astype(np.float32)
        scenario = np.concatenate([tasks, rates], axis=1)
        self._scenario = torch.from_numpy(scenario).to(self.device)  # [T + 1, 2 + E, B, N]: size, work, efficiencies
        self._billing = torch.from_numpy(billing).to(self.device)  # [T, B, N] uniforms; None: bills are expected ones
        self._capacity = self._left(torch.from_numpy(tenants).to(self.device))  # [T, E, B, 1]
        self._band = self.sites.band.T.unsqueeze(-1).contiguous()  # Mbit a slot, [E, B, 1]
        tariff = self.sites.tariff.permute(2, 1, 0)  # [L, E, B]
        self._tariff = torch.cat([torch.zeros_like(tariff[:, :1]), tariff], dim=1).contiguous()  # [L, 1 + E, B], local free
        tables = torch.zeros(3, v.deadline, batch, v.agents, device=self.device)
        self._bits, self._work, self._server = tables.unbind()  # Mbit to send, Gcycles to compute, chosen server
        self._bits[0], self._work[0] = self._scenario[0, 0], self._scenario[0, 1]
        self._at = torch.zeros(1 + v.edges, v.deadline, batch, v.agents, device=self.device)  # `_server`, one-hot
        zeros = torch.zeros(batch, v.agents, device=self.device)
        self._action, self._clock = zeros - 1.0, zeros
        self._finished, self._dropped, self._last_delay = zeros, zeros, zeros
        self._sent, self._served, self._delay_at = torch.zeros(3, v.edges, batch, v.agents, device=self.device).unbind()
        self._delays = torch.zeros(v.deadline, batch, device=self.device)  # histogram of delays of completed tasks
        self._drops, self._energy = torch.zeros(2, batch, device=self.device).unbind()

    def _left(self, coins: Tensor, slot: int = 0) -> Tensor:
        """Gcycle a slot that other tenants leave of each edge from `slot` on, [T, E, B, 1], from uniforms [T, E, B]."""
        s, slots = self.sites, torch.arange(slot, slot + len(coins), device=self.device) % self.variant.period
        share = s.share.permute(2, 1, 0)[slots]  # [T, E, B]
        return (s.capacity.T * (1.0 - share * (coins < s.active.T))).unsqueeze(-1)

    def _play(self, action: Tensor) -> tuple[Tensor, Info]:
        return self.advance(*action.unbind(-1))

    def advance(self, chosen: Tensor, clock: Tensor) -> tuple[Tensor, Info]:
        """Play one slot with these servers and clocks [B, N], unchecked; returns reward [B, N] and quality of service."""
        v, t = self.variant, self._slot
        alive = self._work > 0
        self._server[0] = self._action = chosen * alive[0]
        self._at[:, 0] = self._action == self._servers
        self._bits[0] *= self._action > 0
        bills = self._bill(t)

        computed, local = self._compute(clock)  # before the radio: what arrives at an edge is computed from the next slot
        sent, airtime = self._transmit()
        self._work = self._work - computed
        self._bits = self._bits - sent
        unfinished = self._work > 0
        done = (alive & ~unfinished).float()
        finished, dropped = done.sum(0), unfinished[-1].float()
        delay = (done * self._ages).sum(0) / finished.clamp(min=1.0)
        done_at = self._at[1:] * done  # [E, K, B, N]
        self._delay_at = total(done_at * self._ages, 1) / total(done_at, 1).clamp(min=1.0)
        energy = CPU_ENERGY * (LOCAL_SPEED * clock).square() * local + RADIO_POWER * SLOT * airtime
        cost = alive.sum(0) / v.deadline + DROP_PENALTY * dropped + ENERGY_WEIGHT * energy + TARIFF_WEIGHT * bills
        reward = cost / -v.agents

        self._slot, self._clock, self._finished, self._dropped = t + 1, clock, finished, dropped
        self._last_delay = torch.where(finished > 0, delay, self._last_delay)
        self._delays += done.sum(-1)
        self._drops += dropped.sum(1)
        self._energy += total(energy, 1)
        size, work = self._scenario[t + 1, 0], self._scenario[t + 1, 1]
        self._bits = torch.cat([size.unsqueeze(0), self._bits[:-1]])
        self._work = torch.cat([work.unsqueeze(0), self._work[:-1]])
        self._server = torch.cat([torch.zeros_like(size).unsqueeze(0), self._server[:-1]])
        self._at = torch.cat([torch.zeros_like(self._at[:, :1]), self._at[:, :-1]], dim=1)

        return reward, {"delivered": finished, "delay": delay, "dropped": dropped, "energy": energy}

    def _bill(self, slot: int) -> Tensor:
        """Whether the task that each device sent off in this slot is billed, [B, N]: with the probability of the tariff."""
        tariff = self._tariff[slot % self.variant.period].gather(0, self._action.long().T).T
        billed = (self._billing[slot] < tariff).float() if self._billing is not None else tariff
        return billed * self.charged

    def _compute(self, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Gcycles computed of each task [K, B, N], and those of them on the device itself [B, N]."""
        queues = torch.where(self._bits == 0, self._work, 0.0) * self._at  # [1 + E, K, B, N]
        active = (total(queues[1:], 1) > 0).sum(-1, keepdim=True)
        shares = (self._capacity[self._slot] / active.clamp(min=1)).expand(-1, -1, clock.shape[1])
        computed = serve(queues, torch.cat([(LOCAL_SPEED * SLOT * clock).unsqueeze(0), shares]))
        by_server = total(computed, 1)
        self._served = by_server[1:]
        return total(computed, 0), by_server[0]

    def _transmit(self) -> tuple[Tensor, Tensor]:
        """Mbit sent of each task [K, B, N], and the fraction of the slot that each device was on the air [B, N]."""
        radix = MAX_EDGES + 1
        oldest = torch.where(self._bits > 0, self._server + radix * self._ages, 0.0).amax(0)  # age first, then server
        target = oldest.remainder(radix)  # [B, N]; 0 = nothing to send
        on_air = target == self._servers[1:]  # [E, B, N]
        users = on_air.sum(-1, keepdim=True).clamp(min=1)
        alone = on_air * (self._band * self._scenario[self._slot, 2:])  # Mbit a slot with the band to itself
        queue = torch.where(self._server == target, self._bits, 0.0)
        sent = serve(queue, (alone / users).sum(0))
        amount = total(sent, 0)
        self._sent = on_air * amount
        return sent, amount / alone.sum(0).clamp(min=1e-9)  # n sharers have the slot for 1/n each

    def clone_episodes(self, episodes: Tensor) -> Self:
        """See `SlotEnv`."""
        copied = super().clone_episodes(episodes)
        copied.sites = self._sites_of(episodes)
        return copied

    def _sites_of(self, episodes: Tensor) -> Sites:
        return Sites(*(getattr(self.sites, name)[episodes] for name in sites_of.FIELDS))

    def imagine(self, episodes: Tensor, tasks: Tensor, coins: Tensor) -> OffloadEnv:
        """A copy of these episodes [F] that goes on with other tasks and tenants, for `advance` alone; bills are expected ones.

        Args:
            episodes: by number, [F].
            tasks: size and work of the tasks of the H slots after this one, [H, 2, F, N]; channels stay as they are.
            coins: uniforms of the tenants of this slot and of those after it, [H, E, F].
        """
        copied = clone_rows(self, episodes, QUEUES)
        here = self._scenario[self._slot].index_select(1, episodes)
        after = torch.cat([tasks, here[2:].expand(len(tasks), -1, -1, -1)], dim=1)
        copied._scenario, copied._billing = torch.cat([here.unsqueeze(0), after]), None
        copied.sites = self._sites_of(episodes)
        copied._capacity = copied._left(coins, self._slot)
        slots = torch.arange(self._slot, self._slot + len(coins), device=self.device) % self.variant.period
        copied._tariff, copied._slot = self._tariff[slots].index_select(2, episodes), 0
        return copied

    def qos(self) -> dict[str, Tensor]:
        """Per episode [B]: goodput (tasks a slot and device), delay mean and p95 (slots), drops (tasks), energy (J)."""
        count = self._delays.sum(0)
        share = self._delays.cumsum(0) / count.clamp(min=1.0)
        return {
            "goodput": count / (max(self._slot, 1) * self.variant.agents),
            "delay_mean": (self._delays * self._ages.view(-1, 1)).sum(0) / count.clamp(min=1.0),
            "delay_p95": (1.0 + (share < 0.95).sum(0)) * (count > 0),
            "drops": self._drops.clone(),
            "energy": self._energy.clone(),
        }

    def queues(self) -> tuple[Tensor, Tensor]:
        """Hidden state for the genie: Mbit to send to each edge, Gcycles sent or to be sent there, both [E, B, N]."""
        return self._by_server(self._bits)[1:], self._by_server(self._work)[1:]

    def waiting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For the genie: Mbit and Gcycles of the waiting tasks, slots of local work [B, N]; Mbit a slot alone [E, B, N]."""
        now = self._scenario[self._slot]
        local = self._by_server(self._work)[0] / (LOCAL_SPEED * SLOT)
        return self._bits[0], self._work[0], local, self._band * now[2:]

    def coming(self, slots: int) -> tuple[Tensor, Tensor]:
        """For the hindsight bound alone: what so many slots bring, as `imagine` takes it: [H, 2, B, N] and [H, E, B]."""
        t = self._slot
        alone = self._capacity[t : t + slots, ..., 0] >= self.sites.capacity.T
        return self._scenario[t + 1 : t + 1 + slots, :2], alone.float()

    def alive(self) -> Tensor:
        """Tasks that are not done, [B]."""
        return (self._work > 0).sum((0, 2)).float()

    def _by_server(self, table: Tensor) -> Tensor:
        """Sums over the decided tasks of each server, [1 + E, B, N]."""
        return total(table[1:] * self._at[:, 1:], 1)

    def _masks(self) -> Info:
        waiting = self._work[0] > 0
        mask = torch.zeros(*waiting.shape, MAX_EDGES + 1, dtype=torch.bool, device=self.device)
        mask[..., 0] = True
        mask[..., 1 : self.variant.edges + 1] = waiting.unsqueeze(-1)
        return {"action_mask": mask, "agent_mask": torch.ones_like(waiting)}

    def _observe(self) -> tuple[Tensor, Info]:
        v, e = self.variant, self.variant.edges
        size, work = self._scenario[self._slot, :2].unbind(0)
        # Written feature by feature, so features come first in memory; agents get them last and contiguous.
        written = torch.zeros(View.size, size.numel(), device=self.device)
        view = View(written.unflatten(1, size.shape).permute(1, 2, 0))
        ready = self._by_server(torch.where(self._bits == 0, self._work, 0.0))
        alive = self._work > 0
        view.task[..., 0] = alive[0]
        view.task[..., 1] = size / MAX_SIZE
        view.task[..., 2] = work / size.clamp(min=MIN_SIZE) / MAX_DENSITY
        view.local[..., 0] = torch.log1p(ready[0] / (LOCAL_SPEED * SLOT))
        view.sending[..., :e] = torch.log1p(self._by_server(self._bits)[1:] / MEAN_SIZE).permute(1, 2, 0)
        view.pending[..., :e] = torch.log1p(ready[1:] / MEAN_WORK).permute(1, 2, 0)
        view.channel[..., :e] = self._scenario[self._slot, 2:].permute(1, 2, 0)
        view.exists[..., :e] = 1.0
        view.sent[..., :e] = (self._sent / MEAN_SIZE).permute(1, 2, 0)
        view.served[..., :e] = (self._served / MEAN_WORK).permute(1, 2, 0)
        view.delay[..., :e] = (self._delay_at / v.deadline).permute(1, 2, 0)
        view.alive[..., 0] = alive.sum(0) / v.deadline
        view.alive[..., 1] = (alive * (self._ages - 1.0)).amax(0) / v.deadline
        view.outcome[..., 0] = self._finished > 0
        view.outcome[..., 1] = self._dropped
        view.outcome[..., 2] = self._last_delay / v.deadline
        view.server[..., : e + 1] = (self._action == self._servers).permute(1, 2, 0)
        view.frequency[..., 0] = self._clock
        view.phase[:] = self._phases[self._slot % v.period]
        view.index[..., 0] = self._index
        return written.t().contiguous().unflatten(0, size.shape), self._masks()
