"""Reading the offline data: as a `datasets.Dataset` or as contiguous arrays. What is missing is downloaded or recorded first.

    data = wbench.load_dataset("access/n8-c1-load0.4", quality="mixed")        # transitions of a train variant
    data = wbench.load_dataset("access/n8-c1-load0.5", shots=5, draw=0)        # support episodes of a held-out one

Only the files that are needed are fetched, and every file is verified each time it is opened. The folders also read with no
wbench code: `datasets.load_dataset(FOLDER, "n8-c1-load0.4", split="mixed")`, pandas, DuckDB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ...errors import DataError, InvalidValueError, UnknownNameError
from ..family import QUALITIES, Family, Variant, require
from ..registry import all_families, get_variant
from . import shards
from .cache import Cache
from .download import mirrors_for, obtain_into
from .manifest import shipped
from .paths import datasets_root, inside
from .recorder import Columns
from .release import RELEASES, Release, Shard, contents, dataset_folder, get_release
from .schema import features

if TYPE_CHECKING:
    from datasets import Dataset


def load_dataset(
    name: str,
    quality: str | None = None,
    release: str = "mini",
    root: Path | None = None,
    *,
    shots: int | None = None,
    draw: int | None = None,
) -> Dataset:
    """Transitions in time order, as a `datasets.Dataset` in memory.

    Args:
        name: full variant name, e.g. `access/n8-c1-load0.4`.
        quality: of a train variant: `random`, `medium`, `expert` or `mixed` (the default).
        release: `mini` or `standard`.
        root: folder of the datasets; default: wbench's cache.
        shots: the first so many episodes only; default: all of the file.
        draw: of a held-out variant: which support draw; default 0. Episode k is of quality
            `mixed, expert, medium, random`[k mod 4], and the same that the protocol's seed `draw` adapts on.

    Raises:
        UnknownNameError: of variant, quality or release.
        InvalidValueError: more shots or draws than the release holds.
        DataError: a file is damaged.
    """
    family, variant = get_variant(name)
    size = get_release(release)
    shard = _shard(family, variant, size, quality, draw)
    table = read(Cache(family, size, root), shard)
    if shots is not None:
        require(1 <= shots <= shard.episodes, "shots", shots, f"in [1, {shard.episodes}] in release {size.name}")
        table = table.slice(0, shots * variant.horizon)
    return _dataset(table, family, variant, shard)


def load_columns(family: Family, variant: Variant, quality: str, release: Release, root: Path | None = None) -> Columns:
    """A train file as contiguous arrays [E, T, ...]; `behaviour` is [E]."""
    shard = _shard(family, variant, release, quality, None)
    return shards.to_columns(read(Cache(family, release, root), shard), family, variant)


def read(cache: Cache, shard: Shard) -> pa.Table:
    """A verified file; fetched first if it is missing, refused if it is damaged."""
    ensure(cache, [shard])
    try:
        cache.check(shard)
    except DataError as error:
        hint = f"wbench download {cache.family.name} --release {cache.release.name} --variant {shard.variant}"
        where = f" --to {cache.root}" if cache.root else ""
        raise DataError(f"{error} Repair it with: {hint}{where}") from error
    return shards.read(inside(cache.folder, shard.path))


def ensure(cache: Cache, wanted: Sequence[Shard]) -> None:
    """Have these files here; says on standard error what it does, and how far it is."""
    family, release = cache.family, cache.release
    missing = [shard for shard in wanted if not inside(cache.folder, shard.path).is_file()]
    if not missing:
        return
    say(f"{family.name} {release.name}: getting {len(missing)} files into {cache.folder}")
    start = said = time.monotonic()
    count = 0

    def on_file(_: Shard) -> None:
        nonlocal said, count
        count += 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"{family.name} {release.name}: {count} of {len(missing)} files, {said - start:.0f} s")

    obtain_into(cache, missing, mirrors=mirrors_for(family, release), on_file=on_file, note=say)


def say(text: str) -> None:
    """Tell the user on standard error what the library is busy with."""
    print(f"wbench: {text}", file=sys.stderr, flush=True)


def _shard(family: Family, variant: Variant, release: Release, quality: str | None, draw: int | None) -> Shard:
    """The file that holds what was asked for."""
    if variant.split == "train":
        if draw is not None:
            raise InvalidValueError("draw", draw, f"left out: {variant.name} is a train variant, which has qualities")
        quality = quality or "mixed"
        if quality not in QUALITIES:
            raise UnknownNameError("quality", quality, QUALITIES, f"wbench show {family.name}")
        return Shard(variant.name, quality, None, release.episodes)
    if quality is not None:
        allowed = [v.name for v in family.select("train")]
        hint = f'load_dataset("{variant.name}", shots=5) for the support episodes of this held-out variant'
        raise UnknownNameError("train variant", variant.name, allowed, hint)
    draw = draw or 0
    require(0 <= draw < release.draws, "draw", draw, f"in [0, {release.draws - 1}] in release {release.name}")
    return Shard(variant.name, None, draw, release.support_episodes)


def _dataset(table: pa.Table, family: Family, variant: Variant, shard: Shard) -> Dataset:
    import datasets
    from datasets.table import InMemoryTable, table_cast

    wanted = features(family, variant)
    cast = table_cast(table.replace_schema_metadata(None), wanted.arrow_schema)
    split = shard.quality or f"draw{shard.draw}"
    info = datasets.DatasetInfo(features=wanted, license="cc-by-4.0")
    return datasets.Dataset(InMemoryTable(cast), info=info, split=datasets.NamedSplit(split))


def list_datasets(root: Path | None = None) -> list[dict[str, int | str | bool]]:
    """Every release of every family: files, size, and what of it is here (by name, not verified)."""
    rows: list[dict[str, int | str | bool]] = []
    for family in all_families():
        for release in RELEASES.values():
            folder = dataset_folder(family, release, datasets_root(root))
            files = contents(family, release)
            here = [folder / shard.path for shard in files if (folder / shard.path).is_file()]
            slots = sum(family.variant(s.variant).horizon * family.variant(s.variant).agents * s.episodes for s in files)
            rows.append(
                {
                    "family": family.name,
                    "release": release.name,
                    "version": release.version,
                    "tag": release.tag,
                    "files": len(files),
                    "agent_transitions": slots,
                    "here": len(here),
                    "bytes": sum(path.stat().st_size for path in here),
                    "manifest": shipped(family.name, release.id) is not None,
                    "folder": str(folder),
                }
            )
    return rows
