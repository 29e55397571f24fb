"""The support manifest: what the support episodes of held-out sites hold, frozen: the protocol hash covers it.

Every lab records the support from the same seeds (`data.support`). `support.json` keeps, of each site of each variant, the norm
and a random projection of every column that an agent adapts on: the numbers of the release manifests, which survive another
machine's rounding and move when one typical value changes. Whoever changes a simulator, a policy that records or a seed has to
freeze the manifest again (`wbench protocol freeze`), and gets another protocol hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ..data import shards
from ..data.paths import home, write_rows
from ..data.support import support
from ..family import Family, Variant
from ..registry import BUILT_IN, get_variant
from ..site import RANGES

PATH = Path(__file__).with_name("support.json")
SITES, EPISODES = 10, 50  # the most that a size of the protocol asks for; fewer shots and sites are the first of these
COLUMNS = ("obs", "action_mask", "action", "reward")

Fingerprint = Mapping[str, Sequence[float]]  # (norm, projection) by column


def held_out() -> tuple[int, ...]:
    """Numbers of the held-out sites that are frozen."""
    return tuple(RANGES["held-out"][:SITES])


def measure(family: Family, variant: Variant, site: int) -> Fingerprint:
    """Record the support of a site and take its fingerprint."""
    logs = support(family, variant, site, EPISODES)
    assert logs is not None
    return {name: shards.summary(getattr(logs, name).numpy().reshape(-1)) for name in COLUMNS}


def frozen(variant: str, site: int) -> Fingerprint | None:
    """The frozen fingerprint of a site; None where there is none."""
    return _table(_file(get_variant(variant)[0])).get(variant, {}).get(str(site))


def digest(variant: str, sites: Sequence[int]) -> str | None:
    """SHA-256 of the frozen fingerprints of these sites; None where one is not frozen."""
    found = [frozen(variant, site) for site in sites]
    return None if None in found else hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def freeze(variant: str, sites: Mapping[int, Fingerprint]) -> None:
    """Keep the fingerprints of a variant's sites, in the place of what was known of it."""
    path = _file(get_variant(variant)[0])
    write_rows(path, _table(path) | {variant: {str(site): row for site, row in sites.items()}})
    _table.cache_clear()


def _file(family: Family) -> Path:
    """Where it is: beside the references of a family that names a file; else as those, see `references`."""
    if family.references:
        return family.references.with_name(PATH.name)
    return PATH if family.name in BUILT_IN else home() / "support" / f"{family.name}-{family.version}.json"


@cache
def _table(path: Path) -> dict[str, dict[str, Fingerprint]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
