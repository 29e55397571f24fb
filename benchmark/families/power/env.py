"""`power`: power control with queues, N links in one band (continuous action: the amplitude).

`SINR_n = g_nn p_n / (sum_m g_nm p_m + o_n + s2)`, rates capped at 7.4 bit/s/Hz; a link's queue serves `W T log2(1 + SINR)`
bits a slot and takes in Poisson packets: `Q' = Q - served + arrivals`, with a finite buffer. Mean gains, the sequence of the
outside interference o and the price of energy are the site's; fading, packets and the outside's fading are the episode's. The
reward of link n is `(served / A - DELAY_COST Q / (A BUFFER) - price p) / N`, with its mean arrivals A.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...family import ActionComponent, Info
from ...physics.channel import from_db, rayleigh_gains
from ...physics.interference import SINR_CAP, rate
from ...physics.queues import fifo_delays
from ...processes import plain_types
from ...site import scenario_generator
from ..slots import SlotEnv
from .layout import DB_SCALE, View
from .site import BAND, P_MAX, Site, draw_site
from .variant import SLOT, PowerVariant

LEVELS = 11  # bins of a two-hot amplitude
ACTIONS = (ActionComponent("amplitude", "ordinal", LEVELS),)
BUFFER = 32.0  # slots of mean arrivals
DELAY_COST = 0.5
PACKET = 0.2  # bits of a packet over those of a slot at 1 bit/s/Hz
TOGETHER = 64  # episodes whose fadings are computed together
INITIAL_MAX = 4.0  # each queue starts with 0 to this many slots of mean arrivals

EPISODIC = (  # what a `PowerEnv` holds of each episode
    "backlog direct gain links need outside price site transmitter _accepted _arrivals _departed _dropped _energy _gains "
    "_noise _outside _power _served _sinr"
).split()


class PowerEnv(SlotEnv):
    """B episodes of one `power` variant. An action is a share of the greatest amplitude; an empty queue is silent.

    Bits are counted in units of a slot at 1 bit/s/Hz. What is public here is the state that references marked privileged read:

    Attributes:
        site: number of the site, [B].
        gain: mean gains over noise at full power, [B, N, C]; `links` [B, N, N]: between links; `direct` [B, N]: own ones.
        transmitter: of each link, [B, N].
        need: mean arrivals, [B, N].
        outside: mean interference from outside over the noise, [B, N, L].
        price: of energy, [B].
        backlog: bits that wait, [B, N].
    """

    variant: PowerVariant
    choices = ACTIONS
    episodic = dict.fromkeys(EPISODIC, 0)

    @plain_types()
    def __init__(self, variant: PowerVariant, device: torch.device | str = "cpu") -> None:
        super().__init__(variant, device)
        index = torch.arange(variant.agents, device=self.device)
        digits = (index[:, None] >> torch.arange(7, device=self.device)) & 1
        self._index = torch.cat([(index / variant.agents)[:, None], digits.float()], dim=-1)
        phase = torch.arange(variant.horizon + 1, device=self.device) % variant.period / variant.period
        self._clock = torch.stack([phase, (2 * torch.pi * phase).sin(), (2 * torch.pi * phase).cos()], dim=-1)
        self._slot_bits = SLOT * BAND[variant.layout]
        self._joules = float(from_db(P_MAX[variant.layout] - 30.0)) * SLOT

    def _begin(self, sites: Sequence[int], seeds: Sequence[int]) -> None:
        places = [draw_site(self.variant, int(site)) for site in sites]
        self._place(places, sites)
        drawn = _draw_scenarios(self.variant, places, sites, seeds)
        self._gains, self._outside, initial, self._arrivals = (self._stack(column) for column in zip(*drawn, strict=True))
        batch, (n, horizon) = len(seeds), (self.variant.agents, self.variant.horizon)
        self.backlog = initial * self.need
        self._power, self._served, self._dropped, self._energy, self._sinr = torch.zeros(5, batch, n, device=self.device)
        self._noise = torch.ones(batch, n, 2, device=self.device)  # over the noise: last slot, the one before
        self._accepted = torch.full((batch, n, horizon + 2), torch.inf, dtype=torch.float64, device=self.device)
        self._departed = torch.zeros_like(self._accepted)
        self._accepted[..., 0] = 0.0
        self._accepted[..., 1] = self.backlog  # the initial backlog counts as arrived just before slot 0

    def _place(self, places: Sequence[Site], sites: Sequence[int]) -> None:
        self.site = torch.tensor([int(site) for site in sites], device=self.device)
        self.gain, self.transmitter, self.need, self.outside = (
            self._stack([getattr(place, name) for place in places]) for name in ("gain", "transmitter", "need", "outside")
        )
        self.links = self._stack([place.links for place in places])
        self.direct = self.links.diagonal(dim1=1, dim2=2).contiguous()
        self.price = torch.tensor([place.price for place in places], dtype=torch.float32, device=self.device)

    def _stack(self, rows: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def channel(self, slot: int) -> Tensor:
        """Gains over noise at full power in a slot, [B, N, C]: receiver of link n, transmitter c."""
        return self._gains[:, min(slot, self._gains.shape[1] - 1)]

    def outside_now(self, slot: int) -> Tensor:
        """Interference from outside over the noise in a slot, [B, N]."""
        return self._outside[:, slot]

    def link_channel(self, slot: int) -> Tensor:
        """Gains from the transmitter of link m to the receiver of link n in a slot, [B, N, N]."""
        gains = self.channel(slot)
        if self.variant.layout == "d2d":
            return gains
        return gains.gather(2, self.transmitter.unsqueeze(1).expand(-1, self.variant.agents, -1))

    def powers(self, amplitude: Tensor) -> Tensor:
        """Powers of the links [B, N], where one transmitter's links share its budget: the excess scales all of them down."""
        power = amplitude.square()
        if self.variant.layout == "d2d":
            return power
        return power / self._transmitted(power).clamp(min=1.0).gather(1, self.transmitter)

    def _play(self, action: Tensor) -> tuple[Tensor, Info]:
        t, before = self._slot, self.backlog
        power = self.powers(action * (before > 0))
        gains = self.channel(t)
        direct = self._own(gains)
        signal = direct * power
        noise = self._heard(gains, direct, power) + (1.0 + self.outside_now(t))
        self._sinr = (signal / noise).clamp(max=SINR_CAP)
        served = torch.minimum(before, rate(self._sinr))
        arrived = self._arrivals[:, t]
        left = before - served
        dropped = (left + arrived - BUFFER * self.need).clamp(min=0.0)
        self.backlog = left + arrived - dropped
        gained = (served - (DELAY_COST / BUFFER) * before) / self.need
        reward = (gained - self.charged * self.price[:, None] * power) / self.variant.agents

        self._power, self._served, self._slot = power, served, t + 1
        self._noise = torch.stack([noise, self._noise[..., 0]], dim=-1)
        self._energy += power
        self._dropped += dropped
        self._departed[..., t + 1] = self._departed[..., t] + served
        self._accepted[..., t + 2] = self._accepted[..., t + 1] + (arrived - dropped)
        delay = torch.where(served > 0, before / self.need, 0.0)
        megabits = self._slot_bits / 1e6
        slot = {"delivered": served * megabits, "delay": delay, "dropped": dropped * megabits, "energy": power * self._joules}
        return reward, slot

    def qos(self) -> dict[str, Tensor]:
        """Per episode [B]: goodput (Mbit/s a link), delay mean and p95 (slots), drops (Mbit), energy (J)."""
        t, n = self._slot, self.variant.agents
        bits, delay = fifo_delays(self._accepted[..., 1 : t + 1], self._departed[..., 1 : t + 1])
        bits, delay = bits.flatten(1), delay.flatten(1)
        total = bits.sum(1).clamp(min=1e-9)
        share = torch.zeros(len(bits), t + 2, dtype=torch.float64, device=self.device).scatter_add_(1, delay, bits)
        megabits = self._slot_bits / 1e6
        return {
            "goodput": (self._departed[..., t].sum(1) * (megabits / (max(t, 1) * SLOT * n))).float(),
            "delay_mean": ((bits * delay).sum(1) / total).float(),
            "delay_p95": (share.cumsum(1) < 0.95 * total[:, None]).sum(1).clamp(max=t).float() * (bits.sum(1) > 0),
            "drops": self._dropped.sum(1) * megabits,
            "energy": self._energy.sum(1) * self._joules,
        }

    def _transmitted(self, power: Tensor) -> Tensor:
        """Power of every transmitter [B, C] from those of the links [B, N]."""
        if self.variant.layout == "d2d":
            return power
        total = torch.zeros(len(power), self.variant.transmitters, dtype=power.dtype, device=power.device)
        return total.scatter_add_(1, self.transmitter, power)

    def _heard(self, gains: Tensor, direct: Tensor, power: Tensor) -> Tensor:
        """Interference from all other links, [B, N]: added up without the own signal, beside which it could be lost."""
        total = self._transmitted(power)
        received = gains * total.unsqueeze(1)
        if self.variant.layout == "d2d":
            received.diagonal(dim1=1, dim2=2).zero_()
        else:
            others = direct * (total.gather(1, self.transmitter) - power).clamp(min=0.0)
            received.scatter_(2, self.transmitter.unsqueeze(-1), others.unsqueeze(-1))
        return received.sum(-1)

    def _own(self, gains: Tensor) -> Tensor:
        if self.variant.layout == "d2d":
            return gains.diagonal(dim1=1, dim2=2)
        return gains.gather(-1, self.transmitter.unsqueeze(-1)).squeeze(-1)

    def _observe(self) -> tuple[Tensor, Info]:
        obs = torch.empty(*self.backlog.shape, View.size, device=self.device)
        view = View(obs)
        slots = self.backlog / self.need
        view.queue[..., 0] = slots / BUFFER
        view.queue[..., 1] = torch.log1p(slots)
        view.need[..., 0] = torch.log2(1.0 + self.need)
        view.snr[..., 0] = _level(self._own(self.channel(self._slot)))
        view.snr[..., 1] = _level(self._own(self.channel(max(self._slot - 1, 0))))
        view.noise[:] = _level(self._noise)
        view.sinr[..., 0] = _level(self._sinr)
        view.sent[..., 0] = self._power.sqrt()
        view.sent[..., 1] = (self._served / self.need).clamp(max=BUFFER) / 4.0
        view.clock[:] = self._clock[self._slot]
        view.index[:] = self._index
        allowed = torch.ones(*self.backlog.shape, 1, dtype=torch.bool, device=self.device)
        return obs, {"action_mask": allowed, "agent_mask": allowed.squeeze(-1)}


