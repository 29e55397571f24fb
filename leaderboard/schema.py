"""The schema of a result file, `wbench-result/2`: names, types and bounds of every field; unknown fields are refused.

`python -m wbench.leaderboard.schema_docs` generates the JSON Schema and the tables of docs/results.md from the classes below.
What the fields must say about each other is in `consistency.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = "wbench-result/2"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
Slashed = Annotated[str, Field(pattern=f"^{_NAME}(/{_NAME})?$")]  # a variant, a label with its track, a Hub id
Text = Annotated[str, Field(pattern="^[ -~]*$", max_length=4000)]  # one line of printable ASCII: no control characters
Key = Annotated[str, Field(pattern="^[ -~]{1,64}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^([0-9a-f]{40})?$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=-(10**12), le=10**12)]
Shots = Annotated[int, Field(ge=0, le=1000)]
ShotsKey = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,3})$")]
Plain = bool | int | Number | Text | None  # keeps integers integers: the contract is hashed as it is written


class Record(BaseModel):
    """Base: frozen, strict about types, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class FramedVariant(Record):
    """What of a variant's contract a score follows from; the contract holds more."""

    model_config = ConfigDict(extra="allow")
    spec: dict[Key, Plain]
    """The variant's specification; holds `agents` and `horizon`."""
    random: Whole | Number
    """Mean return that scores 0."""
    reference: Whole | Number
    """Mean return that scores 100."""


class Contract(Record):
    """Everything that defines a score. Further fields may follow: all of it is hashed."""

    model_config = ConfigDict(extra="allow")
    variants: Annotated[dict[Slashed, FramedVariant], Field(min_length=1, max_length=10_000)]
    """What is played, with its references."""
    shots: Annotated[tuple[Shots, ...], Field(min_length=1, max_length=100)]
    """Numbers of support episodes K."""
    seeds: Annotated[int, Field(ge=1, le=1000)]
    """Number of seeds."""
    episodes: Annotated[int, Field(ge=1, le=1000)]
    """Query episodes a cell."""


class Release(Record):
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


class Package(Record):
    """The Python distribution that an agent comes from."""

    name: Name
    """Distribution, `wbench` for its own agents, `unregistered` for one out of a file."""
    version: Name
    """Its version; for `unregistered` the SHA-256 of the file, `0` where it is not known."""


class Origin(Record):
    """Where a checkpoint came from. A folder is not named: paths are nobody's business."""

    kind: Literal["none", "packaged", "folder", "hub", "unknown"]
    """`none` for a fixed rule, `unknown` in files of older schemas."""
    name: Annotated[str, Field(pattern=f"^({_NAME}(/{_NAME})?)?$")]
    """Packaged name or Hub id."""
    revision: Commit
    """Commit of the Hub repository."""


class Hardware(Record):
    """What it was played on: no names of hosts, users or paths."""

    cpu: Text
    """Name of the processor."""
    cores: Count
    """Logical cores."""
    threads: Count
    """Threads of one operation."""
    device: Name
    """Where the agent computed."""


class LedgerRecord(Record):
    """What was consumed, counted by the harness: the fields of `benchmark.ledger.Ledger`; one that a file lacks is 0."""

    support_transitions: Count = 0
    """Logged agent transitions given to adapt on."""
    environment_steps: Count = 0
    """Slots that the agent played in order to learn; query episodes are not among them."""
    gradient_steps: Count = 0
    """Optimiser steps of adaptation."""
    message_bits: Count = 0
    """Bits broadcast in the query episodes."""
    planner_calls: Count = 0
    """Network evaluations made by the planner."""
    query_steps: Count = 0
    """Slots of the query episodes."""
    act_seconds: Seconds = 0.0
    """Wall-clock seconds of the query episodes alone."""
    seconds: Seconds = 0.0
    """Wall-clock seconds of adaptation and query episodes."""
    cpu_seconds: Seconds = 0.0
    """Process seconds of the same."""


