"""Reads a site from joint logs: gains between links and the outside's sequence by maximum likelihood, the price from rewards.

With Rayleigh fading an interference level I is near to exponential around its mean `mu = 1 + sum_m G_nm p_m + S_nl`. The
likelihood of exponential levels is the Itakura-Saito divergence, and its multiplicative updates keep all parts non-negative
(Fevotte, Bertin and Durrieu, 'Nonnegative matrix factorization with the Itakura-Saito divergence', 2009).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...agent import Support
from ...randomness import generator
from .layout import View, ratio
from .planning import Knowledge
from .site import PRICE, draw
from .variant import PowerVariant

BUFFER, DELAY_COST = 32.0, 0.5
SITES = 64  # that the average is taken over
CAUTION = -14.0  # dB over the own signal; from what plans earn at train sites
ROUNDS = 60  # of the multiplicative updates
PRIOR = 0.3  # observations that the prior of a gain is worth
PRIOR_OUTSIDE = 0.3  # the same of an entry of the outside's sequence


@lru_cache(maxsize=256)
def average(variant: PowerVariant) -> Knowledge:
    """What sites of a variant are like: typical gains, need and outside interference, the mean price. One site (S = 1)."""
    rng = generator(variant.name, "average")
    places = [draw(variant, rng) for _ in range(SITES)]
    n, off = variant.agents, ~np.eye(variant.agents, dtype=bool)
    links, need, outside = (np.stack([getattr(place, name) for place in places]) for name in ("links", "need", "outside"))
    shape = (1, n, variant.period)
    return Knowledge(
        float(np.median(links[:, off])) * torch.from_numpy(off)[None].float(),
        torch.full((1, n), float(np.median(links[:, ~off]))),
        torch.full((1, n), float(need.mean())),
        torch.full(shape, float(np.expm1(np.log1p(outside).mean()))),
        torch.tensor([sum(PRICE) / 2.0]),
        torch.full(shape, PRIOR_OUTSIDE),
    )


def cautious(variant: PowerVariant) -> Knowledge:
    """The average for a plan of links that know nothing of each other: all of them disturb each other by `CAUTION`."""
    known = average(variant)
    cross = (known.cross > 0) * known.direct.unsqueeze(-1) * 10.0 ** (CAUTION / 10.0)
    return replace(known, cross=cross)


def read(variant: PowerVariant, support: Support) -> Knowledge:
    """What K joint episodes tell, on top of the average."""
    usual = average(variant)
    now, then = View(support.obs[:, :-1].double()), View(support.obs[:, 1:].double())  # a slot's outcome is seen in the next
    power = then.sent[..., 0].square()
    heard = (ratio(then.noise[..., 0]) - 1.0).clamp(min=1e-3)
    need = torch.exp2(now.need[..., 0]) - 1.0
    shots, slots, n = power.shape
    phase = torch.arange(slots) % variant.period
    cross, outside = _separate(power.flatten(0, 1), heard.flatten(0, 1), phase.repeat(shots), usual)
    count = shots * torch.bincount(phase, minlength=variant.period).double() + PRIOR_OUTSIDE
    return Knowledge(
        cross.float()[None],
        ratio(now.snr[..., 0]).mean((0, 1)).float()[None],
        need[0, 0].float()[None],
        outside.float()[None],
        _price(now, then, support.reward[:, :-1].double() * n, power, usual).float()[None],
        count.float().expand(1, n, -1).clone(),
    )


def _separate(power: Tensor, heard: Tensor, phase: Tensor, usual: Knowledge) -> tuple[Tensor, Tensor]:
    """Gains [N, N] and the outside's sequence [N, L] from powers [R, N], levels heard [R, N] and slots of the period [R]."""
    prior_g, prior_s = usual.cross[0].double(), usual.outside[0].double()
    g, s = prior_g.clone(), prior_s.clone()
    place = torch.nn.functional.one_hot(phase, prior_s.shape[1]).double()  # [R, L]
    for _ in range(ROUNDS):
        mean = power @ g.T + place @ s.T + 1e-3  # [R, N]
        pull, push = heard / mean.square(), 1.0 / mean
        g = g * _root(pull.T @ power, push.T @ power, g, prior_g, PRIOR)
        mean = power @ g.T + place @ s.T + 1e-3
        pull, push = heard / mean.square(), 1.0 / mean
        s = s * _root(pull.T @ place, push.T @ place, s, prior_s, PRIOR_OUTSIDE)
    mean = power @ g.T + place @ s.T + 1e-3
    return g + _error(power, mean, prior_g), s


def _error(power: Tensor, mean: Tensor, prior: Tensor) -> Tensor:
    """Standard errors [N, N] of the gains, from the Fisher information of exponential levels and of the prior.

    A plan that takes gains for one standard error higher does not count on a link's silence that few slots show.
    """
    information = (1.0 / mean.square()).T @ power.square()
    return (prior > 0) / (information + PRIOR / prior.clamp(min=1e-9).square()).sqrt()


def _root(pull: Tensor, push: Tensor, now: Tensor, prior: Tensor, weight: float) -> Tensor:
    """Factor of a multiplicative update, with a prior that counts as `weight` levels heard of that part alone."""
    now = now.clamp(min=1e-12)
    return ((pull + weight * prior / now.square()) / (push + weight / now)).sqrt()


def _price(now: View, then: View, reward: Tensor, power: Tensor, usual: Knowledge) -> Tensor:
    """Price of energy by least squares: what rewards lack of goodput less delay cost, over the powers."""
    gained = 4.0 * then.sent[..., 1] - DELAY_COST * now.queue[..., 0]
    total = power.square().sum()
    if total < 1e-9:
        return usual.price[0].double()
    return (((gained - reward) * power).sum() / total).clamp(*PRICE)
