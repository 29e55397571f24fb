"""Sites: places where a variant is played, each with hidden parameters that only its logs tell.

A site is a number. Its parameters are drawn once from (variant, number), by a generator of their own, and never change. The
numbers fall into four ranges that cannot meet: agents train on *train* sites, are chosen on *dev* sites, are scored on
*held-out* sites; *sealed* ones are the referee's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..errors import InvalidValueError, require
from .randomness import generator

_SIZE = 1_000_000
MOST = 1000  # sites of one protocol
RANGES = {name: range(k * _SIZE, (k + 1) * _SIZE) for k, name in enumerate(("train", "dev", "held-out", "sealed"))}
_NAMED = re.compile(r"(?:(?P<kind>[a-z-]+):)?(?P<first>\d{1,9})(?:-(?P<last>\d{1,9}))?")


def range_of(site: int) -> str:
    """The range that a site's number lies in: `train`, `dev`, `held-out` or `sealed`; raises `InvalidValueError`."""
    for name, numbers in RANGES.items():
        if site in numbers:
            return name
    raise InvalidValueError("site", site, f"a whole number in [0, {4 * _SIZE - 1}]")


def place(site: int) -> str:
    """How a site is told to people, e.g. `site held-out:3`."""
    return f"site {text_of(site)}"


def text_of(site: int) -> str:
    """A site as `parse_sites` reads it, e.g. `held-out:3`."""
    kind = range_of(site)
    return f"{kind}:{site - RANGES[kind].start}"


def spans(sites: Sequence[int]) -> list[str]:
    """Sites as few texts that `parse_sites` reads, e.g. `held-out:0-4`."""
    found: list[list[int]] = []
    for site in sites:
        if found and site == found[-1][1] + 1 and range_of(site) == range_of(found[-1][0]):
            found[-1][1] = site
        else:
            found.append([site, site])
    return [text_of(low) + (f"-{text_of(high).partition(':')[2]}" if high > low else "") for low, high in found]


def parse_sites(text: str, referee: bool = False) -> tuple[int, ...]:
    """Numbers of the sites that a text names: `3`, `0-4`, `dev:0-9`, or several with commas.

    Args:
        text: one site or a span of them, of the range before the colon; without one they are held out.
        referee: whether sealed sites may be named.

    Raises:
        InvalidValueError: it names no sites, too many, or sealed ones.
    """
    found = tuple(dict.fromkeys(site for part in text.split(",") for site in _span(part, text, referee)))
    require(len(found) <= MOST, "--sites", text, f"{MOST} sites or fewer")
    return found


def _span(part: str, text: str, referee: bool) -> range:
    """The numbers of one part of the text."""
    found = _NAMED.fullmatch(part.strip())
    kind = (found and found["kind"]) or "held-out"
    if found is None or kind not in RANGES:
        raise InvalidValueError("--sites", text, f"like 3, 0-4 or dev:0-9, of a range {', '.join(RANGES)}")
    if kind == "sealed" and not referee:
        raise InvalidValueError("--sites", text, "of the range train, dev or held-out: sealed sites are the referee's")
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if not first <= last < _SIZE or last - first >= MOST:
        raise InvalidValueError("--sites", text, f"a span that rises, of {MOST} sites or fewer, below {_SIZE}")
    return RANGES[kind][first : last + 1]


_sealed_open = False


def open_sealed() -> None:
    """Let this process play sealed sites from now on: for the referee."""
    global _sealed_open
    _sealed_open = True


def site_generator(variant: str, site: int) -> np.random.Generator:
    """The generator of a site's hidden parameters: Philox, keyed by the variant's name and the site's number alone.

    Raises:
        InvalidValueError: this is no site's number, or a sealed one, and the referee did not open them.
    """
    if range_of(site) == "sealed" and not _sealed_open:
        raise InvalidValueError("site", site, "of the range train, dev or held-out: sealed sites are the referee's")
    return generator(variant, "site", _number("site", site))


def scenario_generator(variant: str, site: int, seed: int) -> np.random.Generator:
    """The generator of one episode's scenario: Philox, keyed by variant, site and seed alone."""
    return generator(variant, _number("site", site), _number("seed", seed))


def _number(field: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InvalidValueError(field, value, "a whole number, 0 or more")
    return int(value)
