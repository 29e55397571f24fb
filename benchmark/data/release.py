"""What a release holds, and how each of its files is recorded from seeds.

One folder a family: `FAMILY-RELEASE-vVERSION/` with `README.md`, `manifest.json`, `data/LABEL/QUALITY.parquet` of every train
variant (its train sites, by quality; `support` is one of them) and `support/LABEL/held-out.parquet` of every variant (the
support episodes of held-out sites). Sites of a file follow each other, and so do the episodes of a site.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from ...errors import DataError, InvalidValueError, require_known
from ..family import Family, Variant
from ..processes import die_with_parent, keep_memory, one_thread, spawn_context
from ..registry import get_family
from ..seeds import train_seeds
from ..site import RANGES
from . import recorder, shards
from .manifest import CITATION, LICENCE, FileEntry, Manifest
from .paths import datasets_root, writing
from .schema import FORMAT_VERSION, HELD_OUT, SUPPORT, TRAIN_FILES
from .support import record_support

PACKAGES = ("wbench", "torch", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True)
class Release:
    """A size of the datasets, at a version that never changes once published.

    Attributes:
        name: what the user types.
        version: x.y.z.
        sites: train sites of a family, spread evenly over its train variants.
        episodes: episodes of a train site, by train file.
        held_out: held-out sites of every variant.
        shots: support episodes of each of them.
    """

    name: str
    version: str
    sites: int
    episodes: Mapping[str, int]
    held_out: int
    shots: int

    @property
    def id(self) -> str:
        """E.g. `mini-v2.0.0`."""
        return f"{self.name}-v{self.version}"

    @property
    def tag(self) -> str:
        """Its git tag on the Hub: `v2.0.0` for `standard`, `mini-v2.0.0` for `mini`."""
        return f"v{self.version}" if self.name == "standard" else self.id


_FEW = dict.fromkeys(TRAIN_FILES, 1)
_MANY = {"random": 1, "medium": 1, "expert": 3, "mixed": 1, SUPPORT: 6}  # many sites with few episodes each
RELEASES = {r.name: r for r in (Release("mini", "2.0.0", 200, _FEW, 2, 5), Release("standard", "2.0.0", 640, _MANY, 5, 20))}


def get_release(name: str) -> Release:
    """The release of this name; raises `UnknownNameError`."""
    require_known("release", name, RELEASES, "wbench data list")
    return RELEASES[name]


def release_of_tag(tag: str) -> Release | None:
    """The release that a Hub tag stands for, if any."""
    return next((release for release in RELEASES.values() if release.tag == tag), None)


def dataset_folder(family: Family, release: Release, root: Path | None = None) -> Path:
    """The folder of a family's release."""
    return datasets_root(root) / f"{family.name}-{release.id}"


def label(variant: Variant) -> str:
    """The variant's name without its family."""
    return variant.name.partition("/")[2]


@dataclass(frozen=True)
class Shard:
    """One file of a release.

    Attributes:
        variant: full name of the variant.
        quality: one of `schema.TRAIN_FILES`, or `held-out`: support episodes of held-out sites.
        sites: how many sites it holds, the first ones of their range.
        episodes: how many of each site.
    """

    variant: str
    quality: str
    sites: int
    episodes: int

    @property
    def path(self) -> str:
        """Relative to the dataset's folder."""
        return f"{'support' if self.quality == HELD_OUT else 'data'}/{self.variant.partition('/')[2]}/{self.quality}.parquet"

    @property
    def numbers(self) -> list[int]:
        """Numbers of its sites."""
        return list(RANGES[HELD_OUT if self.quality == HELD_OUT else "train"][: self.sites])

    @property
    def places(self) -> list[int]:
        """The site of each of its episodes."""
        return [site for site in self.numbers for _ in range(self.episodes)]

    def rows(self, family: Family) -> int:
        """How many rows it has: one a slot, and one more an episode."""
        return self.sites * self.episodes * (family.variant(self.variant).horizon + 1)

    def about(self, family: Family) -> dict[str, object]:
        """What the file says of itself in its footer."""
        return {**asdict(self), "dynamics": family.version, "format": FORMAT_VERSION}


