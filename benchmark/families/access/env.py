"""`access`: slotted random access on several channels beside hopping incumbents (discrete action).

N users share C channels with incumbents. In each slot a user idles or sends its head-of-line packet on one channel; the
packet gets through if and only if nobody else, user or incumbent, used that channel. Then new packets arrive:
`Q' = Q - success + arrival`, with finite buffers. A delivered packet is worth 1 if sent at once, falling linearly with its
delay to `1 - DELAY_COST` at `DEADLINE` slots. A transmission that hits an active protected incumbent costs `CHARGE`, shared by
its senders; no user hears that, and no observation shows it. The reward of user n is its worth less its charges, divided by C:
the team reward (the sum) is a delay-weighted goodput per channel, less the harm done.

Incumbents follow a schedule over a superframe of L slots that is the site's. Every user knows the superframe's clock, its own
queue and outcome, and hears one channel a slot: that of its packet, or its home channel when silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...family import ActionComponent, Info, check_action, forked, require
from ...physics.queues import PacketQueue
from ...physics.traffic import bernoulli_arrivals, on_off_arrivals
from ...site import scenario_generator
from .layout import CLOCK_BITS, FRAMES, MAX_CHANNELS, MAX_SUPERFRAME, NEAR_SLOTS, OBS_SIZE, View
from .site import draw_site
from .variant import BURST_DUTY, BURST_MEAN_ON, AccessVariant

DEADLINE = 32  # slots after which a packet has lost DELAY_COST of its worth
DELAY_COST = 0.8
CHARGE = 1.0  # a hit of an active protected incumbent
INITIAL_MAX = 2  # packets that a user has at the start, at most
INITIAL_SHARE = 0.1  # packets that are there at the start, at most, as a share of those that arrive

EPISODIC = "_acked _arrivals _busy _delays _dropped _energy _feedback _heard _last_success _protected _sent".split()


class AccessEnv:
    """B episodes of one `access` variant, stepped together (see `benchmark.family.Env`).

    Attributes:
        variant: what is being played.
        sites: the site of each episode.
    """

    def __init__(self, variant: AccessVariant, device: torch.device | str = "cpu") -> None:
        self.variant = variant
        self.device = torch.device(device)
        self.sites: tuple[int, ...] = ()
        n, c = variant.agents, variant.channels
        self._choices = (ActionComponent("channel", "categorical", c + 1),)
        index = torch.arange(n, device=self.device)
        self._home = index % c
        self._channel_ids = torch.arange(1, c + 1, device=self.device)
        self._static = self._static_features(index)
        self._clock = _clock_features(variant).to(self.device)
        self._turn = _turn_features(variant).to(self.device)

    def reset(self, sites: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Draw the scenarios of these (site, seed) and start their episodes; returns obs [B, N, O] and info."""
        require(len(seeds) > 0, "seeds", list(seeds), "at least one integer")
        require(len(sites) == len(seeds), "sites", len(sites), f"as many as seeds, {len(seeds)}")
        v, batch = self.variant, len(seeds)
        scenarios = [_draw_scenario(v, site, seed) for site, seed in zip(sites, seeds, strict=True)]
        initial, self._arrivals, self._busy, self._protected = (
            torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*scenarios, strict=True)
        )
        self.sites = tuple(int(site) for site in sites)
        self._queue = PacketQueue((batch, v.agents), v.buffer, self.device)
        for packets in initial.unbind(-1):
            self._queue.push(packets, -1)
        self._slot = 0
        self._sent = torch.zeros(batch, v.agents, dtype=torch.int64, device=self.device)
        self._heard = torch.full_like(self._sent, -1)
        self._acked = torch.zeros(batch, v.agents, dtype=torch.bool, device=self.device)
        self._last_success = torch.full((batch, v.agents), -1, dtype=torch.int64, device=self.device)
        self._feedback = torch.zeros(batch, v.agents, dtype=torch.int64, device=self.device)  # senders heard: 0, 1, 2 = more
        self._delays = torch.zeros(batch, v.horizon + 1, device=self.device)  # histogram of delays of delivered packets
        self._dropped = torch.zeros(batch, device=self.device)
        self._energy = torch.zeros(batch, device=self.device)
        return self._observe(), self._masks()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot.

        Args:
            action: [B, N] integers, 0 = idle, c = send on channel c. Sending with an empty queue is idling.

        Returns:
            obs [B, N, O], reward [B, N], terminated [B], truncated [B], info with the slot's quality of service.
        """
        v, t = self.variant, self._slot
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        batch = self._queue.length.shape[0]
        sent = check_action(action, self._choices, batch, v.agents) * (self._queue.length > 0)
        heard = torch.where(sent > 0, sent - 1, self._home)  # [B, N] from 0
        users = (sent.unsqueeze(1) == self._channel_ids[:, None]).sum(-1)  # [B, C] users that send there
        senders = (users + self._busy[:, t]).gather(1, heard)
        transmitted, success = sent > 0, (sent > 0) & (senders == 1)
        delay = torch.where(success, t - self._queue.head_stamp(), 0)
        charge = (self._protected[:, t] * CHARGE / users.clamp(min=1)).gather(1, heard) * transmitted
        reward = (worth(delay) * success - charge) / v.channels
        self._queue.pop(success)
        dropped = self._queue.push(self._arrivals[:, t], t)

        self._sent, self._acked, self._heard, self._slot = sent, success, heard, t + 1
        self._feedback = senders.clamp(max=2)
        self._last_success = torch.where(success, t, self._last_success)
        delivered, energy = success.float(), transmitted.float()
        self._delays.scatter_add_(1, delay, delivered)
        self._dropped += dropped.sum(1)
        self._energy += energy.sum(1)

        info = self._masks()
        info |= {"delivered": delivered, "delay": delay.float(), "dropped": dropped.float(), "energy": energy}
        terminated = torch.zeros(batch, dtype=torch.bool, device=self.device)
        truncated = torch.full_like(terminated, self._slot == v.horizon)
        return self._observe(), reward, terminated, truncated, info

    def fork(self, episodes: Tensor) -> AccessEnv:
        """A copy that goes on with these episodes; see `benchmark.family.Forkable`."""
        copied = forked(self, episodes, dict.fromkeys(EPISODIC, 0))
        copied._queue = self._queue.fork(episodes)
        copied.sites = tuple(self.sites[k] for k in episodes.tolist())
        return copied

    def qos(self) -> dict[str, Tensor]:
        """Per episode [B]: goodput (packets a slot and channel), delay mean and p95 (slots), drops, energy (sends)."""
        count = self._delays.sum(1)
        slots = torch.arange(self._delays.shape[1], device=self.device)
        share = self._delays.cumsum(1) / count.clamp(min=1)[:, None]
        return {
            "goodput": count / (max(self._slot, 1) * self.variant.channels),
            "delay_mean": (self._delays * slots).sum(1) / count.clamp(min=1),
            "delay_p95": (share < 0.95).sum(1).clamp(max=slots[-1]).float() * (count > 0),
            "drops": self._dropped.clone(),
            "energy": self._energy.clone(),
        }

    def queues(self) -> tuple[Tensor, Tensor]:
        """Hidden state for the genie: queue lengths and head-of-line ages, each [B, N]."""
        return self._queue.length, self._slot - self._queue.head_stamp()

    def coins(self) -> tuple[Tensor, Tensor]:
        """For the hindsight bound alone: where incumbents send and where protected ones are active, each [B, T, C] of 0 and 1."""
        return self._busy.float(), self._protected.float()

    def _masks(self) -> Info:
        backlog = self._queue.length > 0
        mask = torch.zeros(*backlog.shape, MAX_CHANNELS + 1, dtype=torch.bool, device=self.device)
        mask[..., 0] = True
        mask[..., 1 : self.variant.channels + 1] = backlog.unsqueeze(-1)
        return {"action_mask": mask, "agent_mask": torch.ones_like(backlog)}

    def _static_features(self, index: Tensor) -> Tensor:
        """Features that never change: relative index and one-hot home channel, [N, 1 + MAX_CHANNELS]."""
        home = one_hot(self._home, MAX_CHANNELS).float()
        return torch.cat([(index / max(self.variant.agents, 1)).unsqueeze(-1), home], dim=-1)

    def _observe(self) -> Tensor:
        v, t, length = self.variant, self._slot, self._queue.length
        obs = torch.zeros(*length.shape, OBS_SIZE, device=self.device)
        view = View(obs)
        backlog = length > 0
        age = torch.where(backlog, t - self._queue.head_stamp(), 0) / v.frame
        view.queue[:] = torch.stack([backlog.float(), length / v.buffer, torch.log1p(length) / math.log1p(v.buffer)], dim=-1)
        view.age[:] = torch.stack([age.clamp(max=FRAMES) / FRAMES, torch.log1p(age)], dim=-1)
        view.outcome[:] = one_hot(torch.where(self._sent > 0, torch.where(self._acked, 1, 2), 0), 3)
        view.sent[:] = one_hot(self._sent, MAX_CHANNELS + 1)[..., 1:]
        view.heard[:] = one_hot(self._heard + 1, MAX_CHANNELS + 1)[..., 1:]
        view.feedback[:] = one_hot(self._feedback, 3)[..., 1:]
        view.silence[:] = torch.log1p((t - 1 - self._last_success) / v.frame).unsqueeze(-1)
        view.static[:] = self._static
        view.turn[:] = self._turn[t]
        view.clock[:] = self._clock[t]
        return obs


def worth(delay: Tensor) -> Tensor:
    """Worth of a packet that is delivered after so many slots, 1 or more."""
    return 1.0 - DELAY_COST * (delay - 1).clamp(min=0, max=DEADLINE) / DEADLINE


def initial_mean(variant: AccessVariant) -> float:
    """Mean packets that a user has at the start: INITIAL_SHARE of those that arrive, but at most INITIAL_MAX."""
    return min(float(INITIAL_MAX), INITIAL_SHARE * variant.rate * variant.horizon)


def _turn_features(variant: AccessVariant) -> Tensor:
    """Own turn, the wait for it and its phase in the frame of ceil(N / C) slots, [T + 1, N, 4]."""
    turn = torch.arange(variant.agents) // variant.channels  # slot of the frame in which it is this user's turn
    wait = (turn - torch.arange(variant.horizon + 1)[:, None]) % variant.frame
    phase = wait * (2.0 * math.pi / variant.frame)
    return torch.stack([(wait == 0).float(), wait.clamp(max=NEAR_SLOTS) / NEAR_SLOTS, phase.sin(), phase.cos()], dim=-1)


def _clock_features(variant: AccessVariant) -> Tensor:
    """The slot of the superframe in three notations, [T + 1, 3 + CLOCK_BITS]."""
    slot = torch.arange(variant.horizon + 1) % variant.superframe
    phase = slot * (2.0 * math.pi / variant.superframe)
    digits = (slot[:, None] >> torch.arange(CLOCK_BITS)) & 1
    return torch.cat([torch.stack([slot / MAX_SUPERFRAME, phase.sin(), phase.cos()], dim=-1), digits], dim=-1).float()


def _draw_scenario(variant: AccessVariant, site: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One episode: initial packets [N, INITIAL_MAX], arrivals [T, N], busy and protected cells [T, C]; all bool."""
    rng = scenario_generator(variant.name, site, seed)
    hidden = draw_site(variant, int(site))
    users, cells = (variant.horizon, variant.agents), (variant.horizon, variant.channels)
    initial = rng.random((variant.agents, INITIAL_MAX)) < initial_mean(variant) / INITIAL_MAX
    arrive = rng.random(users, dtype=np.float32)
    if variant.traffic == "bursty":
        switch = rng.random(users, dtype=np.float32)
        arrivals = on_off_arrivals(switch, arrive, variant.rate, BURST_DUTY, BURST_MEAN_ON)
    else:
        arrivals = bernoulli_arrivals(arrive, variant.rate)
    clock = np.arange(variant.horizon) % variant.superframe
    busy = rng.random(cells, dtype=np.float32) < hidden.busy[clock]
    protected = rng.random(cells, dtype=np.float32) < hidden.protected[clock]
    return initial, arrivals, busy, protected
