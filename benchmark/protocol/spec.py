"""The few-shot protocol `fewshot-v2`: what is played, where, how often, and the hash that says two scores may be compared.

A cell is (variant, held-out site, number of shots): an agent meets a site that nobody trained on, adapts on K of its logged
episodes, and plays query episodes there. Query episodes of a site are the same for every number of shots and every agent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from ...errors import UnknownNameError, require, require_known
from ..data.support import SUPPORTS
from ..family import Family, Variant
from ..registry import get_family, get_variant
from ..rollout import BITS_PER_FLOAT
from ..seeds import QUERY_SEEDS, SUPPORT_SEEDS
from ..site import RANGES, open_sealed, place, range_of, spans
from . import statistics
from .fields import OPEN, Key, Name, Number, Plain, Shots, Site, Slashed, Text, record
from .references import references
from .support import digest

VERSION = "fewshot-v2"
FAMILIES: tuple[str, ...] = ("access", "power", "offload")  # what it plays; plug-in families have protocols of their own
MAX_SITES, MAX_EPISODES, MAX_SHOTS = 1000, 1000, 50
METRIC = "100 (R - R_random) / (R_genie - R_random) by variant and site, R = mean return of the cell's query episodes"
# The text is in the hash, so it stays. Over several trainings the interval is Student's, no bootstrap: see `trainings`.
AGGREGATION = "interquartile mean over variants, sites and trainings; bootstrap over sites within variants and over trainings"
Size = Literal["quick", "lite", "full", "custom"]
MESSAGES = "mean of the other agents' messages, delivered one slot late"


@record
class Cell:
    """The unit of evaluation: one variant at one site with one number of shots."""

    family: Name
    """Family of the variant."""
    variant: Slashed
    """Full name of the variant."""
    site: Site
    """Number of the site."""
    shots: Shots
    """Support episodes K."""

    def __str__(self) -> str:
        return f"{self.variant}, {place(self.site)}, {self.shots} shots"


@with_config(OPEN)
class FramedVariant(TypedDict):
    """What of a variant's contract a score follows from; the contract holds more."""

    spec: dict[Key, Plain]
    """The variant's specification; holds `agents` and `horizon`."""
    dynamics: NotRequired[Text]
    """Version of the family's dynamics."""
    random: Annotated[list[Number], Field(min_length=1, max_length=MAX_SITES)]
    """Mean return that scores 0, at each of the sites."""
    genie: Annotated[list[Number], Field(min_length=1, max_length=MAX_SITES)]
    """Mean return that scores 100, at each of the sites."""


@with_config(OPEN)
class Contract(TypedDict):
    """Everything that defines a score, as plain data. Further fields may follow: all of it is hashed."""

    version: NotRequired[Text]
    """Version of the protocol."""
    variants: Annotated[dict[Slashed, FramedVariant], Field(min_length=1, max_length=10_000)]
    """What is played, with its references."""
    sites: Annotated[list[Site], Field(min_length=1, max_length=MAX_SITES)]
    """Numbers of the sites; every variant is played at each."""
    shots: Annotated[list[Shots], Field(min_length=1, max_length=100)]
    """Numbers of support episodes K."""
    episodes: Annotated[int, Field(ge=1, le=1000)]
    """Query episodes a cell."""
    support: NotRequired[dict[str, Any]]
    """Where support episodes come from, and digests of what they hold."""
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
        sites: numbers of the sites, in order; every variant is played at all of them.
        shots: numbers of support episodes K.
        episodes: query episodes a cell.
        support: whose logs agents adapt on: `site`, or a control: `wrong` (another site's) or `shifted` (all random).
        referee: whether sealed sites may be played; what comes of it cannot be submitted.
    """

    name: Size
    variants: tuple[str, ...]
    sites: tuple[int, ...]
    shots: tuple[int, ...]
    episodes: int
    support: str = "site"
    referee: bool = False

    def __post_init__(self) -> None:
        require(len(self.variants) > 0, "--variant", self.variants, "at least one variant")
        require(1 <= len(self.sites) <= MAX_SITES, "--sites", len(self.sites), f"1 to {MAX_SITES} sites")
        require(len({range_of(site) for site in self.sites}) == 1, "--sites", self.sites, "of one range, e.g. held-out:0-4")
        sealed = any(range_of(site) == "sealed" for site in self.sites)
        require(self.referee or not sealed, "--sites", spans(self.sites), "no sealed sites: they are the referee's")
        require(len(set(self.sites)) == len(self.sites), "--sites", spans(self.sites), "each site once")
        if sealed:
            open_sealed()
        require(len(self.shots) > 0, "--shots", self.shots, "at least one number, e.g. 0,5")
        for shots in self.shots:
            require(0 <= shots <= MAX_SHOTS, "--shots", shots, f"numbers in [0, {MAX_SHOTS}], e.g. 0,5")
        require(1 <= self.episodes <= MAX_EPISODES, "--episodes", self.episodes, f"in [1, {MAX_EPISODES}]")
        require_known("support", self.support, SUPPORTS, "--support site")

    def cells(self) -> list[Cell]:
        """Every cell, in the order in which they run."""
        return [
            Cell(name.partition("/")[0], name, site, shots)
            for name in self.variants
            for site in self.sites
            for shots in self.shots
        ]

    def families(self) -> list[str]:
        """The families that are played, in order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.variants))

    def contract(self) -> Contract:
        """Everything that defines a score, as plain data."""
        return {
            "version": VERSION,
            "variants": {name: self._variant(name) for name in self.variants},
            "sites": list(self.sites),
            "shots": list(self.shots),
            "episodes": self.episodes,
            "support": {
                "kind": self.support,
                "first_seed": SUPPORT_SEEDS,
                "policies": {name: [list(pair) for pair in get_family(name).support] for name in sorted(self.families())},
                "manifest": {name: digest(name, self.sites) for name in self.variants},
            },
            "query": {"first_seed": QUERY_SEEDS},
            "messages": {"inbox": MESSAGES, "bits_per_float": BITS_PER_FLOAT},
            "metric": METRIC,
            "aggregation": {
                "rule": AGGREGATION,
                "trim": statistics.TRIM,
                "resamples": statistics.RESAMPLES,
                "confidence": statistics.CONFIDENCE,
                "least_sites": statistics.MIN_SITES,
                "gamma": statistics.GAMMA,
            },
        }

    def hash(self) -> str:
        """SHA-256 of the contract; rows with different hashes are never ranked together."""
        return hash_of(self.contract())

    def _variant(self, name: str) -> FramedVariant:
        family, variant = get_variant(name)
        frames = [references(name, site) for site in self.sites]
        return {
            "spec": json.loads(json.dumps(asdict(variant))),  # type: ignore[call-overload]
            "dynamics": family.version,
            "random": [frame.random for frame in frames],
            "genie": [frame.genie for frame in frames],
        }


