"""`power`: distributed power control with queues in a cellular downlink (continuous action).

N links share one band; cell c's base station serves the links n with n mod C = c, C = ceil(N / 2), so that most cells have two
links that drown each other if they send at once. `SINR_n = g_nn p_n / (sum_m g_nm p_m + s2)`, capped at 30 dB; a link's queue
serves `W T log2(1 + SINR)` bits a slot and takes in Poisson packets: `Q' = Q - served + arrivals`, with a finite buffer.

The mean arrivals of link n are `load` times its rate if it had its cell to itself and all base stations sent at full power.
With two links a cell, taking turns serves loads up to .5; beyond that, cells have to make room for each other. The reward of
link n is `(served / A - DELAY_COST Q / (A BUFFER)) / N` with its mean arrivals A: goodput less delay cost, so that the team
reward is the mean over the links.

What can be planned: backlogs that wait cost more later, fading comes and goes, and a link's power is everybody's interference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info, check_action, clone_rows, require
from ...physics.channel import (
    from_db,
    hexagon_sites,
    macro_path_loss,
    rayleigh_gains,
    users_in_hexagons,
)
from ...physics.interference import SINR_CAP, rate
from ...physics.queues import fifo_delays
from ...randomness import scenario_generator
from .layout import DB_SCALE, NEIGHBOURS, OBS_SIZE, View
from .variant import LINKS_PER_CELL, SLOT, UMI, PowerVariant

BANDWIDTH = 1e6  # Hz
BITS = SLOT * BANDWIDTH  # bits a slot at 1 bit/s/Hz
P_MAX = float(from_db(38.0 - 30.0))  # W, 38 dBm
NOISE = float(from_db(-114.0 - 30.0))  # W, in the whole band
SHADOWING = 10.0  # dB, macro cells
MIN_DISTANCE = 35.0  # m
BUFFER = 32.0  # slots of mean arrivals
DELAY_COST = 0.5
PACKET = 4000.0  # bits
INITIAL_MAX = 4.0  # each queue starts with 0 to this many slots of mean arrivals
LEAST_NEED = 0.02  # bit/s/Hz: links that hardly hear their own base station ask for this much


EPISODIC = (  # what a `PowerEnv` holds of each episode
    *("arrival", "backlog", "_accepted", "_arrivals", "_departed", "_dropped", "_energy", "_gains", "_interferers"),
    *("_leak_index", "_need", "_noise", "_power", "_served", "_sinr", "_victims"),
)


class PowerEnv:
    """B episodes of one `power` variant, stepped together (see `benchmark.family.Env`)."""

    def __init__(self, variant: PowerVariant, device: torch.device | str = "cpu") -> None:
        self.variant = variant
        self.device = torch.device(device)
        self._choices = (ActionComponent("power", "ordinal", LEVELS),)
        index = torch.arange(variant.agents, device=self.device)
        self.cell = index % variant.cells  # [N] which base station serves a link
        users = torch.bincount(self.cell, minlength=variant.cells)[self.cell]
        self._period, self._turn = users, torch.div(index, variant.cells, rounding_mode="floor")
        self._static = torch.stack([users - 1.0, index / variant.agents], dim=-1)

    def reset(self, seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Draw the scenarios of these seeds and start their episodes; returns obs [B, N, O] and info."""
        require(len(seeds) > 0, "seeds", list(seeds), "at least one integer")
        drawn = [_draw_scenario(self.variant, seed) for seed in seeds]
        self._gains, mean, need, initial, self._arrivals = (
            torch.from_numpy(np.stack(column)).to(self.device) for column in zip(*drawn, strict=True)
        )
        batch, (n, horizon) = len(seeds), (self.variant.agents, self.variant.horizon)
        self.arrival = need * BITS  # [B, N] mean bits a slot
        self._need = torch.log2(1.0 + need)
        self._neighbours(mean)
        self.backlog = initial * self.arrival  # [B, N] bits
        self._slot = 0
        self._power = torch.zeros(batch, n, device=self.device)
        self._served, self._dropped, self._energy = (torch.zeros_like(self._power) for _ in range(3))
        self._sinr = torch.zeros_like(self._power)
        self._noise = torch.ones(batch, n, 2, device=self.device)  # over NOISE: last slot, the one before
        self._accepted = torch.full((batch, n, horizon + 2), torch.inf, dtype=torch.float64, device=self.device)
        self._departed = torch.zeros_like(self._accepted)
        self._accepted[..., 0] = 0.0
        self._accepted[..., 1] = self.backlog  # the initial backlog counts as arrived just before slot 0
        return self._observe(self.channel(0), self.backlog), self._masks()

    def clone_episodes(self, episodes: Tensor) -> PowerEnv:
        """A copy that goes on with these episodes; see `benchmark.family.Cloneable`."""
        return clone_rows(self, episodes, dict.fromkeys(EPISODIC, 0))

    def channel(self, slot: int) -> Tensor:
        """Gains over noise at full power in a slot, [B, N, C]: receiver of link n, base station c."""
        return self._gains[:, min(slot, self._gains.shape[1] - 1)]

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot.

        Args:
            action: [B, N] floats in [0, 1], the share of the greatest power; a link with an empty queue stays silent.

        Returns:
            obs [B, N, O], reward [B, N], terminated [B], truncated [B], info with the slot's quality of service.
        """
        v, t = self.variant, self._slot
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        batch, before = len(self.backlog), self.backlog
        power = check_action(action, self._choices, batch, v.agents) * (before > 0)
        gains = self.channel(t)
        received = (gains * self.cell_powers(power).unsqueeze(1)).sum(-1)
        signal = self._direct(gains) * power
        noise = (received - signal).clamp(min=0.0) + 1.0
        self._sinr = (signal / noise).clamp(max=SINR_CAP)
        served = torch.minimum(before, rate(self._sinr) * BITS)
        left = before - served
        arrived = self._arrivals[:, t]
        dropped = (left + arrived - BUFFER * self.arrival).clamp(min=0.0)
        self.backlog = left + arrived - dropped
        reward = (served - (DELAY_COST / BUFFER) * before) / (self.arrival * v.agents)

        self._power, self._served, self._slot = power, served, t + 1
        self._noise = torch.stack([noise, self._noise[..., 0]], dim=-1)
        self._energy += power
        self._dropped += dropped
        self._departed[..., t + 1] = self._departed[..., t] + served
        self._accepted[..., t + 2] = self._accepted[..., t + 1] + (arrived - dropped)
        energy = power * (P_MAX * SLOT)
        delay = torch.where(served > 0, before / self.arrival, 0.0)
        info = self._masks() | {"delivered": served / 1e6, "delay": delay, "dropped": dropped / 1e6, "energy": energy}
        terminated = torch.zeros(batch, dtype=torch.bool, device=self.device)
        truncated = torch.full_like(terminated, self._slot == v.horizon)
        return self._observe(gains, before), reward, terminated, truncated, info

    def qos(self) -> dict[str, Tensor]:
        """Per episode [B]: goodput (Mbit/s a link), delay mean and p95 (slots), drops (Mbit), energy (J)."""
        t, n = self._slot, self.variant.agents
        bits, delay = fifo_delays(self._accepted[..., 1 : t + 1], self._departed[..., 1 : t + 1])
        bits, delay = bits.flatten(1), delay.flatten(1)
        total = bits.sum(1).clamp(min=1.0)
        share = torch.zeros(len(bits), t + 2, dtype=torch.float64, device=self.device).scatter_add_(1, delay, bits)
        return {
            "goodput": (self._departed[..., t].sum(1) / (max(t, 1) * SLOT * n * 1e6)).float(),
            "delay_mean": ((bits * delay).sum(1) / total).float(),
            "delay_p95": (share.cumsum(1) < 0.95 * total[:, None]).sum(1).clamp(max=t).float() * (bits.sum(1) > 0),
            "drops": self._dropped.sum(1) / 1e6,
            "energy": self._energy.sum(1) * (P_MAX * SLOT),
        }

    def link_gains(self, slot: int) -> Tensor:
        """Gains over noise at full power from transmitter m to receiver n, [B, N, N]; hidden state for the genie."""
        return self.channel(slot)[..., self.cell]

    def cell_powers(self, power: Tensor) -> Tensor:
        """Power of every base station [B, C] from those of the links [B, N]."""
        padded = torch.nn.functional.pad(power, (0, LINKS_PER_CELL * self.variant.cells - power.shape[1]))
        return padded.unflatten(1, (LINKS_PER_CELL, self.variant.cells)).sum(1)

    def _direct(self, gains: Tensor) -> Tensor:
        return gains.gather(-1, self.cell.expand(len(gains), -1).unsqueeze(-1)).squeeze(-1)

    def _neighbours(self, mean: Tensor) -> None:
        """Who counts: the cell's own links first, then the strongest by mean gain, [B, N, NEIGHBOURS] each."""
        links = mean[..., self.cell] + (self.cell[:, None] == self.cell) * torch.finfo(torch.float32).max / 2
        links.diagonal(dim1=1, dim2=2).fill_(-1.0)
        count = min(NEIGHBOURS, links.shape[1] - 1)
        self._interferers = links.topk(count, dim=2).indices
        self._victims = links.transpose(1, 2).topk(count, dim=2).indices
        self._leak_index = self._victims * self.variant.cells + self.cell[:, None]  # into flattened [N, C] gains

    def _masks(self) -> Info:
        allowed = torch.ones(*self.backlog.shape, 1, dtype=torch.bool, device=self.device)
        return {"action_mask": allowed, "agent_mask": allowed.squeeze(-1)}

    def _observe(self, gains: Tensor, before: Tensor) -> Tensor:
        """Observations; `gains` [B, N, C] and backlogs `before` [B, N] are those of the last slot, as the neighbours told."""
        t, batch = self._slot, len(self.backlog)
        obs = torch.zeros(*self.backlog.shape, OBS_SIZE, device=self.device)
        view = View(obs)
        slots = self.backlog / self.arrival
        known, turn = self._victims.shape[-1], self._turn
        direct = self._direct(gains)
        shown = torch.stack(
            [_level(direct), _level(self._noise[..., 0]), torch.log1p(before / self.arrival), self._need], dim=-1
        )
        known_of = shown.gather(1, self._victims.flatten(1).unsqueeze(-1).expand(-1, -1, 4)).unflatten(1, (-1, known))
        view.queue[:] = torch.stack([slots / BUFFER, torch.log1p(slots)], dim=-1)
        view.need[..., 0] = self._need
        view.snr[:] = torch.stack([_level(self._direct(self.channel(t))), shown[..., 0]], dim=-1)
        view.noise[:] = _level(self._noise)
        view.sinr[..., 0] = _level(self._sinr)
        view.sent[:] = torch.stack([self._power, (self._served / self.arrival).clamp(max=BUFFER) / 4.0], dim=-1)
        view.turn[..., 0] = self._static[:, 0]
        view.turn[..., 1] = (t % self._period == turn).float()
        view.turn[..., 2] = ((t + 1) % self._period == turn).float()
        loud = self._power.gather(1, self._interferers.flatten(1)).unflatten(1, (-1, known))
        heard = gains.gather(2, self.cell[self._interferers]) * loud
        view.interferers[..., :known] = _level(heard)
        leak = gains.flatten(1).gather(1, self._leak_index.flatten(1)).view(batch, -1, known)
        view.leak[..., :known] = _level(leak)
        view.victim_snr[..., :known] = known_of[..., 0]
        view.victim_noise[..., :known] = known_of[..., 1]
        view.victim_queue[..., :known] = known_of[..., 2]
        view.victim_need[..., :known] = known_of[..., 3]
        view.index[..., 0] = self._static[:, 1]
        return obs


