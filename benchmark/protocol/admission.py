"""What the reference policies earn on every variant, site by site, and whether logs can teach anybody anything there.

`admission.json` is made by `wbench protocol admission --write` and committed. A variant is admitted if `oracle` is well ahead
of `belief`, so that there is something to know of a site, and `estimator` gets most of the way there by reading logs. Two
controls say that it is the logs: the logs of another site must not help, and an estimator that is shown the site must gain
nothing by the logs that it reads besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..agent import Agent, Support
from ..data.paths import write_rows
from ..data.support import of_columns, record_support
from ..family import Family, Variant
from ..rollout import play
from ..seeds import query_seeds

PATH = Path(__file__).with_name("admission.json")
SITES, EPISODES = 50, 4
SHOTS = (1, 5, 20)
FIXED = ("random", "prior", "belief", "oracle", "genie")
READERS = {"estimator": ("estimator", 0), "wrong": ("estimator", 1), "revealed": ("revealed", 0)}  # policy, whose logs
COLUMNS = (*FIXED, "hindsight", *(f"{name}@{shots}" for name in READERS for shots in SHOTS))
ROOM, SHARE, CLOSED, MOST = 10.0, 0.2, 0.6, 102.0  # points, of oracle - random, of oracle - belief, points
BATCH = 256  # episodes played together
TOGETHER = 10  # sites whose logs are recorded together


@dataclass(frozen=True)
class Admission:
    """Mean return by policy and site, [S] each, and what follows from it.

    Attributes:
        returns: by column of `COLUMNS`; `hindsight`, a bound that sees the future, only where the family has one.
        sites: numbers of the sites S.
    """

    returns: Mapping[str, np.ndarray]
    sites: tuple[int, ...] = ()

    def scores(self, column: str) -> np.ndarray:
        """Scores on the scale of the mean site, where random has 0 and the genie 100: [S]."""
        low, high = self.returns["random"].mean(), self.returns["genie"].mean()
        return 100.0 * (self.returns[column] - low) / (high - low)

    def score(self, column: str) -> tuple[float, float]:
        """Mean over sites, and its standard error."""
        found = self.scores(column)
        return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))

    def difference(self, column: str, other: str) -> tuple[float, float]:
        """Mean of the paired difference of scores over sites, and its standard error."""
        gap = self.scores(column) - self.scores(other)
        return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))

    def rises(self, low: str, high: str) -> bool:
        """Whether the second is ahead of the first by more than two standard errors."""
        gain, error = self.difference(high, low)
        return gain > 2.0 * error

    def failures(self) -> list[str]:
        """What keeps the variant from being admitted, in words."""
        return [*self._room(), *self._curve(), *self._controls()]

    def _room(self) -> Iterator[str]:
        room = self.difference("oracle", "belief")[0]
        if room < ROOM:
            yield f"oracle - belief is {room:.1f}, below {ROOM:g} points"
        if room < SHARE * self.difference("oracle", "random")[0]:
            yield f"oracle - belief is below {SHARE:.0%} of oracle - random"
        if (found := self.difference("estimator@20", "belief")[0]) < CLOSED * room:
            yield f"estimator@20 - belief is {found:.1f} of {room:.1f}, below {CLOSED:.0%}"
        best = max((name for name in self.returns if name != "hindsight"), key=lambda name: self.score(name)[0])
        if self.score(best)[0] > MOST:
            yield f"{best} scores {self.score(best)[0]:.1f}, above {MOST:g}: the genie is weak"

    def _curve(self) -> Iterator[str]:
        for low, high in (("belief", "estimator@1"), ("estimator@1", "estimator@20")):
            if not self.rises(low, high):
                gain, error = self.difference(high, low)
                yield f"{low} to {high}: {gain:.1f} +- {error:.1f} is no rise"

    def _controls(self) -> Iterator[str]:
        for shots in SHOTS:
            gain, error = self.difference(f"wrong@{shots}", "belief")
            if gain > 2.0 * error:
                yield f"wrong@{shots} - belief is {gain:.1f} +- {error:.1f}: logs of another site help"
        if "revealed@20" not in self.returns:
            return
        gain, error = self.difference("revealed@20", "revealed@1")
        if abs(gain) > max(2.0 * error, 0.5):
            yield f"revealed@1 to revealed@20: {gain:.1f} +- {error:.1f} is not flat"


def measure(
    family: Family, variant: Variant, sites: Sequence[int], episodes: int = EPISODES, on_part: Callable[[], None] = lambda: None
) -> Admission:
    """Play all reference policies at these sites, the same episodes for each; `on_part` is told of every column."""
    columns: dict[str, np.ndarray] = {}
    places, seeds = np.repeat(sites, episodes).tolist(), query_seeds(episodes) * len(sites)
    for name in (*FIXED, *(name for name in ("hindsight",) if name in family.policies)):
        agent = family.policies[name]()
        agent.adapt(family, variant, None)
        columns[name] = _returns(family, variant, agent, places, seeds).reshape(len(sites), episodes).mean(1)
        on_part()
    logs = logged(family, variant, sites)
    for policy in dict.fromkeys(policy for policy, _ in READERS.values() if policy in family.policies):
        for shots in SHOTS:
            read = [one.choose(range(shots)) for one in logs]
            columns |= {f"{name}@{shots}": found for name, found in _read(family, variant, policy, read, sites, episodes)}
            on_part()
    return Admission(columns, tuple(sites))


def logged(family: Family, variant: Variant, sites: Sequence[int]) -> list[Support]:
    """The support of each site, as long as any of these policies reads."""
    shots = max(SHOTS)
    turns = tuple(family.support[k % len(family.support)][0] for k in range(shots))
    found = []
    for k in range(0, len(sites), TOGETHER):
        columns = record_support(family, variant, list(sites[k : k + TOGETHER]), shots)
        found += [
            of_columns({name: column[s : s + shots] for name, column in columns.items()}, turns)
            for s in range(0, len(columns["reward"]), shots)
        ]
    return found


def _read(
    family: Family, variant: Variant, policy: str, logs: Sequence[Support], sites: Sequence[int], episodes: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Returns by site [S] of what this policy reads: an agent a log plays all columns of it, `wrong` at the site before."""
    shifts = {name: shift for name, (reader, shift) in READERS.items() if reader == policy}
    agents = [family.policies[policy]() for _ in logs]
    for agent, log in zip(agents, logs, strict=True):
        agent.adapt(family, variant, log)
    where = [[sites[(k - shift) % len(sites)] for shift in shifts.values()] for k in range(len(sites))]
    found = side_by_side(family, variant, agents, np.repeat(where, episodes, axis=1), query_seeds(episodes) * len(shifts))
    means = found.reshape(len(sites), len(shifts), episodes).mean(2)
    for column, (name, shift) in enumerate(shifts.items()):
        yield name, np.roll(means[:, column], -shift)


