"""Counting: what own observations and joint logs say about a site's table, cell by cell, as log-likelihoods on a grid.

A cell is a slot of the superframe on a channel. Whether an incumbent sends there (or a protected one is active) is a coin of
unknown probability: 0 where nobody is scheduled, else somewhere in the public range. The grid holds these hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...agent import Support
from .env import CHARGE, worth
from .layout import View
from .rule import Table, to_grain
from .site import ACTIVITY, DUTY, PROTECTED, PROTECTED_ACTIVITY
from .variant import AccessVariant

NEVER = 0.01  # stands for 'nobody is scheduled', kept off 0 so that one misread slot is not the end
POINTS = 6  # of the grid within a range of activities
_ONE_OR_MORE = torch.tensor([1.0, 2.0])  # feedback to the number of senders heard: 0, 1, or 2 for more


@dataclass(frozen=True)
class Coin:
    """Hypotheses about a cell's coin.

    Attributes:
        probability: of heads under each, [G].
        prior: weight of each, [G].
    """

    probability: Tensor
    prior: Tensor

    @classmethod
    def of(cls, share: tuple[float, float], activity: tuple[float, float]) -> Coin:
        """A coin that is there with the mean share, of uniform activity."""
        low, high = activity
        grid = low + (high - low) * (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
        there = sum(share) / 2.0
        weights = torch.full((POINTS,), there / POINTS, dtype=torch.float64)
        first = torch.tensor([1.0 - there], dtype=torch.float64)
        return cls(torch.cat([first * 0.0 + NEVER, grid]), torch.cat([first, weights]))

    def to(self, device: torch.device) -> Coin:
        """The same on a device."""
        return Coin(self.probability.to(device), self.prior.to(device))

    def likelihood(self, heads: Tensor, tails: Tensor) -> Tensor:
        """Log-likelihood of counts [...] under each hypothesis, [..., G]."""
        p = self.probability
        return heads.unsqueeze(-1) * p.log() + tails.unsqueeze(-1) * (1.0 - p).log()

    def mean(self, likelihood: Tensor) -> Tensor:
        """Posterior mean of the coin's probability; `NEVER` counts as 0. [...] from [..., G]."""
        weight = (likelihood + self.prior.log()).softmax(-1)
        return (weight[..., 1:] * self.probability[1:]).sum(-1)


BUSY = Coin.of(DUTY, ACTIVITY)
HIT = Coin.of(PROTECTED, PROTECTED_ACTIVITY)


@dataclass(frozen=True)
class Evidence:
    """Log-likelihoods of both coins of every cell of U sites, each [U, L, C, G]."""

    busy: Tensor
    hit: Tensor

    @classmethod
    def none(cls, variant: AccessVariant) -> Evidence:
        """Nothing seen."""
        shape = 1, variant.superframe, variant.channels, POINTS + 1
        return cls(torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64))

    def table(self) -> Table:
        """The posterior means, as the table of these sites."""
        return Table(BUSY.mean(self.busy).float(), CHARGE * HIT.mean(self.hit).float()).rounded()


def read_logs(variant: AccessVariant, logs: Support) -> Evidence:
    """What K joint episodes say: the logs show who sent where, so that what is left are the incumbents."""
    obs, reward = logs.obs.cpu(), logs.reward[:, :-1].cpu()
    before, after = View(obs[:, :-1]), View(obs[:, 1:])
    sent, heard = after.sent[..., : variant.channels], after.heard[..., : variant.channels]  # [K, T - 1, N, C]
    users = sent.sum(2)  # [K, T - 1, C]
    senders = (heard * (after.feedback @ _ONE_OR_MORE).unsqueeze(-1)).amax(2)
    clear = (heard.amax(2) > 0) & (users <= 1)  # with two users or more an incumbent cannot be told
    fair = worth(torch.expm1(before.age[..., 1]) * variant.frame) * after.outcome[..., 1]
    charged = fair - reward * variant.channels  # [K, T - 1, N]
    hit = (charged.unsqueeze(-1) * sent).sum(2) > 0.5 * CHARGE
    clock = torch.arange(users.shape[1]) % variant.superframe

    def count(seen: Tensor) -> Tensor:
        """How often each cell was seen so, [L, C], from [K, T - 1, C] bool."""
        cells = torch.zeros(variant.superframe, variant.channels, dtype=torch.float64)
        return cells.index_add_(0, clock, seen.sum(0).double())

    busy = BUSY.likelihood(count(clear & (senders > users)), count(clear & (senders <= users)))
    return Evidence(busy.unsqueeze(0), HIT.likelihood(count(hit), count((users > 0) & ~hit)).unsqueeze(0))


class Listener:
    """What each of N users in B episodes has heard of the incumbents: log-likelihoods [B, N, L C, G].

    Args:
        evidence: what all of them start with; of U sites, the episodes of each in a row.
        variant: the variant.
        batch: number of episodes B.
        device: where it is kept.
    """

    def __init__(self, evidence: Evidence, variant: AccessVariant, batch: int, device: torch.device) -> None:
        start = evidence.busy.view(-1, variant.superframe * variant.channels, POINTS + 1).to(device)
        start = start.repeat_interleave(batch // len(start), 0).unsqueeze(1)
        self._likelihood = start.expand(-1, variant.agents, -1, -1).clone()
        self._variant = variant
        self._coin = BUSY.to(device)
        p = self._coin.probability
        send = min(0.9, variant.load / 0.5)  # chance that somebody's turn is used
        other = torch.stack([(1 - send) * (1 - p), send * (1 - p) + (1 - send) * p, send * p])  # heard when silent
        alone = torch.stack([1 - p, 1 - p, p])  # heard when sending: an ACK, or a NACK
        self._log = torch.stack([other, alone]).log()  # [2, 3, G]

    def hear(self, obs: Tensor, slot: int) -> None:
        """Learn from the feedback of the slot before this one."""
        if slot == 0:
            return
        v, view = self._variant, View(obs)
        cell = (slot - 1) % v.superframe * v.channels + view.heard.argmax(-1)
        sent = (view.outcome[..., 0] == 0).long()
        feedback = (view.feedback @ _ONE_OR_MORE.to(obs.device)).long()
        update = self._log[sent, feedback]  # [B, N, G]
        index = cell[..., None, None].expand(-1, -1, 1, update.shape[-1])
        self._likelihood.scatter_add_(2, index, update.unsqueeze(2))

    def busy(self, slot: int, channel: Tensor) -> Tensor:
        """Each user's belief that an incumbent sends in this slot on its channel [B, N], counted from 1: [B, N]."""
        v = self._variant
        cell = slot % v.superframe * v.channels + (channel - 1).clamp(min=0)
        index = cell[..., None, None].expand(-1, -1, 1, self._likelihood.shape[-1])
        return to_grain(self._coin.mean(self._likelihood.gather(2, index).squeeze(2)).float())
