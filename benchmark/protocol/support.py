"""The support manifest: what the support episodes of all held-out variants hold, frozen: the protocol hash covers it.

Every lab records the support from the same seeds (`data.collect.support`). `support.json` keeps, of each draw, the norm and a
random projection of every column that an agent adapts on: the numbers of the release manifests, which survive another
machine's rounding and move when one typical value changes. Whoever changes a simulator, a behaviour or a seed has to freeze
the manifest again (`wbench protocol freeze`), and gets another protocol hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from ..data import shards
from ..data.manifest import TOLERANCE
from ..data.paths import write_text
from ..data.recorder import record_support
from ..family import Family, Variant

PATH = Path(__file__).with_name("support.json")
DRAWS, EPISODES = 10, 50  # the most that a size of the protocol asks for; fewer shots and draws are the first of these
COLUMNS = ("obs", "action_mask", "action", "reward")

Fingerprint = Mapping[str, Sequence[float]]  # (norm, projection) by column


def measure(family: Family, variant: Variant, draws: Iterable[int] = range(DRAWS)) -> Iterator[Fingerprint]:
    """Record the support of a variant and take the fingerprint of each draw."""
    for draw in draws:
        columns = record_support(family, variant, draw, EPISODES)
        yield {name: shards.summary(columns[name].reshape(-1)) for name in COLUMNS}


def frozen(variant: str) -> list[Fingerprint] | None:
    """The frozen fingerprints of a variant, draw by draw; None for a train variant or a family of another package."""
    return _table(PATH).get(variant)


def digest(variant: str, draws: int) -> str | None:
    """SHA-256 of the first frozen fingerprints of a variant; None where there are none."""
    found = frozen(variant)
    return hashlib.sha256(json.dumps(found[:draws], sort_keys=True).encode()).hexdigest() if found else None


def agree(ours: Fingerprint, theirs: Fingerprint) -> bool:
    """Whether two fingerprints are of the same numbers, up to rounding."""
    near = partial(_near, ours, theirs)
    return ours.keys() == theirs.keys() and all(map(near, ours))


def _near(ours: Fingerprint, theirs: Fingerprint, name: str) -> bool:
    return all(abs(a - b) <= TOLERANCE * ours[name][0] for a, b in zip(ours[name], theirs[name], strict=True))


def freeze(table: Mapping[str, Sequence[Fingerprint]]) -> None:
    """Put the fingerprints of some variants into the package, beside those of the others."""
    rows = {**_table(PATH), **table}
    lines = [f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, rows[name])) + "\n ]" for name in sorted(rows)]
    write_text(PATH, "{\n" + ",\n".join(lines) + "\n}\n")
    _table.cache_clear()


@cache
def _table(path: Path) -> dict[str, list[Fingerprint]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
