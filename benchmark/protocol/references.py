"""Frozen references: the returns that score 0 and 100 at every held-out site of every variant.

`references.json` is made by `wbench protocol freeze` and committed; scores are framed by it, never by a fresh run. A family
that is not wbench's names a file of its own (`Family.references`). Without one, and at other sites, such as dev sites, the
two policies are played when they are asked for, and kept in wbench's cache.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..data.paths import home, locked, read_text, writable, write_rows
from ..family import Family, Variant
from ..registry import BUILT_IN, get_variant
from ..rollout import play
from ..seeds import REFERENCE_SEEDS
from . import statistics

PATH = Path(__file__).with_name("references.json")
EPISODES = 64


@dataclass(frozen=True)
class Frame:
    """Mean returns between which scores are told, at one site of a variant.

    Attributes:
        random: scores 0.
        genie: scores 100.
        errors: standard errors of the two.
        episodes: episodes behind each.
    """

    random: float
    genie: float
    errors: tuple[float, float]
    episodes: int

    def score(self, value: float) -> float:
        """100 (R - R_random) / (R_genie - R_random), not clipped."""
        return statistics.score(value, self.random, self.genie)


def measure(family: Family, variant: Variant, site: int, episodes: int = EPISODES) -> Frame:
    """Play the two framing policies on the reference episodes of a site."""
    means, errors = [], []
    for policy in ("random", "genie"):
        seeds = range(REFERENCE_SEEDS, REFERENCE_SEEDS + episodes)
        returns = play(family, variant, family.policies[policy](), [site] * episodes, seeds).returns
        means.append(round(float(returns.mean()), 6))
        errors.append(round(float(returns.std()) / math.sqrt(episodes), 6))
    return Frame(means[0], means[1], (errors[0], errors[1]), episodes)


def references(name: str, site: int) -> Frame:
    """The references of a variant at a site: the frozen ones, else those of the cache, else measured now."""
    family, variant = get_variant(name)
    for path in (_file(family), _cached(family)):
        if (found := _read(path).get(name, {}).get(str(site))) is not None:
            return found
    kept = _cached(family)
    if not writable(kept.parent):  # a cache that may only be read: as long as this process
        return _measured(name, family.version, site)
    frame = measure(family, variant, site)
    with locked(kept.parent, lambda _: None):  # other processes keep theirs in this file too
        _read.cache_clear()
        freeze(name, {site: frame}, kept)
    return frame


@cache
def _measured(name: str, dynamics: str, site: int) -> Frame:
    """The references of a variant of these dynamics at a site, measured once."""
    return measure(*get_variant(name), site)


def known(name: str, site: int) -> bool:
    """Whether the references of a variant at a site are there without playing: frozen, or in the cache."""
    family = get_variant(name)[0]
    return any(str(site) in _read(path).get(name, {}) for path in (_file(family), _cached(family)))


def freeze(name: str, frames: Mapping[int, Frame], path: Path | None = None) -> None:
    """Keep references of a variant's sites in a file, beside those that it already holds; default: the file of its family."""
    path = path or _file(get_variant(name)[0])
    rows = _read(path)
    rows = rows | {name: rows.get(name, {}) | {str(site): frame for site, frame in frames.items()}}
    write_rows(path, {variant: {site: asdict(frame) for site, frame in kept.items()} for variant, kept in rows.items()})
    _read.cache_clear()


def _file(family: Family) -> Path:
    """Where the references of a family are frozen: its own file; else the package's of a family of wbench, and the cache's."""
    return family.references or (PATH if family.name in BUILT_IN else _cached(family))


def _cached(family: Family) -> Path:
    """Where references of other sites are kept, for this version of the dynamics."""
    return home() / "references" / f"{family.name}-{family.version}.json"


@cache
def _read(path: Path) -> dict[str, dict[str, Frame]]:
    if not path.exists():
        return {}
    try:
        table = json.loads(read_text(path))
        return {name: {site: _frame(row) for site, row in frames.items()} for name, frames in table.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path} is damaged ({reason}). Delete it: its references are then measured anew.") from error


def _frame(row: Mapping[str, Any]) -> Frame:
    frame = Frame(**{**row, "errors": tuple(row["errors"])})
    if not all(map(math.isfinite, (frame.random, frame.genie, *frame.errors))):
        raise ValueError("a return is not finite")
    return frame
