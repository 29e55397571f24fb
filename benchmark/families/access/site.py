"""What is hidden at an `access` site: who else uses which channel when, and whom a transmission harms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...site import site_generator
from .variant import AccessVariant

DUTY = (0.3, 0.6)  # share of slots in which an incumbent is scheduled
ACTIVITY = (0.5, 0.95)  # probability that an incumbent sends where it is scheduled
PROTECTED = (0.25, 0.4)  # share of the (slot, channel) cells in which a protected incumbent listens for a far sender
PROTECTED_ACTIVITY = (0.2, 0.6)  # probability that it is active there

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Site:
    """Hidden parameters of one site, constant for ever.

    Attributes:
        busy: probability that an incumbent sends, by slot of the superframe and channel, [L, C]. All on the channel hear it.
        protected: probability that a protected incumbent is active there, [L, C]. No user hears it; a transmission harms it.
    """

    busy: Table
    protected: Table


@lru_cache(maxsize=8192)
def draw_site(variant: AccessVariant, site: int) -> Site:
    """The hidden parameters of a site: a function of the variant's name and the site's number alone."""
    rng = site_generator(variant.name, site)
    return Site(_hopping(rng, variant), _protected(rng, variant))


def _hopping(rng: np.random.Generator, variant: AccessVariant) -> Table:
    """C incumbents hop: in every slot each is silent or on a channel of its own, [L, C]."""
    length, channels = variant.superframe, variant.channels
    duty, activity = rng.uniform(*DUTY, channels), rng.uniform(*ACTIVITY, channels)
    scheduled = rng.random((length, channels)) < duty
    hop = rng.random((length, channels)).argsort(axis=1)  # channel of each incumbent
    busy = np.zeros((length, channels))
    np.put_along_axis(busy, hop, scheduled * activity, axis=1)
    return busy.astype(np.float32)


def _protected(rng: np.random.Generator, variant: AccessVariant) -> Table:
    """Cells of a protected incumbent a channel, each with an activity of its own, [L, C]."""
    length, channels = variant.superframe, variant.channels
    cells = length * channels
    count = round(rng.uniform(*PROTECTED) * cells)
    chosen = (rng.permutation(cells) < count).reshape(length, channels)
    return (chosen * rng.uniform(*PROTECTED_ACTIVITY, channels)).astype(np.float32)
