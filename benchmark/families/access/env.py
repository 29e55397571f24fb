"""`access`: multichannel slotted random access with queues (discrete action).

N users share C channels. In each slot a user idles or sends its head-of-line packet on one channel; the packet gets
through if and only if nobody else used that channel. Then new packets arrive: `Q' = Q - success + arrival`, with finite
buffers. A delivered packet is worth 1 if sent at once, falling linearly with its delay to `1 - DELAY_COST` at `DEADLINE`
slots; the reward of user n is that worth divided by C, so the team reward (the sum) is a delay-weighted goodput per channel.

What can be planned: a queue left waiting costs more later, a collision costs everybody, and only turn-taking serves loads
above 1/e. Every user sees its own queue and outcome, the common feedback of each channel {idle, success, collision}, and
features of its turn in a frame, without which no decentralised policy could take turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...family import ActionComponent, Info, check_action, clone_rows, require
from ...physics.queues import PacketQueue
from ...physics.traffic import bernoulli_arrivals, on_off_arrivals
from ...randomness import scenario_generator
from .layout import FEEDBACK_SLOTS, FRAMES, MAX_CHANNELS, NEAR_SLOTS, OBS_SIZE, View
from .variant import BURST_DUTY, BURST_MEAN_ON, AccessVariant

DEADLINE = 32  # slots after which a packet has lost DELAY_COST of its worth
DELAY_COST = 0.8
INITIAL_MAX = 4  # each user starts with 0 to this many packets: contention to resolve from the first slot
LEGACY_PERIOD, LEGACY_PROBABILITY = 5, 0.2  # legacy neighbours: one TDMA node (1 slot in 5), one ALOHA node


EPISODIC = "_acked _arrivals _delays _dropped _energy _feedback _last_success _legacy _sent".split()  # and the queues


class AccessEnv:
    """B episodes of one `access` variant, stepped together (see `benchmark.family.Env`)."""

    def __init__(self, variant: AccessVariant, device: torch.device | str = "cpu") -> None:
        self.variant = variant
        self.device = torch.device(device)
        n, c, frame = variant.agents, variant.channels, variant.frame
        self._choices = (ActionComponent("channel", "categorical", c + 1),)
        index = torch.arange(n, device=self.device)
        self._turn = torch.div(index, c, rounding_mode="floor")  # slot of the frame in which it is this user's turn
        self._channel_ids = torch.arange(1, c + 1, device=self.device)
        slots = torch.arange(variant.horizon + 1, device=self.device)
        self._wait = (self._turn - slots[:, None]) % frame  # [T + 1, N] slots until the own turn
        self._static = self._static_features(index)

    def reset(self, seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Draw the scenarios of these seeds and start their episodes; returns obs [B, N, O] and info."""
        require(len(seeds) > 0, "seeds", list(seeds), "at least one integer")
        v, batch = self.variant, len(seeds)
        initial, arrivals, legacy = zip(*(_draw_scenario(v, seed) for seed in seeds), strict=True)
        self._arrivals = torch.from_numpy(np.stack(arrivals)).to(self.device)  # [B, T, N] bool
        self._legacy = torch.from_numpy(np.stack(legacy)).to(self.device)  # [B, T, C] senders
        self._queue = PacketQueue((batch, v.agents), v.buffer, self.device)
        for packets in torch.from_numpy(np.stack(initial)).to(self.device).unbind(-1):
            self._queue.push(packets, -1)
        self._slot = 0
        self._sent = torch.zeros(batch, v.agents, dtype=torch.int64, device=self.device)
        self._acked = torch.zeros(batch, v.agents, dtype=torch.bool, device=self.device)
        self._last_success = torch.full((batch, v.agents), -1, dtype=torch.int64, device=self.device)
        self._feedback = torch.zeros(batch, FEEDBACK_SLOTS, MAX_CHANNELS, 2, device=self.device)
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
        on_channel = sent.unsqueeze(-1) == self._channel_ids  # [B, N, C]
        senders = on_channel.sum(1) + self._legacy[:, t]  # [B, C]
        success = (on_channel & (senders == 1).unsqueeze(1)).any(-1)
        delay = torch.where(success, t - self._queue.head_stamp(), 0)
        worth = 1.0 - DELAY_COST * (delay - 1).clamp(max=DEADLINE) / DEADLINE
        reward = torch.where(success, worth / v.channels, 0.0)
        self._queue.pop(success)
        dropped = self._queue.push(self._arrivals[:, t], t)

        self._sent, self._acked, self._slot = sent, success, t + 1
        self._last_success = torch.where(success, t, self._last_success)
        self._feedback = self._feedback.roll(1, dims=1)
        self._feedback[:, 0, : v.channels, 0] = (senders == 1).float()
        self._feedback[:, 0, : v.channels, 1] = (senders > 1).float()
        transmitted = (sent > 0).float()
        delivered = success.float()
        self._delays.scatter_add_(1, delay, delivered)
        self._dropped += dropped.sum(1)
        self._energy += transmitted.sum(1)

        info = self._masks()
        info |= {"delivered": delivered, "delay": delay.float(), "dropped": dropped.float(), "energy": transmitted}
        terminated = torch.zeros(batch, dtype=torch.bool, device=self.device)
        truncated = torch.full_like(terminated, self._slot == v.horizon)
        return self._observe(), reward, terminated, truncated, info

    def clone_episodes(self, episodes: Tensor) -> AccessEnv:
        """A copy that goes on with these episodes; see `benchmark.family.Cloneable`."""
        copied = clone_rows(self, episodes, dict.fromkeys(EPISODIC, 0))
        copied._queue = self._queue.clone_episodes(episodes)
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

    def oldest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state for the genie: queue lengths [B, N], head-of-line ages [B, N], channels that legacy nodes use [B, C]."""
        t = min(self._slot, self.variant.horizon - 1)
        return self._queue.length, self._slot - self._queue.head_stamp(), self._legacy[:, t] > 0

    def _masks(self) -> Info:
        backlog = self._queue.length > 0
        mask = torch.zeros(*backlog.shape, MAX_CHANNELS + 1, dtype=torch.bool, device=self.device)
        mask[..., 0] = True
        mask[..., 1 : self.variant.channels + 1] = backlog.unsqueeze(-1)
        return {"action_mask": mask, "agent_mask": torch.ones_like(backlog)}

    def _static_features(self, index: Tensor) -> Tensor:
        """Features that never change: relative index and one-hot home channel, [N, 1 + MAX_CHANNELS]."""
        home = one_hot(index % self.variant.channels, MAX_CHANNELS).float()
        return torch.cat([(index / max(self.variant.agents, 1)).unsqueeze(-1), home], dim=-1)

    def _observe(self) -> Tensor:
        v, t, length = self.variant, self._slot, self._queue.length
        obs = torch.zeros(*length.shape, OBS_SIZE, device=self.device)
        view = View(obs)
        backlog = length > 0
        age = torch.where(backlog, t - self._queue.head_stamp(), 0)
        silent = t - 1 - self._last_success
        wait = self._wait[t]
        phase = wait * (2.0 * math.pi / v.frame)
        turn = torch.stack([(wait == 0).float(), wait.clamp(max=NEAR_SLOTS) / NEAR_SLOTS, phase.sin(), phase.cos()], dim=-1)
        log_buffer = math.log1p(v.buffer)
        view.queue[:] = torch.stack([backlog.float(), length / v.buffer, torch.log1p(length) / log_buffer], dim=-1)
        view.age[:] = torch.stack([(age / v.frame).clamp(max=FRAMES) / FRAMES, torch.log1p(age / v.frame)], dim=-1)
        outcome = torch.where(self._sent > 0, torch.where(self._acked, 1, 2), 0)
        view.outcome[:] = one_hot(outcome, 3)
        view.sent[:] = one_hot(self._sent, MAX_CHANNELS + 1)[..., 1:]
        view.feedback[:] = self._feedback.flatten(1).unsqueeze(1)
        view.silence[:] = torch.log1p(silent / v.frame).unsqueeze(-1)
        view.static[:] = self._static
        view.turn[:] = turn
        return obs


def _draw_scenario(variant: AccessVariant, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Initial packets [N, INITIAL_MAX] bool, arrivals [T, N] bool and legacy senders a channel [T, C] of one episode."""
    rng = scenario_generator(variant.name, seed)
    initial = np.arange(INITIAL_MAX) < rng.integers(INITIAL_MAX + 1, size=(variant.agents, 1))
    shape = (variant.horizon, variant.agents)
    arrive = rng.random(shape, dtype=np.float32)
    if variant.traffic == "bursty":
        switch = rng.random(shape, dtype=np.float32)
        arrivals = on_off_arrivals(switch, arrive, variant.rate, BURST_DUTY, BURST_MEAN_ON)
    else:
        arrivals = bernoulli_arrivals(arrive, variant.rate)
    legacy = np.zeros((variant.horizon, variant.channels), dtype=np.int64)
    if variant.legacy:
        slots = np.arange(variant.horizon)
        phase, tdma_channel, aloha_channel = rng.integers([LEGACY_PERIOD, variant.channels, variant.channels])
        legacy[slots % LEGACY_PERIOD == phase, tdma_channel] += 1
        legacy[rng.random(variant.horizon) < LEGACY_PROBABILITY, aloha_channel] += 1
    return initial, arrivals, legacy