class CellRecord(Record):
    """One variant at one number of shots and one seed."""

    family: Name
    """Family of the variant."""
    variant: Slashed
    """Full name of the variant."""
    shots: Shots
    """Support episodes K."""
    seed: Annotated[int, Field(ge=0, lt=1000)]
    """Pairs a support draw with query episodes."""
    return_mean: Number | None
    """Mean of `returns`; null where the cell failed."""
    score: Number | None
    """0 = random, 100 = genie; null where the cell failed."""
    returns: Annotated[tuple[Number, ...], Field(max_length=1000)]
    """Return of every query episode; empty where the cell failed."""
    qos: Annotated[dict[Name, Annotated[tuple[Number, ...], Field(max_length=1000)]], Field(max_length=64)]
    """Quality of service of every query episode, by name."""
    adaptation: Annotated[dict[Key, Plain], Field(max_length=100)]
    """Figures that the agent published about its adaptation."""
    failure: Text = ""
    """Why the cell failed; empty where it did not."""
    ledger: LedgerRecord
    """What it consumed."""


class Bounded(Record):
    """A 95 % interval; null where there are fewer than 3 seeds."""

    ci_low: Number | None
    """Lower end."""
    ci_high: Number | None
    """Upper end."""


class Iqm(Bounded):
    """An interquartile mean over variants and seeds."""

    iqm: Number
    """The interquartile mean."""


class Estimate(Bounded):
    """Any other statistic over variants and seeds."""

    value: Number
    """The statistic."""


class Summary(Iqm):
    """The scores at one number of shots, as `benchmark.statistics.summarise` has them; its own IQM is over everything."""

    mean: Estimate
    """Mean of all scores."""
    median: Estimate
    """Median over variants of the mean over seeds."""
    optimality_gap: Estimate
    """Mean distance below 100; what is above it does not make up for what is below."""
    families: dict[Name, Iqm]
    """By family."""
    variants: dict[Slashed, Iqm]
    """By variant."""


class Player(Record):
    """Who played: an agent in one of its tracks, with one checkpoint."""

    agent: Name
    """Registered name, for `--agent`."""
    label: Slashed
    """What the board shows: the name, with the track where the agent has several."""
    track: Name
    """How it learnt the target variant: `offline`, `online` or `online-pretrained`."""
    package: Package
    """Where its code comes from."""
    checkpoint: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
    """SHA-256 of the weights; empty for a fixed rule, and for a network from scratch."""
    settings: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of what its `config.json` says beyond the defaults; empty without a checkpoint, and in older files."""
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


class Row(Player):
    """A player and what it did."""

    message_floats: dict[Name, Annotated[int, Field(ge=0, le=1_000_000)]]
    """Floats that each agent broadcasts a slot, by family played."""
    complete: bool
    """Every cell of the protocol is there and none failed."""
    cells: Annotated[tuple[CellRecord, ...], Field(max_length=100_000)]
    """Every finished or failed cell."""
    summary: dict[ShotsKey, Summary | None]
    """By number of shots; null while a cell is missing or failed."""
    latency: Annotated[float, Field(ge=0, le=1e6)] | None
    """Seconds a slot of play, `act_seconds / query_steps`; null where it was not measured."""
    ledger: LedgerRecord
    """Sum over the cells."""


class Rival(Row):
    """Another agent, played on the same episodes."""

    difference: dict[ShotsKey, Iqm | None]
    """Paired difference, result minus rival; null while a cell of either is missing."""


class Result(Row):
    """A result file."""

    schema_: Annotated[Literal["wbench-result/2"], Field(alias="schema")]
    """Version of this schema."""
    protocol: Literal["quick", "lite", "full", "custom"]
    """Size of the protocol; `custom` where something was changed."""
    protocol_hash: Digest
    """SHA-256 of `contract`; rows with different hashes are never ranked together."""
    contract: Contract
    """Everything that defines a score."""
    releases: tuple[Release, ...]
    """Releases of the datasets of the families played."""
    comparison: tuple[Rival, ...]
    """Agents played on the same episodes; left out of a submission."""
    command: Text
    """Runs it again."""
    versions: dict[Name, Text]
    """Of Python and the packages that numbers depend on."""
    hardware: Hardware | None
    """What it was played on; null in files of older schemas."""

    def document(self) -> dict[str, Any]:
        """Plain data, as in the file."""
        return self.model_dump(mode="json", by_alias=True)