def _level(ratio: Tensor) -> Tensor:
    """A power over the noise in units of DB_SCALE, not below -10 dB."""
    return torch.log10(ratio.clamp(min=0.1)) * (10.0 / DB_SCALE)


def _draw_scenarios(
    variant: PowerVariant, places: Sequence[Site], sites: Sequence[int], seeds: Sequence[int]
) -> list[tuple[np.ndarray, ...]]:
    """The worlds of some episodes, float32; their fadings are computed together, as slot follows on slot.

    Returns:
        Of each episode: gains over noise at full power [T, N, C] (one row where nobody moves), interference from outside
        [T, N], initial backlog [N] in slots of mean arrivals, arrivals [T, N] in bits.
    """
    drawn: list[tuple[np.ndarray, ...]] = []
    for k in range(0, len(seeds), TOGETHER):
        part = slice(k, k + TOGETHER)
        some = [_draw(variant, *episode) for episode in zip(places[part], sites[part], seeds[part], strict=True)]
        fading = rayleigh_gains(np.stack([normals for normals, *_ in some], axis=1), variant.correlation)
        for place, gains, (_, *rest) in zip(places[part], fading.swapaxes(0, 1), some, strict=True):
            drawn.append((place.gain * gains, *rest))
    return drawn


def _draw(variant: PowerVariant, place: Site, site: int, seed: int) -> tuple[np.ndarray, ...]:
    """What is random in one episode, as in `_draw_scenarios`, but with what drives the fading, [T, N, C, 2]."""
    rng = scenario_generator(variant.name, site, seed)
    n, horizon = variant.agents, variant.horizon
    slots = 1 if variant.speed == 0 else horizon
    normals = rng.standard_normal((slots, n, variant.transmitters, 2), dtype=np.float32)
    mean = place.outside[:, np.arange(horizon) % variant.period].T
    outside = mean * rng.standard_exponential((horizon, n), dtype=np.float32)
    initial = rng.random(n, dtype=np.float32) * INITIAL_MAX
    arrivals = rng.poisson(place.need / PACKET, size=(horizon, n)) * PACKET
    return normals, outside, initial, arrivals.astype(np.float32)