def _level(ratio: Tensor) -> Tensor:
    """A power over the noise in units of DB_SCALE, not below -10 dB."""
    return torch.log10(ratio.clamp(min=0.1)) * (10.0 / DB_SCALE)


def layout(variant: PowerVariant, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites [C, 2] and users [N, 2] in m, and the cell of each link [N]."""
    sites = hexagon_sites(variant.cells, variant.spacing)
    cell = np.arange(variant.agents) % variant.cells
    return sites, cell, users_in_hexagons(sites[cell], variant.spacing, MIN_DISTANCE, rng)


def _draw_scenario(variant: PowerVariant, seed: int) -> tuple[np.ndarray, ...]:
    """One episode's world, float32.

    Returns:
        Gains over noise at full power [T, N, C] (one row where nobody moves), their mean [N, C], mean arrivals [N] in bit/s/Hz,
        initial backlog [N] in slots of mean arrivals, arrivals [T, N] in bits.
    """
    rng = scenario_generator(variant.name, seed)
    n, cells = variant.agents, variant.cells
    sites, cell, users = layout(variant, rng)
    distance = np.linalg.norm(users[:, None] - sites, axis=-1)
    sight, shadow = rng.random((n, cells)), rng.standard_normal((n, cells))
    if variant.propagation == "umi":
        large = UMI.gain(distance, sight, shadow)
    else:
        large = from_db(SHADOWING * shadow - macro_path_loss(distance))
    mean = large * (P_MAX / NOISE)
    own = mean[np.arange(n), cell]
    need = np.maximum(variant.load * _full_rate(mean, own), LEAST_NEED)
    slots = 1 if variant.speed == 0 else variant.horizon
    fading = rayleigh_gains(rng.standard_normal((slots, n, cells, 2), dtype=np.float32), variant.correlation)
    initial = rng.random(n, dtype=np.float32) * INITIAL_MAX
    arrivals = rng.poisson(need * (BITS / PACKET), size=(variant.horizon, n)) * PACKET
    single = np.float32
    return mean.astype(single) * fading, mean.astype(single), need.astype(single), initial, arrivals.astype(single)


def _full_rate(mean: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Rate (bit/s/Hz) of each link alone in its cell, all base stations at full power, at the mean channel.

    Rounded to .001, so that the last bits of a platform's logarithm cannot change an arrival.
    """
    ratio = np.minimum(own / (mean.sum(-1) - own + 1.0), SINR_CAP)
    return np.round(np.log2(1.0 + ratio), 3)


LEVELS = 11  # bins of a two-hot power