def side_by_side(
    family: Family, variant: Variant, agents: Sequence[Agent], sites: np.ndarray, seeds: Sequence[int]
) -> np.ndarray:
    """Returns [A, E] of A agents, each in E episodes of its own, as if each played alone.

    A policy may offer a faster way: `join(agents)` gives one agent that plays for several, each in its own equal part of a
    batch, with the same numbers.

    Args:
        family: the family.
        variant: the variant.
        agents: already adapted.
        sites: site of each agent's episodes, [A, E].
        seeds: scenario seed of each agent's episodes, the same for all of them.
    """
    found, join = [], getattr(agents[0], "join", None)
    some = max(1, BATCH // len(seeds)) if join else 1
    for k in range(0, len(agents), some):
        places, several = sites[k : k + some], agents[k : k + some]
        one = join(several) if join else several[0]
        played = play(family, variant, one, places.flatten().tolist(), list(seeds) * len(places))
        found.append(played.returns.numpy().reshape(places.shape))
    return np.concatenate(found)


def _returns(family: Family, variant: Variant, agent: Agent, sites: list[int], seeds: list[int]) -> np.ndarray:
    parts = (slice(k, k + BATCH) for k in range(0, len(sites), BATCH))
    return np.concatenate([play(family, variant, agent, sites[part], seeds[part]).returns.numpy() for part in parts])


def frozen() -> dict[str, Admission]:
    """The committed table, by variant."""
    table = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    return {
        name: Admission({column: np.array(row[column]) for column in row if column != "sites"}, tuple(row["sites"]))
        for name, row in table.items()
    }


def freeze(table: Mapping[str, Admission]) -> None:
    """Commit measurements beside those of other variants."""
    write_rows(PATH, {name: _plain(row) for name, row in (frozen() | dict(table)).items()})


def _plain(row: Admission) -> dict[str, list[Any]]:
    return {"sites": list(row.sites)} | {c: [round(float(x), 4) for x in v] for c, v in row.returns.items()}
