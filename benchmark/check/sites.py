"""Checks of sites: what is hidden there stays the same and stays hidden, and sealed sites stay shut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...errors import WbenchError
from ..site import RANGES
from .environment import SEEDS, SITES, Case, need, roll


def _hidden(case: Case) -> str:
    """A site is a function of (variant, number), and another number is another place."""
    names: set[str] = set()
    for variant in case.variants:
        first, again, other = (case.family.hidden(variant, site) for site in (SITES[0], SITES[0], SITES[1]))
        need(len(first) > 0, f"{variant.name}: hidden() is empty", "name what only logs can tell of a site")
        for name, value in first.items():
            same = np.array_equal(np.asarray(value), np.asarray(again[name]))
            need(same, f"{variant.name}: {name} of a site changes", "draw it from site.site_generator(variant.name, site)")
        alike = all(np.array_equal(np.asarray(value), np.asarray(other[name])) for name, value in first.items())
        need(not alike, f"{variant.name}: two sites hide the same", "draw it from site.site_generator(variant.name, site)")
        names |= first.keys()
    return f"{', '.join(sorted(names))}: the same for the same site, others elsewhere"


def _charge(case: Case) -> str:
    """With and without the charge of a site, the same actions lead to the same observations and to other rewards."""
    for variant in case.variants:
        free = case.family.make(variant, "cpu")
        free.charged = False
        slots = list(zip(case.roll(variant), roll(case.family, variant, SITES, SEEDS, env=free), strict=True))
        for t, (charged, waived) in enumerate(slots):
            same = all(torch.equal(charged[name], waived[name]) for name in charged if name != "reward")
            need(same, f"{variant.name}, slot {t}: what is shown depends on the charge", "let the charge change rewards alone")
        same = all(torch.equal(charged["reward"], waived["reward"]) for charged, waived in slots[1:])
        need(not same, f"{variant.name}: env.charged changes no reward", "leave the charge out of rewards where it is False")
    return "observations, masks and quality of service are the same without the charge; rewards are not"


def _sealed(case: Case) -> str:
    site = RANGES["sealed"][0]
    for variant in case.variants:
        try:
            case.family.make(variant, "cpu").reset([site], SEEDS[:1])
        except WbenchError:
            continue
        need(False, f"{variant.name}: plays the sealed site {site}", "draw sites from site.site_generator, which refuses them")
    return "sealed sites are refused"


CHECKS: dict[str, Callable[[Case], str]] = {"hidden": _hidden, "charge": _charge, "sealed": _sealed}
