"""Frozen references: the returns that score 0 and 100 on every variant, and the admission rule.

`wbench protocol admission --write` generates `references.json`, which is committed; it frames scores, never a fresh run.
A family of another package names a file of its own (`Family.references`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

from ...errors import DataError
from ..data.paths import write_atomically
from ..family import Family, Variant
from ..registry import get_family
from ..rollout import play
from ..seeds import REFERENCE_SEEDS
from . import statistics

PATH = Path(__file__).with_name("references.json")
EPISODES = 1000
BATCH = 250


@dataclass(frozen=True)
class Admission:
    """Mean return of the four framing policies on a variant, with standard errors.

    Attributes:
        random: scores 0.
        greedy: the private greedy policy.
        heuristic: the informed decentralised one.
        reference: the genie, scores 100.
        errors: standard errors, in this order.
        episodes: episodes behind each.
    """

    random: float
    greedy: float
    heuristic: float
    reference: float
    errors: tuple[float, float, float, float]
    episodes: int

    def score(self, value: float) -> float:
        """The score of a mean return."""
        return statistics.score(value, self.random, self.reference)

    def admitted(self) -> bool:
        """Room of 20 % of the reference or more, and an informed heuristic that beats the private greedy one."""
        return self.reference - self.random >= 0.2 * abs(self.reference) and self.heuristic > self.greedy


def measure(family: Family, variant: Variant, episodes: int = EPISODES) -> Admission:
    """Play the framing policies on the reference scenarios of a variant."""
    means: list[float] = []
    errors: list[float] = []
    for policy in (family.random, family.greedy, family.heuristic, family.reference):
        total = square = 0.0
        for first in range(0, episodes, BATCH):
            seeds = range(REFERENCE_SEEDS + first, REFERENCE_SEEDS + min(first + BATCH, episodes))
            returns = play(family, variant, family.policies[policy](), seeds).returns
            total += float(returns.sum())
            square += float(returns.square().sum())
        mean = total / episodes
        means.append(round(mean, 6))
        errors.append(round(math.sqrt(max(square / episodes - mean**2, 0.0) / episodes), 6))
    return Admission(means[0], means[1], means[2], means[3], (errors[0], errors[1], errors[2], errors[3]), episodes)


def _file(variant: str) -> Path:
    """Where the references of a variant are kept: the family's own file, or the package's."""
    return get_family(variant.partition("/")[0]).references or PATH


@cache
def _frozen(path: Path) -> dict[str, Admission]:
    if not path.exists():
        return {}
    table = json.loads(path.read_text(encoding="utf-8"))
    return {name: Admission(**{**row, "errors": tuple(row["errors"])}) for name, row in table.items()}


def references(variant: str) -> Admission:
    """The frozen references of a variant; raises `DataError` where there are none."""
    frozen = _frozen(_file(variant))
    if variant not in frozen:
        family = variant.partition("/")[0]
        raise DataError(
            f"no frozen references for {variant}. Measure them with: wbench protocol admission --family {family} --write"
        )
    return frozen[variant]


def admission_page(families: Iterable[str]) -> str:
    """The frozen table as Markdown: mean return and standard error of the framing policies on all variants of families."""
    lines = ["# Admission table", "", "Mean return of an episode +- standard error. " + _RULE, ""]
    for name in families:
        family = get_family(name)
        roles = (family.random, family.greedy, family.heuristic, family.reference)
        lines += [
            f"## `{name}`",
            "",
            "| variant | " + " | ".join(roles) + " | heuristic scores | admitted |",
            "| --- " * 7 + "|",
        ]
        for variant in family.variants.values():
            row = references(variant.name)
            means = zip((row.random, row.greedy, row.heuristic, row.reference), row.errors, strict=True)
            cells = " | ".join(f"{mean:.2f} +- {error:.2f}" for mean, error in means)
            label = f"`{variant.name.partition('/')[2]}`" + (" (held out)" if variant.split == "held-out" else "")
            lines.append(f"| {label} | {cells} | {row.score(row.heuristic):.1f} | {'yes' if row.admitted() else 'NO'} |")
        lines.append("")
    return "\n".join(lines)


_RULE = (
    "Columns: random (scores 0), private greedy, informed decentralised heuristic, genie (scores 100). A variant is "
    "admitted if genie - random is at least 20 % of the genie's magnitude and the heuristic beats the greedy rule. Made by "
    "`wbench protocol admission --write` and `python docs/build.py`."
)


def write(table: dict[str, Admission]) -> None:
    """Freeze a table, beside the rows that its files already hold."""
    for path in {_file(name) for name in table}:
        rows = _frozen(path) | {name: row for name, row in table.items() if _file(name) == path}
        text = json.dumps({name: asdict(row) for name, row in sorted(rows.items())}, indent=1)
        write_atomically(path, partial(_write_text, text + "\n"))
    _frozen.cache_clear()


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
