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

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info
from ...physics.queues import PacketQueue
from ...physics.traffic import bernoulli_arrivals, on_off_arrivals
from ...processes import plain_types
from ...site import scenario_generator
from ..slots import SlotEnv
from .features import lookup_tables, past_code
from .site import draw_site
from .variant import BURST_DUTY, BURST_MEAN_ON, AccessVariant

DEADLINE = 32  # slots after which a packet has lost DELAY_COST of its worth
DELAY_COST = 0.8
CHARGE = 2.0  # a hit of an active protected incumbent
INITIAL_MAX = 2  # packets that a user has at the start, at most
INITIAL_SHARE = 0.1  # packets that are there at the start, at most, as a share of those that arrive


class AccessEnv(SlotEnv):
    """B episodes of one `access` variant. An action is 0 = idle, c = send on channel c; with an empty queue it is idling.

    Attributes:
        sites: the site of each episode.
    """

    variant: AccessVariant
    episodic = dict.fromkeys("_arrivals _busy _delays _dropped _energy _last_success _past _protected".split(), 0)  # and queues

    @plain_types()
    def __init__(self, variant: AccessVariant, device: torch.device | str = "cpu") -> None:
        super().__init__(variant, device)
        self.sites: tuple[int, ...] = ()
        n, c = variant.agents, variant.channels
        self.choices = (ActionComponent("channel", "categorical", c + 1),)
        index = torch.arange(n, device=self.device)
        self._home = index % c
        self._channel_ids = torch.arange(1, c + 1, device=self.device)
        self._lookup = lookup_tables(variant, self.device)

    def _begin(self, sites: Sequence[int], seeds: Sequence[int]) -> None:
        v, batch = self.variant, len(seeds)
        scenarios = [_draw_scenario(v, site, seed) for site, seed in zip(sites, seeds, strict=True)]
        initial, self._arrivals, self._busy, self._protected = (
            torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*scenarios, strict=True)
        )
        self.sites = tuple(int(site) for site in sites)
        self._queue = PacketQueue((batch, v.agents), v.buffer, self.device)
        for packets in initial.unbind(-1):
            self._queue.push(packets, -1)
        self._past = torch.zeros(batch, v.agents, dtype=torch.int64, device=self.device)  # code of the last slot's outcome
        self._last_success = torch.full((batch, v.agents), -1, dtype=torch.int64, device=self.device)
        self._delays = torch.zeros(batch, v.horizon + 1, device=self.device)  # histogram of delays of delivered packets
        self._dropped = torch.zeros(batch, device=self.device)
        self._energy = torch.zeros(batch, device=self.device)

    def _play(self, action: Tensor) -> tuple[Tensor, Info]:
        v, t = self.variant, self._slot
        sent = action * (self._queue.length > 0)
        heard = torch.where(sent > 0, sent - 1, self._home)  # [B, N] from 0
        users = (sent.unsqueeze(1) == self._channel_ids[:, None]).sum(-1)  # [B, C] users that send there
        senders = (users + self._busy[:, t]).gather(1, heard)
        transmitted, success = sent > 0, (sent > 0) & (senders == 1)
        delay = torch.where(success, t - self._queue.head_stamp(), 0)
        charge = (self._protected[:, t] * CHARGE * self.charged / users.clamp(min=1)).gather(1, heard) * transmitted
        reward = (worth(delay) * success - charge) / v.channels
        self._queue.pop(success)
        dropped = self._queue.push(self._arrivals[:, t], t)

        self._past, self._slot = past_code(sent, heard, senders), t + 1
        self._last_success = torch.where(success, t, self._last_success)
        delivered, energy = success.float(), transmitted.float()
        self._delays.scatter_add_(1, delay, delivered)
        self._dropped += dropped.sum(1)
        self._energy += energy.sum(1)
        return reward, {"delivered": delivered, "delay": delay.float(), "dropped": dropped.float(), "energy": energy}

    def clone_episodes(self, episodes: Tensor) -> Self:
        """See `SlotEnv`."""
        copied = super().clone_episodes(episodes)
        copied._queue = self._queue.clone_episodes(episodes)
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
        """For the hindsight bound alone: the coins of incumbents and of protected ones, each [B, T, C] of 0 and 1."""
        return self._busy.float(), self._protected.float()

    def _observe(self) -> tuple[Tensor, Info]:
        """By looking up: the same bits wherever in a batch a number stands."""
        t, length, find = self._slot, self._queue.length, self._lookup
        age = torch.where(length > 0, t - self._queue.head_stamp(), 0)
        parts = (
            find.queue[length],
            find.age[age],
            find.past[self._past],
            find.silence[t - 1 - self._last_success],
            find.constant[t].expand(len(length), -1, -1),
        )
        backlog = length > 0
        masks = {"action_mask": find.allowed[backlog.long()], "agent_mask": torch.ones_like(backlog)}
        return torch.cat(parts, dim=-1), masks


def worth(delay: Tensor) -> Tensor:
    """Worth of a packet that is delivered after so many slots, 1 or more."""
    return 1.0 - DELAY_COST * (delay - 1).clamp(min=0, max=DEADLINE) / DEADLINE


def initial_mean(variant: AccessVariant) -> float:
    """Mean packets that a user has at the start: INITIAL_SHARE of those that arrive, but at most INITIAL_MAX."""
    return min(float(INITIAL_MAX), INITIAL_SHARE * variant.rate * variant.horizon)


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
