"""What a release holds, and how each of its files is recorded from seeds.

One folder a family: `FAMILY-RELEASE-vVERSION/` with `README.md`, `manifest.json`, `data/LABEL/QUALITY.parquet` of every train
variant and `support/LABEL/draw-D.parquet` of every held-out one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from ...errors import DataError, InvalidValueError, UnknownNameError
from ..family import QUALITIES, Family, Variant
from ..processes import die_with_parent, one_thread, spawn_context
from ..registry import get_family
from . import shards
from .manifest import CITATION, LICENCE, FileEntry, Manifest
from .paths import datasets_root, writing
from .recorder import record_quality, record_support, train_seeds
from .schema import FORMAT_VERSION

PACKAGES = ("wbench", "torch", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True)
class Release:
    """A size of the datasets, at a version that never changes once published.

    Attributes:
        name: what the user types.
        version: x.y.z.
        episodes: episodes of every (train variant, quality).
        support_episodes: episodes of every support draw.
        draws: support draws of every held-out variant.
    """

    name: str
    version: str
    episodes: int
    support_episodes: int
    draws: int

    @property
    def id(self) -> str:
        """E.g. `mini-v1.1.0`."""
        return f"{self.name}-v{self.version}"

    @property
    def tag(self) -> str:
        """Its git tag on the Hub: `v1.1.0` for `standard`, `mini-v1.1.0` for `mini`."""
        return f"v{self.version}" if self.name == "standard" else self.id


RELEASES = {r.name: r for r in (Release("mini", "1.1.0", 8, 5, 2), Release("standard", "1.1.0", 64, 50, 10))}


def get_release(name: str) -> Release:
    """The release of this name; raises `UnknownNameError`."""
    if name not in RELEASES:
        raise UnknownNameError("release", name, RELEASES, "wbench data list")
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
    """One file of a release: a train variant and a quality, or a held-out variant and a support draw.

    Attributes:
        variant: full name of the variant.
        quality: of a train file, else None.
        draw: of a support file, else None.
        episodes: how many it holds.
    """

    variant: str
    quality: str | None
    draw: int | None
    episodes: int

    @property
    def path(self) -> str:
        """Relative to the dataset's folder."""
        name = self.variant.partition("/")[2]
        return f"data/{name}/{self.quality}.parquet" if self.draw is None else f"support/{name}/draw-{self.draw}.parquet"

    def about(self, family: Family) -> dict[str, object]:
        """What the file says of itself in its footer."""
        what = {"variant": self.variant, "quality": self.quality, "draw": self.draw, "episodes": self.episodes}
        return {**what, "dynamics": family.version, "format": FORMAT_VERSION}


def contents(family: Family, release: Release) -> tuple[Shard, ...]:
    """Every file of a release, in order."""
    train = [Shard(v.name, quality, None, release.episodes) for v in family.select("train") for quality in QUALITIES]
    held_out = family.select("held-out")
    return (*train, *(Shard(v.name, None, d, release.support_episodes) for v in held_out for d in range(release.draws)))


def select(
    family: Family, release: Release, variants: Sequence[str] | None = None, qualities: Sequence[str] | None = None
) -> tuple[Shard, ...]:
    """The files of some variants (full names or labels) and qualities; support files only where no quality is asked for.

    Raises:
        UnknownNameError: of a variant or quality.
        InvalidValueError: nothing is left.
    """
    names = {name if "/" in name else f"{family.name}/{name}" for name in variants or ()}
    for name in names:
        family.variant(name)
    for quality in qualities or ():
        if quality not in QUALITIES:
            raise UnknownNameError("quality", quality, QUALITIES, f"wbench show {family.name}")
    chosen = tuple(
        shard
        for shard in contents(family, release)
        if (not names or shard.variant in names) and (not qualities or shard.quality in qualities)
    )
    if not chosen:
        raise InvalidValueError(
            "--quality", list(qualities or ()), "left out for held-out variants: they have support files only"
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
    return Manifest(**identity(family, release), licence=LICENCE, citation=CITATION, generator=generator, files=files)


def record(family: Family, shard: Shard, folder: Path) -> FileEntry:
    """Record one file into its place, in this process and on one thread: numbers must not depend on the machine's cores."""
    variant = family.variant(shard.variant)
    with one_thread():
        if shard.quality is not None:
            columns = record_quality(family, variant, shard.quality, train_seeds(shard.quality, shard.episodes))
        else:
            assert shard.draw is not None
            columns = record_support(family, variant, shard.draw, shard.episodes)
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
