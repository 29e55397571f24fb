"""`offload`: mobile-edge computing offload with queues (hybrid action: a server, and the local clock).

N devices get tasks of so many Mbit and Gcycle. A task is computed on the device's own CPU, or sent over the device's one
radio to an edge server and computed there. Each edge stands at a site of its own, with a band *shared equally by the devices
that send to it in the slot*, and a processor shared equally by the devices that have work there. A device's queues (CPU,
radio, each edge) are first in, first out. A task unfinished `deadline` slots after its arrival is dropped wherever it is.

Every slot costs a device 1/deadline per task alive, DROP_PENALTY per task dropped and ENERGY_WEIGHT per joule; its reward is
minus that, divided by N. So the team reward (the sum) is a mean over devices, and a task costs its delay over the deadline.

What can be planned: a band or a processor slows down for everybody with each further user, what others do is seen one slot
late, work that is sent stays in the queues for slots to come, and a slow clock saves energy at the price of delay.

The model is that of Tang and Wong ('Deep reinforcement learning for task offloading in mobile edge computing systems', IEEE
Trans. Mobile Computing 2022), the numbers are rounded from Rahmati et al. (QECO, arXiv 2311.02525). In both a device has an
uplink of its own at 14 Mbit/s and edges are alike, which leaves nothing to coordinate: the bands are ours. docs/offload.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info, check_action, clone_rows, require
from ...physics.channel import autoregression
from ...randomness import scenario_generator
from .layout import (
    LOCAL_SPEED,
    MAX_DENSITY,
    MAX_EDGES,
    MAX_SIZE,
    MIN_DENSITY,
    MIN_SIZE,
    OBS_SIZE,
    SLOT,
    TOP_SPEED,
    View,
)
from .variant import OffloadVariant

CPU_ENERGY = 0.1  # J per Gcycle and GHz^2: switched capacitance 1e-28 (Mao et al., IEEE JSAC 2016); 1.76 W at 2.6 GHz
RADIO_POWER = 0.2  # W: 23 dBm, power class 3 of 3GPP TS 38.101-1
SNR_MEAN, SNR_REFERENCE = (3.0, 15.0), 9.0  # dB: range of a device's mean to an edge; where the band has its nominal rate
SHADOWING, SHADOWING_MEMORY = 3.0, 0.95  # dB; correlation from slot to slot (Gudmundson, Electronics Letters 1991)
DROP_PENALTY = 1.0  # on top of the 1 that its wait has cost by then
ENERGY_WEIGHT = 0.5  # per J


def _total(amounts: Tensor, dim: int) -> Tensor:
    """Sum in the order of the entries. `torch.sum` rounds in an order that depends on the place in the batch."""
    return amounts.cumsum(dim).select(dim, -1)


def _serve(queue: Tensor, capacity: Tensor, upto: Tensor) -> Tensor:
    """What a first-in-first-out server takes from each task.

    Args:
        queue: remaining amount of each task, youngest first, [..., K, B, N].
        capacity: what the server can do in the slot, [..., B, N].
        upto: `queue.cumsum(-3)`: the amount in tasks that are as young or younger.

    Returns:
        Served amounts, [..., K, B, N].
    """
    older = upto.narrow(-3, upto.shape[-3] - 1, 1) - upto
    return torch.minimum((capacity.unsqueeze(-3) - older).clamp_(min=0.0), queue)


EPISODIC = {  # what an `OffloadEnv` holds of each episode, and on which axis
    **dict.fromkeys(("_action", "_clock", "_dropped", "_drops", "_energy", "_finished", "_last_delay"), 0),
    **dict.fromkeys(("_bits", "_delays", "_edge_backlog", "_edge_users", "_server", "_work"), 1),
    "_scenario": 2,
}


class OffloadEnv:
    """B episodes of one `offload` variant, stepped together (see `benchmark.family.Env`).

    A device's tasks live in tables [K, B, N] ordered by age: at most one arrives in a slot and none lives longer than the
    deadline K, so entry k is the task that arrived k slots before the last arrival, and every queue is in order of age.
    A task without work left is no task; one with Mbit left is in the radio queue.
    """

    def __init__(self, variant: OffloadVariant, device: torch.device | str = "cpu") -> None:
        self.variant = variant
        self.device = torch.device(device)
        e = variant.edges
        self._choices = (ActionComponent("server", "categorical", e + 1), ActionComponent("frequency", "ordinal", 5))
        self._servers = torch.arange(e + 1.0, device=self.device).view(-1, 1, 1)  # [1 + E, 1, 1]
        self._edge_work = SLOT * torch.tensor(variant.speeds, device=self.device).view(-1, 1, 1)  # Gcycle a slot, [E, 1, 1]
        self._ages = torch.arange(1.0, variant.deadline + 1, device=self.device).view(-1, 1, 1)  # at the end of the slot
        self._index = torch.arange(variant.agents, device=self.device) / variant.agents

    def reset(self, seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Draw the scenarios of these seeds and start their episodes; returns obs [B, N, O] and info."""
        require(len(seeds) > 0, "seeds", list(seeds), "at least one integer")
        v, batch = self.variant, len(seeds)
        scenarios = np.stack([_draw_scenario(v, seed) for seed in seeds], axis=-2)
        self._scenario = torch.from_numpy(scenarios).to(self.device)  # [T + 1, 2 + E, B, N]: size, work, efficiencies
        self._slot = 0
        tables = torch.zeros(3, v.deadline, batch, v.agents, device=self.device)
        self._bits, self._work, self._server = tables.unbind()  # Mbit to send, Gcycles to compute, chosen server
        self._bits[0], self._work[0] = self._scenario[0, 0], self._scenario[0, 1]
        zeros = torch.zeros(batch, v.agents, device=self.device)
        self._action, self._clock = zeros - 1.0, zeros
        self._finished, self._dropped, self._last_delay = zeros, zeros, zeros
        self._edge_backlog = torch.zeros(v.edges, batch, device=self.device)
        self._edge_users = torch.zeros(v.edges, batch, device=self.device)
        self._delays = torch.zeros(v.deadline, batch, device=self.device)  # histogram of delays of completed tasks
        self._drops = torch.zeros(batch, device=self.device)
        self._energy = torch.zeros(batch, device=self.device)
        return self._observe(), self._masks()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot.

        Args:
            action: [B, N, 2] floats: server (0 = local, e = edge e; ignored where no task waits), and the local clock as a
                fraction of LOCAL_SPEED.

        Returns:
            obs [B, N, O], reward [B, N], terminated [B], truncated [B], info with the slot's quality of service.
        """
        v, t = self.variant, self._slot
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        batch = self._work.shape[1]
        chosen, clock = check_action(action, self._choices, batch, v.agents).unbind(-1)
        alive = self._work > 0
        self._server[0] = self._action = chosen * alive[0]
        self._bits[0] *= self._action > 0

        computed, cycles = self._compute(clock)  # before the radio: what arrives at an edge is computed from the next slot
        sent, airtime = self._transmit()
        self._work = self._work - computed
        self._bits = self._bits - sent
        unfinished = self._work > 0
        done = (alive & ~unfinished).float()
        finished, dropped = done.sum(0), unfinished[-1].float()
        delay = (done * self._ages).sum(0) / finished.clamp(min=1.0)
        energy = CPU_ENERGY * (LOCAL_SPEED * clock).square() * cycles + RADIO_POWER * SLOT * airtime
        reward = (alive.sum(0) / v.deadline + DROP_PENALTY * dropped + ENERGY_WEIGHT * energy) / -v.agents

        self._slot, self._clock, self._finished, self._dropped = t + 1, clock, finished, dropped
        self._last_delay = torch.where(finished > 0, delay, self._last_delay)
        self._delays += done.sum(-1)
        self._drops += dropped.sum(1)
        self._energy += _total(energy, 1)
        size, work = self._scenario[t + 1, 0], self._scenario[t + 1, 1]
        self._bits = torch.cat([size.unsqueeze(0), self._bits[:-1]])
        self._work = torch.cat([work.unsqueeze(0), self._work[:-1]])
        self._server = torch.cat([torch.zeros_like(size).unsqueeze(0), self._server[:-1]])

        info = self._masks() | {"delivered": finished, "delay": delay, "dropped": dropped, "energy": energy}
        terminated = torch.zeros(batch, dtype=torch.bool, device=self.device)
        truncated = torch.full_like(terminated, self._slot == v.horizon)
        return self._observe(), reward, terminated, truncated, info

    def _compute(self, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Gcycles computed of each task [K, B, N], and those of them on the device itself [B, N]."""
        ready = self._work * (self._bits == 0)
        queues = ready * (self._server == self._servers.unsqueeze(1))  # [1 + E, K, B, N]
        upto = queues.cumsum(1)
        total = upto[:, -1]
        active = (total[1:] > 0).sum(-1, keepdim=True)
        edge_shares = (self._edge_work / active.clamp(min=1)).expand(-1, -1, clock.shape[1])
        capacity = torch.cat([(LOCAL_SPEED * SLOT * clock).unsqueeze(0), edge_shares])
        computed = _serve(queues, capacity, upto)
        self._edge_backlog = _total(total[1:], -1)
        return computed.sum(0), _total(computed[0], 0)

    def _transmit(self) -> tuple[Tensor, Tensor]:
        """Mbit sent of each task [K, B, N], and the fraction of the slot that each device was on the air [B, N]."""
        v, waiting = self.variant, self._bits > 0
        radix = MAX_EDGES + 1
        oldest = (waiting * (self._server + radix * self._ages)).amax(0)  # age first, then server: the oldest wins
        target = oldest.remainder(radix)  # [B, N]; 0 = nothing to send
        on_air = target == self._servers[1:]  # [E, B, N]
        users = on_air.sum(-1, keepdim=True)
        shares = on_air * self._scenario[self._slot, 2:] / users.clamp(min=1)
        capacity = v.uplink * SLOT * shares.sum(0)
        queue = self._bits * (self._server == target)
        sent = _serve(queue, capacity, queue.cumsum(0))
        self._edge_users = users.squeeze(-1).float()
        return sent, _total(sent, 0) / capacity.clamp(min=1e-9)

    def clone_episodes(self, episodes: Tensor) -> OffloadEnv:
        """A copy that goes on with these episodes; see `benchmark.family.Cloneable`."""
        return clone_rows(self, episodes, EPISODIC)

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

    def _by_server(self, table: Tensor) -> Tensor:
        """Sums over the decided tasks of each server, [1 + E, B, N]."""
        return _total(table[1:] * (self._server[1:] == self._servers.unsqueeze(1)), 1)

    def _masks(self) -> Info:
        waiting = self._work[0] > 0
        mask = torch.zeros(*waiting.shape, MAX_EDGES + 1, dtype=torch.bool, device=self.device)
        mask[..., 0] = True
        mask[..., 1 : self.variant.edges + 1] = waiting.unsqueeze(-1)
        return {"action_mask": mask, "agent_mask": torch.ones_like(waiting)}

    def _observe(self) -> Tensor:
        v, e = self.variant, self.variant.edges
        size, work = self._scenario[self._slot, :2].unbind(0)
        # Written feature by feature, so features come first in memory; agents get them last and contiguous.
        obs = torch.zeros(OBS_SIZE, *size.shape, device=self.device).permute(1, 2, 0)
        view = View(obs)
        left = self._by_server(self._work)
        alive = self._work > 0
        view.task[..., 0] = alive[0]
        view.task[..., 1] = size / MAX_SIZE
        view.task[..., 2] = work / size.clamp(min=MIN_SIZE) / MAX_DENSITY
        view.local[..., 0] = torch.log1p(left[0] / (LOCAL_SPEED * SLOT))
        view.radio[..., 0] = torch.log1p(_total(self._bits[1:], 0) / (v.uplink * SLOT))
        view.pending[..., :e] = torch.log1p(left[1:] / self._edge_work).permute(1, 2, 0)
        view.channel[..., :e] = self._scenario[self._slot, 2:].permute(1, 2, 0)
        view.exists[..., :e] = 1.0
        view.speed[..., :e] = self._edge_work.flatten() / (SLOT * TOP_SPEED)
        view.backlog[..., :e] = torch.log1p(self._edge_backlog / self._edge_work.squeeze(-1)).T.unsqueeze(1)
        view.users[..., :e] = (self._edge_users / v.agents).T.unsqueeze(1)
        view.users[..., MAX_EDGES : MAX_EDGES + e] = torch.log1p(self._edge_users).T.unsqueeze(1)
        view.alive[..., 0] = alive.sum(0) / v.deadline
        view.alive[..., 1] = (alive * (self._ages - 1.0)).amax(0) / v.deadline
        view.outcome[..., 0] = self._finished > 0
        view.outcome[..., 1] = self._dropped
        view.outcome[..., 2] = self._last_delay / v.deadline
        view.server[..., : e + 1] = (self._action == self._servers).permute(1, 2, 0)
        view.clock[..., 0] = self._clock
        view.index[..., 0] = self._index
        return obs.contiguous()