def hash_of(contract: Mapping[str, Any]) -> str:
    """The hash of a contract."""
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Size:
    """How much of each family a size of the protocol plays; `variants` None = every one."""

    shots: tuple[int, ...]
    sites: int
    episodes: int
    variants: int | None


SIZES: dict[Size, _Size] = {
    "quick": _Size((0, 5), 2, 8, 1),
    "lite": _Size((0, 1, 5, 20), 5, 20, 2),
    "full": _Size((0, 1, 2, 5, 10, 20, 50), 10, 32, None),
}


def _played(family: Family, count: int | None) -> list[Variant]:
    """One variant of training and one held out, in turns; all where there is no count."""
    train, held_out = family.select("train"), family.select("held-out")
    if count is None:
        return [*train, *held_out]
    return [train[0], held_out[0]][:count]


def protocol(
    name: str,
    *,
    families: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    sites: Sequence[int] | None = None,
    shots: Iterable[int] | None = None,
    episodes: int | None = None,
    support: str = "site",
    referee: bool = False,
) -> Protocol:
    """A size of the protocol, possibly changed; a changed one is called `custom` and has a hash of its own.

    Args:
        name: `quick`, `lite` or `full`.
        families: play these only.
        variants: play these instead.
        sites: numbers of sites instead; see `site.parse_sites`.
        shots: numbers of support episodes instead.
        episodes: query episodes a cell instead.
        support: `site`, or a control; see `Protocol`.
        referee: whether sealed sites may be played.

    Raises:
        UnknownNameError: of protocol, family, variant or support.
        InvalidValueError: a number out of bounds, or a variant of another family.
    """
    if name not in SIZES:
        raise UnknownNameError("protocol", name, SIZES, "wbench eval --protocol quick")
    size = SIZES[name]
    named = [get_family(each).name for each in families or FAMILIES]
    order = sorted(set(named), key=lambda each: FAMILIES.index(each) if each in FAMILIES else len(FAMILIES))
    chosen = [variant.name for each in map(get_family, order) for variant in _played(each, size.variants)]
    standard = Protocol(name, tuple(chosen), tuple(RANGES["held-out"][: size.sites]), size.shots, size.episodes)
    for each in variants or ():
        asked = get_variant(each)[0].name in named or not families
        require(asked, "--variant", each, f"of family {' or '.join(order)}, or leave --family out")
    changed = replace(
        standard,
        variants=tuple(dict.fromkeys(variants)) if variants and {*variants} != {*standard.variants} else standard.variants,
        sites=standard.sites if sites is None else tuple(dict.fromkeys(sites)),
        shots=tuple(sorted(set(shots))) if shots is not None else standard.shots,
        episodes=standard.episodes if episodes is None else episodes,
        support=support,
        referee=referee,
    )
    whole = set(named) == set(FAMILIES)
    return changed if changed == standard and whole else replace(changed, name="custom")
