"""Sites: places where a variant is played, each with hidden parameters that only its logs tell.

A site is a number. Its parameters are drawn once from (variant, number), by a generator of their own, and never change. The
numbers fall into four ranges that cannot meet: agents train on *train* sites, are chosen on *dev* sites, are scored on
*held-out* sites; *sealed* ones are the referee's.
"""

from __future__ import annotations

import numpy as np

from ..errors import InvalidValueError
from .randomness import generator

_SIZE = 1_000_000
RANGES = {name: range(k * _SIZE, (k + 1) * _SIZE) for k, name in enumerate(("train", "dev", "held-out", "sealed"))}


def site_number(kind: str, index: int) -> int:
    """The number of the site `index` of a range, e.g. `site_number("held-out", 3)`."""
    if kind not in RANGES:
        raise InvalidValueError("range of sites", kind, f"one of {', '.join(RANGES)}")
    if not 0 <= index < _SIZE:
        raise InvalidValueError("site", index, f"in [0, {_SIZE - 1}]")
    return RANGES[kind][index]


def site_generator(variant: str, site: int) -> np.random.Generator:
    """The generator of a site's hidden parameters: Philox, keyed by the variant's name and the site's number alone."""
    return generator(variant, "site", _number("site", site))


def scenario_generator(variant: str, site: int, seed: int) -> np.random.Generator:
    """The generator of one episode's scenario: Philox, keyed by variant, site and seed alone."""
    return generator(variant, _number("site", site), _number("seed", seed))


def _number(field: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InvalidValueError(field, value, "a whole number, 0 or more")
    return int(value)