def contents(family: Family, release: Release) -> tuple[Shard, ...]:
    """Every file of a release, in order."""
    variants = family.select("train")
    sites = -(-release.sites // max(len(variants), 1))
    train = [Shard(v.name, quality, sites, release.episodes[quality]) for v in variants for quality in TRAIN_FILES]
    return (*train, *(Shard(name, HELD_OUT, release.held_out, release.shots) for name in family.variants))


def transitions(family: Family, shard: Shard) -> int:
    """Agent transitions of a file."""
    variant = family.variant(shard.variant)
    return variant.horizon * variant.agents * shard.sites * shard.episodes


def train_files(family: Family, release: Release) -> list[Shard]:
    """The files that agents train on."""
    return [shard for shard in contents(family, release) if shard.quality != HELD_OUT]


def select(
    family: Family, release: Release, variants: Sequence[str] | None = None, qualities: Sequence[str] | None = None
) -> tuple[Shard, ...]:
    """The files of some variants (full names or labels) and qualities (`held-out` is one of them).

    Raises:
        UnknownNameError: of a variant or quality.
        InvalidValueError: nothing is left.
    """
    names = {name if "/" in name else f"{family.name}/{name}" for name in variants or ()}
    for name in names:
        family.variant(name)
    for quality in qualities or ():
        require_known("quality", quality, (*TRAIN_FILES, HELD_OUT), f"wbench show {family.name}")
    chosen = tuple(
        shard
        for shard in contents(family, release)
        if (not names or shard.variant in names) and (not qualities or shard.quality in qualities)
    )
    if not chosen:
        raise InvalidValueError(
            "--quality", list(qualities or ()), "left out, or held-out, for held-out variants: they have that file only"
        )
    return chosen


def identity(family: Family, release: Release) -> dict[str, str]:
    """What the manifest of this release must say (see `Manifest.identity`)."""
    named = {"release": release.name, "version": release.version, "family": family.name}
    return {**named, "dynamics": family.version, "format": FORMAT_VERSION}


def manifest_of(family: Family, release: Release, entries: dict[str, FileEntry]) -> Manifest:
    """The manifest of files that were recorded here."""
    generator = {name: version_of(name) for name in PACKAGES}
    generator |= {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    files = tuple(entries[shard.path] for shard in contents(family, release))
    about: dict[str, Any] = {**identity(family, release), "licence": LICENCE, "citation": CITATION}
    return Manifest(**about, generator=generator, files=files)


def record(family: Family, shard: Shard, folder: Path) -> FileEntry:
    """Record one file into its place, in this process and on one thread: numbers must not depend on the machine's cores."""
    variant = family.variant(shard.variant)
    keep_memory()
    with one_thread():
        if shard.quality == HELD_OUT:
            columns = record_support(family, variant, shard.numbers, shard.episodes)
        else:
            seeds = train_seeds(TRAIN_FILES.index(shard.quality), len(shard.places))
            columns = recorder.record(family, variant, recorder.mixture(family, shard.quality), shard.places, seeds)
    path = folder / shard.path
    with writing(folder):
        table = shards.write(path, family, variant, columns, shard.about(family))
        return shards.describe(path, shard.path, table)


def record_all(family: Family, wanted: Sequence[Shard], folder: Path, jobs: int = 1) -> Iterator[tuple[Shard, FileEntry]]:
    """Record files, with several processes if asked to, and yield each when it is in place."""
    if jobs == 1 or len(wanted) < 2:
        for shard in wanted:
            yield shard, record(family, shard, folder)
        return
    get_family(family.name)  # the processes find it by name
    pool = ProcessPoolExecutor(min(jobs, len(wanted)), spawn_context(), initializer=die_with_parent)
    try:
        running = {pool.submit(_record_by_name, family.name, shard, folder): shard for shard in wanted}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise DataError("a recording process died (out of memory?). The same command goes on; try fewer --jobs.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _record_by_name(family: str, shard: Shard, folder: Path) -> FileEntry:
    return record(get_family(family), shard, folder)
