"""Reading the offline data: as a `datasets.Dataset`, arrays or memory maps. What is missing is downloaded or recorded first.

    data = wbench.load_dataset("access/n8-c3-load0.25-l48", quality="mixed")         # train sites of a train variant
    data = wbench.load_dataset("access/n8-c3-load0.2-l56", site=0, shots=5)          # support of a held-out site

Only the files that are needed are fetched, and every file is verified each time it is opened. The folders also read with no
wbench code: `datasets.load_dataset(FOLDER, "n8-c3-load0.25-l48", split="mixed")`, pandas, DuckDB.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ...console import note
from ...errors import DataError, UnknownNameError, require, require_known
from ..family import QUALITIES, Family, Variant
from ..registry import all_families, get_variant
from . import shards
from .cache import MAPS, Cache, Receipt
from .download import mirrors_for, obtain
from .manifest import shipped
from .paths import locked, seal, sealed, writable, writing
from .recorder import Columns, support_qualities
from .release import RELEASES, Release, Shard, contents, dataset_folder, get_release, label, train_files, transitions
from .schema import HELD_OUT, SUPPORT, TRAIN_FILES, features

if TYPE_CHECKING:
    from datasets import Dataset


MAPPED = ("obs", "action", "action_mask", "reward")
NUMBERS = ("site", "quality", "telling")  # one number an episode, read into memory
TELLING = ("random", "medium", SUPPORT)  # files whose policies are not told the site, as those of a support are not
MAPS_FORMAT = 2  # of the maps: a change of what they hold needs a new number
_MAKING = ".making-"


def load_dataset(
    name: str,
    quality: str | None = None,
    release: str = "mini",
    root: str | Path | None = None,
    *,
    site: int | None = None,
    shots: int | None = None,
) -> Dataset:
    """Slots in time order, as a `datasets.Dataset` in memory; every episode ends with a row `last` (see `schema`).

    Args:
        name: full variant name, e.g. `access/n8-c3-load0.25-l48`.
        quality: `random`, `medium`, `expert`, `mixed` or `support`, at train sites of a train variant; or `held-out`: the
            support episodes of held-out sites. Default: `mixed` for a train variant, `held-out` for a held-out one.
        release: `mini` or `standard`.
        root: folder of the datasets; default: wbench's cache.
        site: this site only, counted from 0 within the file; default: all of them.
        shots: the first so many episodes of each site only; default: all. At held-out sites these are the very episodes that
            agents adapt on, with observations in half precision.

    Raises:
        UnknownNameError: of variant, quality or release.
        InvalidValueError: more sites or shots than the release holds.
        DataError: a file is damaged.
    """
    family, variant = get_variant(name)
    size = get_release(release)
    require(root is None or isinstance(root, str | Path), "root", root, "the path of a folder")
    shard = _shard(family, variant, size, quality)
    for what, given, low, high in (("site", site, 0, shard.sites - 1), ("shots", shots, 1, shard.episodes)):
        fine = given is None or (type(given) is int and low <= given <= high)
        require(fine, what, given, f"a whole number in [{low}, {high}] in release {size.name}")
    table = read(Cache(family, size, None if root is None else Path(root).expanduser()), shard)
    if site is not None or shots is not None:
        table = _part(table, shard, variant, range(shard.sites) if site is None else [site], shots or shard.episodes)
    return _dataset(table, family, variant, shard)


def _part(table: pa.Table, shard: Shard, variant: Variant, sites: Sequence[int], shots: int) -> pa.Table:
    """The first episodes of some sites of a file."""
    rows = variant.horizon + 1
    return pa.concat_tables([table.slice(site * shard.episodes * rows, shots * rows) for site in sites]).combine_chunks()


def load_columns(family: Family, variant: Variant, quality: str, release: Release, root: Path | None = None) -> Columns:
    """A file as contiguous arrays, see `recorder.record`."""
    shard = _shard(family, variant, release, quality)
    return shards.to_columns(read(Cache(family, release, root), shard), family, variant)


def read(cache: Cache, shard: Shard) -> pa.Table:
    """A verified file; fetched first if it is missing, refused if it is damaged."""
    ensure(cache, [shard])
    _require(cache, shard)
    return shards.read(cache.path(shard))


def _require(cache: Cache, shard: Shard) -> Receipt:
    """What is known of a file that is here; it is refused if it is damaged."""
    try:
        if (receipt := cache.check(shard)) is None:
            raise DataError(f"{shard.path} is gone.")
        return receipt
    except DataError as error:
        hint = f"wbench download {cache.family.name} --release {cache.release.name} --variant {shard.variant}"
        where = f" --to {shlex.quote(str(cache.root))}" if cache.root else ""
        raise DataError(f"{error} Repair it with: {hint}{where}") from error


def ensure(cache: Cache, wanted: Sequence[Shard]) -> None:
    """Have these files here; says on standard error what it does, and how far it is."""
    family, release = cache.family, cache.release
    missing = [shard for shard in wanted if not cache.path(shard).is_file()]
    if not missing:
        return
    files = "1 file" if len(missing) == 1 else f"{len(missing)} files"
    note(f"{family.name} {release.name}: getting {files} into {cache.folder}")
    start = said = time.monotonic()
    count = 0

    def on_file(_: Shard) -> None:
        nonlocal said, count
        count += 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            note(f"{family.name} {release.name}: {count} of {files}, {said - start:.0f} s")

    obtain(cache, missing, mirrors=mirrors_for(family, release), on_file=on_file, note=note)


def map_columns(cache: Cache, variant: Variant) -> dict[str, Tensor]:
    """All train files of a variant after each other, as memory maps; the files are here, see `ensure`.

    The maps are kept beside the release, in `.windows`, with the SHA-256 of each and of the files that they were made from;
    when either has changed they are made again. Where the folder may not be written, the columns are read into memory instead.

    Returns:
        obs and action_mask [E, T + 1, ...], action and reward [E, T, ...]; and [E] each: `site`, `quality` (an index into
        `family.QUALITIES`), `telling` (whether the episode may stand in a context, as an episode of a support does).

    Raises:
        DataError: a train file is damaged, or gone.
        OutputError: the disk is full.
    """
    wanted = [shard for shard in train_files(cache.family, cache.release) if shard.variant == variant.name]
    folder = cache.folder / MAPS / label(variant)
    about = {"format": MAPS_FORMAT, "files": [[shard.path, _require(cache, shard).entry.sha256] for shard in wanted]}
    if sealed(folder) != about:
        if not writable(folder):
            note(f"{cache.folder} may not be written: {variant.name} is held in memory, not in memory maps")
            return {name: torch.from_numpy(values) for name, values in _join(cache, wanted).items()}
        with locked(folder.parent, note), writing(folder.parent):
            if sealed(folder) != about:  # another process may just have made them, and be reading them
                _write(folder, _join(cache, wanted), about)
    columns = {name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in MAPPED}
    return columns | {name: torch.from_numpy(np.load(folder / f"{name}.npy")) for name in NUMBERS}


def _join(cache: Cache, wanted: Sequence[Shard]) -> Columns:
    parts = [_columns(cache, shard) for shard in wanted]
    return {column: np.concatenate([part[column] for part in parts]) for column in (*MAPPED, *NUMBERS)}


def _columns(cache: Cache, shard: Shard) -> Columns:
    family = cache.family
    columns = shards.to_columns(shards.read(cache.path(shard)), family, family.variant(shard.variant))
    support = shard.quality == SUPPORT
    quality = support_qualities(family)[columns["behaviour"]] if support else QUALITIES.index(shard.quality)
    count = len(columns["site"])
    return columns | {"quality": np.full(count, quality), "telling": np.full(count, shard.quality in TELLING)}


def _write(folder: Path, columns: Columns, about: object) -> None:
    """Write the maps beside their place and move them there in one step; what a killed writer left goes."""
    for left in folder.parent.glob(f"{_MAKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_MAKING) as name:
        made = Path(name) / folder.name
        made.mkdir()
        for column, values in columns.items():
            np.save(made / f"{column}.npy", values)
        seal(made, about)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _shard(family: Family, variant: Variant, release: Release, quality: str | None) -> Shard:
    """The file that holds what was asked for."""
    quality = quality or ("mixed" if variant.split == "train" else HELD_OUT)
    require_known("quality", quality, (*TRAIN_FILES, HELD_OUT), f"wbench show {family.name}")
    found = [s for s in contents(family, release) if s.variant == variant.name and s.quality == quality]
    if not found:
        allowed = [v.name for v in family.select("train")]
        hint = f'load_dataset("{variant.name}", shots=5) for the support episodes of this held-out variant'
        raise UnknownNameError("train variant", variant.name, allowed, hint)
    return found[0]


def _dataset(table: pa.Table, family: Family, variant: Variant, shard: Shard) -> Dataset:
    import datasets
    from datasets.table import InMemoryTable, table_cast

    wanted = features(family, variant)
    cast = table_cast(table.replace_schema_metadata(None), wanted.arrow_schema)
    info = datasets.DatasetInfo(features=wanted, license="cc-by-4.0")
    return datasets.Dataset(InMemoryTable(cast), info=info, split=datasets.NamedSplit(shard.quality.replace("-", "_")))


def list_datasets() -> list[dict[str, int | str | bool]]:
    """Every release of every family: files, size, and what of it is here (by name, not verified)."""
    rows: list[dict[str, int | str | bool]] = []
    for family in all_families():
        for release in RELEASES.values():
            folder = dataset_folder(family, release)
            files = contents(family, release)
            here = [folder / shard.path for shard in files if (folder / shard.path).is_file()]
            slots = sum(transitions(family, shard) for shard in files)
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
