"""The decision rule that all reference policies share, given a table of the site: when is whose turn, and is it worth sending.

Two parts. *Turns*: in every slot the best channels go to the users that have been served least so far, by expectation. All who
hold the same table hold the same turns, so they never meet. *Sending*: a small dynamic program over the own turns gives what
it is worth to have one packet less in the queue; a user sends if that, times the chance of getting through, exceeds the charge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .env import DEADLINE, DELAY_COST
from .variant import AccessVariant

HOLDING = DELAY_COST / DEADLINE  # what a packet loses a slot
USER_QUEUE = 10  # packets that the dynamic program tells apart
GRAIN = 2.0**-16  # tables are rounded to it, so that ties are ties in any batch


@dataclass(frozen=True)
class Table:
    """What somebody believes about U sites.

    Attributes:
        busy: probability that an incumbent sends, [U, L, C].
        charge: expected charge of a transmission, [U, L, C].
    """

    busy: Tensor
    charge: Tensor

    def over(self, horizon: int) -> Table:
        """The same by slot of the episode, [U, T, C]."""
        clock = torch.arange(horizon, device=self.busy.device) % self.busy.shape[1]
        return Table(self.busy[:, clock], self.charge[:, clock])

    def rounded(self) -> Table:
        """The same to `GRAIN`."""
        return Table(to_grain(self.busy), to_grain(self.charge))

    def to(self, device: torch.device) -> Table:
        """The same on a device."""
        return Table(self.busy.to(device), self.charge.to(device))


def to_grain(x: Tensor) -> Tensor:
    """Rounded to `GRAIN`."""
    return (x / GRAIN).round() * GRAIN


@dataclass(frozen=True)
class Plan:
    """Turns and values of U sites.

    Attributes:
        channel: channel of each user's turn, 0 = none, [U, T, N].
        value: of having one packet less, by own packets, [U, T, N, USER_QUEUE + 1].
    """

    channel: Tensor
    value: Tensor


def make_plan(variant: AccessVariant, table: Table, channel: Tensor | None = None) -> Plan:
    """Turns [U, T, N], by the table unless they are given, and what each user's packets are worth in them."""
    timed = table.over(variant.horizon)
    channel = take_turns(timed, variant.agents) if channel is None else channel
    busy, charge = (at_turn(x, channel).transpose(1, 2).unsqueeze(-1) for x in (timed.busy, timed.charge))  # [U, N, T, 1]
    own = (channel > 0).transpose(1, 2).unsqueeze(-1)
    arrivals = torch.tensor([1.0 - variant.rate, variant.rate], device=busy.device)
    value = marginal_values(torch.where(own, busy, 1.0), charge, arrivals, USER_QUEUE)
    return Plan(channel, value.transpose(1, 2))


def at_turn(table: Tensor, channel: Tensor) -> Tensor:
    """Entries of a table [U, T, C] at the channels of turns [U, T, N]; anything where there is no turn."""
    return table.gather(-1, (channel - 1).clamp(min=0))


def take_turns(table: Table, agents: int) -> Tensor:
    """In every slot the best channels go to the users served least so far: [U, T, N], 0 = no turn."""
    sites, horizon, channels = table.busy.shape
    count = min(channels, agents)
    served = table.busy.new_zeros(sites, agents)
    worth = 1.0 - table.busy - table.charge
    best = worth.argsort(dim=-1, descending=True, stable=True)[..., :count]
    gain = worth.gather(-1, best).clamp(min=0.0)
    turns = torch.zeros(sites, horizon, agents, dtype=torch.int64, device=worth.device)
    for t in range(horizon):
        least = served.argsort(dim=-1, stable=True)[:, :count]
        turns[:, t].scatter_(1, least, best[:, t] + 1)
        served.scatter_add_(1, least, gain[:, t])
    return turns


def marginal_values(busy: Tensor, charge: Tensor, arrivals: Tensor, size: int) -> Tensor:
    """What one packet less in a queue is worth at the end of every slot, by dynamic programming from the last slot backwards.

    A delivered packet is worth 1 less `HOLDING` for each slot that it waits; what is left at the end is worth nothing.

    Args:
        busy: probability that a transmission is lost, [..., T, S], for S servers of the queue, the best last.
        charge: expected charge of a transmission, [..., T, S].
        arrivals: probability of 0, 1, ... new packets a slot.
        size: greatest length of the queue.

    Returns:
        [..., T, size + 1]; at index q, before a transmission from a queue of q packets. At 0: 0.
    """
    rate = float((arrivals * torch.arange(len(arrivals), device=arrivals.device)).sum())
    length = torch.arange(size + 1, device=busy.device)
    ages = ((length - 0.5) / max(rate, 1e-6)).clamp(min=0.0, max=DEADLINE)
    value = (HOLDING * ages.cumsum(0)).float().expand(*busy.shape[:-2], size + 1)  # what was already paid for waiting
    marginals = busy.new_zeros(*busy.shape[:-1], size + 1)
    for t in range(busy.shape[-2] - 1, -1, -1):
        value = -HOLDING * length + _after_arrivals(value, arrivals)
        marginals[..., t, 1:] = 1.0 + value[..., :-1] - value[..., 1:]
        for server in range(busy.shape[-1]):
            gain = (1.0 - busy[..., t, server, None]) * (1.0 + value[..., :-1] - value[..., 1:]) - charge[..., t, server, None]
            value = torch.cat([value[..., :1], value[..., 1:] + gain.clamp(min=0.0)], dim=-1)
    return marginals


def _after_arrivals(value: Tensor, arrivals: Tensor) -> Tensor:
    """Expected value of a queue, by its length before the arrivals."""
    size = value.shape[-1] - 1
    length = torch.arange(size + 1, device=value.device)
    expected = torch.zeros_like(value)
    for count, probability in enumerate(arrivals.tolist()):
        expected = expected + probability * value[..., (length + count).clamp(max=size)]
    return expected
