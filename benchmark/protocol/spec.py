"""The few-shot protocol `fewshot-v1`: what is played, how often, and the hash that says two scores may be compared.

Support, practice and query episodes of a cell have scenario seeds of their own ranges, which cannot meet: support draw s is
`SUPPORT_SEEDS + s * DRAW_SIZE` and on, practice in the online tracks goes through the same scenarios as the support draw and on
to its end, the query episodes of seed s are `QUERY_SEEDS + s * DRAW_SIZE` and on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field, with_config
from typing_extensions import TypedDict

from ...errors import InvalidValueError, UnknownNameError
from ..data.recorder import SUPPORT_ORDER
from ..family import Family, Variant, require
from ..registry import get_family, get_variant
from ..rollout import BITS_PER_FLOAT
from ..seeds import DRAW_SIZE, QUERY_SEEDS, SUPPORT_SEEDS
from . import statistics
from .fields import OPEN, Key, Name, Number, Plain, Seed, Shots, Slashed, Text, Whole, record
from .references import references
from .support import DRAWS, digest

VERSION = "fewshot-v1"
FAMILIES: tuple[str, ...] = ("access", "power", "offload")  # what it plays; plug-in families have protocols of their own
MAX_SEEDS, MAX_EPISODES, MAX_SHOTS = 1000, 1000, 50
METRIC = "100 (R - R_random) / (R_reference - R_random), R = mean return of the cell's query episodes, not clipped"
AGGREGATION = "interquartile mean over variants and seeds; percentile bootstrap that resamples seeds within variants"
Size = Literal["quick", "lite", "full", "custom"]
MESSAGES = "mean of the other agents' messages, delivered one slot late"


@record
class Cell:
    """The unit of evaluation: one variant at one number of shots and one seed."""

    family: Name
    """Family of the variant."""
    variant: Slashed
    """Full name of the variant."""
    shots: Shots
    """Support episodes K."""
    seed: Seed
    """Pairs a support draw with query episodes."""


@with_config(OPEN)
class FramedVariant(TypedDict):
    """What of a variant's contract a score follows from; the contract holds more."""

    spec: dict[Key, Plain]
    """The variant's specification; holds `agents` and `horizon`."""
    dynamics: NotRequired[Text]
    """Version of the family's dynamics."""
    random: Whole | Number
    """Mean return that scores 0."""
    reference: Whole | Number
    """Mean return that scores 100."""


@with_config(OPEN)
class Contract(TypedDict):
    """Everything that defines a score, as plain data. Further fields may follow: all of it is hashed."""

    version: NotRequired[Text]
    """Version of the protocol."""
    variants: Annotated[dict[Slashed, FramedVariant], Field(min_length=1, max_length=10_000)]
    """What is played, with its references."""
    shots: Annotated[list[Shots], Field(min_length=1, max_length=100)]
    """Numbers of support episodes K."""
    seeds: Annotated[int, Field(ge=1, le=1000)]
    """Number of seeds."""
    episodes: Annotated[int, Field(ge=1, le=1000)]
    """Query episodes a cell."""
    support: NotRequired[dict[str, Any]]
    """Where support episodes come from, and digests of what they hold."""
    practice: NotRequired[dict[str, Any]]
    """Scenarios and budgets of the online tracks."""
    query: NotRequired[dict[str, Any]]
    """Scenarios of the query episodes."""
    messages: NotRequired[dict[str, Any]]
    """How messages are carried and counted."""
    metric: NotRequired[Text]
    """What a score is."""
    aggregation: NotRequired[dict[str, Any]]
    """How scores are summed up."""