def _draw_scenario(variant: OffloadVariant, seed: int) -> np.ndarray:
    """Task size (Mbit, 0 = no task), task work (Gcycle) and efficiency to each edge of one episode, [T + 1, 2 + E, N] float32.

    Row t is what is there at the start of slot t; efficiency is log2(1 + SNR), as a multiple of that at SNR_REFERENCE.
    """
    rng = scenario_generator(variant.name, seed)
    arrive, size, density = rng.random((3, variant.horizon + 1, variant.agents), dtype=np.float32)
    size = np.where(arrive < variant.arrival, MIN_SIZE + (MAX_SIZE - MIN_SIZE) * size, 0.0)
    work = size * (MIN_DENSITY + (MAX_DENSITY - MIN_DENSITY) * density)
    noise = rng.standard_normal((variant.horizon + 1, variant.edges, variant.agents), dtype=np.float32)
    noise[1:] *= math.sqrt(1.0 - SHADOWING_MEMORY**2)  # the first row starts the process in its stationary distribution
    shadowing = SHADOWING * autoregression(noise.astype(np.float64), SHADOWING_MEMORY)
    snr = rng.uniform(*SNR_MEAN, size=(variant.edges, variant.agents)) + shadowing  # dB
    efficiency = np.log2(1.0 + 10.0 ** (snr / 10.0)) / math.log2(1.0 + 10.0 ** (SNR_REFERENCE / 10.0))
    return np.concatenate([np.stack([size, work], axis=1), efficiency], axis=1, dtype=np.float32, casting="same_kind")
