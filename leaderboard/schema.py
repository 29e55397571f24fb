"""What a result file says besides the cells: where an agent, its checkpoint and the data come from, and what a row holds.

Costs, cells and summaries are records of `benchmark.protocol`; `result.Result` puts all of them together. What the fields must
say about each other is in `reading.py`. `python -m wbench.leaderboard.schema_docs` generates the JSON Schema and the tables of
docs/reference/results.md from these classes.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ..benchmark.protocol.fields import (
    Commit,
    Count,
    Digest,
    MaybeDigest,
    MaybeSlashed,
    Name,
    ShotsKey,
    Slashed,
    Text,
    record,
)
from ..benchmark.protocol.ledger import Ledger
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.statistics import Interval, Summary

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_CELLS = 100_000


@record
class Release:
    """A release of a family's datasets, as the package that played knew it."""

    family: Name
    """Family of tasks."""
    release: Name
    """Its name, such as `standard`."""
    version: Name
    """Version of the release."""
    dynamics: Name
    """Version of the family's dynamics."""
    manifest: Digest
    """SHA-256 of the manifest in the package."""


@record
class Package:
    """The Python distribution that an agent comes from."""

    name: Name
    """Distribution, `wbench` for its own agents, `unregistered` for one out of a file."""
    version: Name
    """Its version; for `unregistered` the SHA-256 of the file, `0` where it is not known."""


@record
class Origin:
    """Where a checkpoint came from. A folder is not named: paths are nobody's business."""

    kind: Literal["none", "packaged", "folder", "hub"]
    """`none` for a fixed rule, and for a network from scratch."""
    name: MaybeSlashed
    """Packaged name or Hub id."""
    revision: Commit
    """Commit of the Hub repository."""


@record
class Hardware:
    """What it was played on: no names of hosts, users or paths."""

    cpu: Text
    """Name of the processor."""
    cores: Count
    """Logical cores."""
    threads: Count
    """Threads of one operation."""
    device: Name
    """Where the agent computed."""


@record
class AgentRecord:
    """Which agent played: in one of its tracks, with one checkpoint."""

    agent: Name
    """Registered name, for `--agent`."""
    label: Slashed
    """What the board shows: the name, with the track where the agent has several."""
    track: Name
    """What it used before it met a site: `offline`, `online` or `scratch`, see the glossary."""
    package: Package
    """Where its code comes from."""
    checkpoint: MaybeDigest
    """SHA-256 of the weights; empty for a fixed rule, and for a network from scratch."""
    settings: MaybeDigest
    """SHA-256 of what its `config.json` says beyond the defaults; empty without a checkpoint."""
    recipe: MaybeDigest = field(default="", kw_only=True)
    """SHA-256 of how the checkpoint was trained, but for the seed; files that agree in it are trainings of one row."""
    origin: Origin
    """Where the checkpoint came from."""
    parameters: Count
    """Trained parameters."""
    privileged: bool
    """Sees hidden state when acting: a reference, never ranked."""
    privileged_training: bool
    """A part of it saw global state in training."""
    source_transitions: Count
    """Logged agent transitions of train variants behind its checkpoint."""
    source_steps: Count
    """Environment steps in train variants behind its checkpoint."""

    def agent_record(self) -> AgentRecord:
        """This part of a row alone."""
        return AgentRecord(**{one.name: getattr(self, one.name) for one in fields(AgentRecord)})


@record
class Row(AgentRecord):
    """An agent and what it did."""

    message_floats: dict[Name, Annotated[int, Field(ge=0, le=1_000_000)]]
    """Floats that each agent broadcasts a slot, by family played."""
    complete: bool
    """Every cell of the protocol is there and none failed."""
    cells: Annotated[tuple[CellResult, ...], Field(max_length=MOST_CELLS)]
    """Every finished or failed cell."""
    summary: dict[ShotsKey, Summary | None]
    """By number of shots; null while a cell is missing or failed."""
    gain: dict[ShotsKey, Interval | None]
    """Adaptation gain by number of shots: the paired difference from zero shots; null while a cell of either is missing."""
    latency: Annotated[float, Field(ge=0, le=1e6)] | None
    """Seconds a slot of play, `act_seconds / query_steps`; null where it was not measured."""
    ledger: Ledger
    """Sum over the cells."""

    @property
    def scores(self) -> DataFrame:
        """A line a cell: what it is, its score, mean return, costs, and the reason where the agent failed."""
        import pandas as pd

        about = ("family", "variant", "site", "shots", "score", "return_mean", "failure")
        costs = [one.name for one in fields(Ledger)]
        lines = [[getattr(c, name) for name in about] + [getattr(c.ledger, name) for name in costs] for c in self.cells]
        return pd.DataFrame(lines, columns=[*about, *costs])

    @property
    def failed(self) -> list[CellResult]:
        """The cells in which the agent failed."""
        return [cell for cell in self.cells if cell.failure]


@record
class Rival(Row):
    """Another agent, played on the same episodes."""

    difference: dict[ShotsKey, Interval | None]
    """Paired difference, result minus rival; null while a cell of either is missing."""