@dataclass(frozen=True)
class Protocol:
    """A size of the protocol.

    Attributes:
        name: `quick`, `lite`, `full`, or `custom` where a user changed something.
        variants: full names, in order.
        shots: numbers of support episodes K.
        seeds: number of seeds; seed s pairs support draw s with query episodes of its own.
        episodes: query episodes a cell.
    """

    name: Size
    variants: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: int
    episodes: int

    def __post_init__(self) -> None:
        require(len(self.variants) > 0, "--variant", self.variants, "at least one variant")
        require(len(self.shots) > 0, "--shots", self.shots, "at least one number, e.g. 0,5")
        for shots in self.shots:
            require(0 <= shots <= MAX_SHOTS, "--shots", shots, f"numbers in [0, {MAX_SHOTS}], e.g. 0,5")
        require(1 <= self.seeds <= MAX_SEEDS, "--seeds", self.seeds, f"in [1, {MAX_SEEDS}]")
        require(1 <= self.episodes <= MAX_EPISODES, "--episodes", self.episodes, f"in [1, {MAX_EPISODES}]")

    def cells(self) -> list[Cell]:
        """Every cell, in the order in which they run."""
        return [
            Cell(name.partition("/")[0], name, shots, seed)
            for name in self.variants
            for shots in self.shots
            for seed in range(self.seeds)
        ]

    def families(self) -> list[str]:
        """The families that are played, in order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.variants))

    def contract(self) -> Contract:
        """Everything that defines a score, as plain data."""
        return {
            "version": VERSION,
            "variants": {name: self._variant(name) for name in self.variants},
            "shots": list(self.shots),
            "seeds": self.seeds,
            "episodes": self.episodes,
            "support": {
                "first_seed": SUPPORT_SEEDS,
                "draw_size": DRAW_SIZE,
                "order": list(SUPPORT_ORDER),
                "behaviours": self._behaviours(),
                "manifest": {name: digest(name, min(self.seeds, DRAWS)) for name in self.variants},
            },
            "practice": {"first_seed": SUPPORT_SEEDS, "draw_size": DRAW_SIZE, "slots": self._slots()},
            "query": {"first_seed": QUERY_SEEDS, "draw_size": DRAW_SIZE},
            "messages": {"inbox": MESSAGES, "bits_per_float": BITS_PER_FLOAT},
            "metric": METRIC,
            "aggregation": {
                "rule": AGGREGATION,
                "trim": statistics.TRIM,
                "resamples": statistics.RESAMPLES,
                "confidence": statistics.CONFIDENCE,
                "least_seeds": statistics.MIN_SEEDS,
                "gamma": statistics.GAMMA,
            },
        }

    def hash(self) -> str:
        """SHA-256 of the contract; rows with different hashes are never ranked together."""
        return hash_of(self.contract())

    def _variant(self, name: str) -> FramedVariant:
        family, variant = get_variant(name)
        frame = references(name)
        spec = json.loads(json.dumps(asdict(variant)))  # type: ignore[call-overload]
        return {"spec": spec, "dynamics": family.version, "random": frame.random, "reference": frame.reference}

    def _slots(self) -> dict[str, list[int]]:
        """The budget of the online tracks: slots by variant, one number for each number of shots."""
        return {name: [shots * get_variant(name)[1].horizon for shots in self.shots] for name in self.variants}

    def _behaviours(self) -> dict[str, Any]:
        names = {name.partition("/")[0] for name in self.variants}
        return {
            name: {quality: [list(pair) for pair in mixture] for quality, mixture in get_family(name).behaviours.items()}
            for name in sorted(names)
        }


def hash_of(contract: Mapping[str, Any]) -> str:
    """The hash of a contract."""
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Size:
    """How much of each family a size of the protocol plays; `variants` None = every held-out one."""

    shots: tuple[int, ...]
    seeds: int
    episodes: int
    variants: int | None


SIZES = {
    "quick": _Size((0, 5), 2, 8, 1),
    "lite": _Size((0, 1, 5, 20), 5, 20, 2),
    "full": _Size((0, 1, 5, 10, 20, 50), 10, 32, None),
}


def _held_out(family: Family, count: int | None) -> list[Variant]:
    """The first `count` held-out variants, in the family's own order."""
    return list(family.select("held-out")[:count])


def protocol(
    name: str,
    *,
    families: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    shots: Iterable[int] | None = None,
    seeds: int | None = None,
    episodes: int | None = None,
) -> Protocol:
    """A size of the protocol, possibly changed; a changed one is called `custom` and has a hash of its own.

    Args:
        name: `quick`, `lite` or `full`.
        families: play these only.
        variants: play these instead; train variants are allowed, for tuning.
        shots: numbers of support episodes instead.
        seeds: number of seeds instead.
        episodes: query episodes a cell instead.

    Raises:
        UnknownNameError: of protocol, family or variant.
        InvalidValueError: a number out of bounds, or a variant of another family.
    """
    if name not in SIZES:
        raise UnknownNameError("protocol", name, SIZES, "wbench eval --protocol quick")
    size = SIZES[name]
    named = [get_family(each).name for each in families or FAMILIES]
    order = sorted(set(named), key=lambda each: FAMILIES.index(each) if each in FAMILIES else len(FAMILIES))
    chosen = [variant.name for each in map(get_family, order) for variant in _held_out(each, size.variants)]
    standard = Protocol(cast("Size", name), tuple(chosen), size.shots, size.seeds, size.episodes)
    if variants:
        for each in variants:
            if families and get_variant(each)[0].name not in named:
                raise InvalidValueError("--variant", each, f"of family {' or '.join(order)}, or leave --family out")
            get_variant(each)
    changed = replace(
        standard,
        variants=tuple(dict.fromkeys(variants)) if variants and {*variants} != {*standard.variants} else standard.variants,
        shots=tuple(sorted(set(shots))) if shots is not None else standard.shots,
        seeds=standard.seeds if seeds is None else seeds,
        episodes=standard.episodes if episodes is None else episodes,
    )
    whole = set(named) == set(FAMILIES)
    return changed if changed == standard and whole else replace(changed, name="custom")
