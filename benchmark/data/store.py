"""Datasets on disk: one folder a family, one Parquet file a (variant, quality), a card that `datasets` understands.

    FOLDER/README.md                        configs = variants, splits = qualities, features
    FOLDER/data/n8-c1-load0.4/mixed.parquet

`datasets.load_dataset(FOLDER, "n8-c1-load0.4", split="mixed")` reads it with no wbench code.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError, UnknownNameError
from ..family import Family, Variant
from ..registry import get_variant
from .collect import Columns, record_quality, train_seeds
from .schema import FORMAT_VERSION, QUALITIES, column_shapes, features

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Release:
    """A size of the datasets.

    Attributes:
        name: what the user types.
        episodes: episodes of every (train variant, quality).
    """

    name: str
    episodes: int


RELEASES = {release.name: release for release in (Release("mini", 8), Release("standard", 64))}


def get_release(name: str) -> Release:
    """The release of this name; raises `UnknownNameError`."""
    if name not in RELEASES:
        raise UnknownNameError("release", name, RELEASES, "wbench build --release mini")
    return RELEASES[name]


def home() -> Path:
    """Where wbench keeps data: `WBENCH_HOME`, else the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("WBENCH_HOME") or user_cache_path("wbench"))


def dataset_folder(family: Family, release: Release, root: Path | None = None) -> Path:
    """The folder of a family's release."""
    return (root or home() / "datasets") / f"{family.name}-{release.name}-v{FORMAT_VERSION}"


def _label(variant: Variant) -> str:
    return variant.name.partition("/")[2]


def to_table(family: Family, variant: Variant, columns: Columns) -> pa.Table:
    """Columns [E, T, ...] as one Arrow table of E x T rows with nested fixed-size lists."""
    episodes, horizon = columns["reward"].shape[:2]
    rows = dict(columns)
    rows["episode"] = np.repeat(np.arange(episodes), horizon)
    rows["t"] = np.tile(np.arange(horizon), episodes)
    rows["behaviour"] = np.repeat(columns["behaviour"], horizon)
    rows["done"] = np.arange(episodes * horizon) % horizon == horizon - 1
    arrays = {}
    for name, (shape, dtype) in column_shapes(family, variant).items():
        array: pa.Array = pa.array(np.ascontiguousarray(rows[name].reshape(-1), dtype=dtype))
        for size in reversed(shape):
            array = pa.FixedSizeListArray.from_arrays(array, size)
        arrays[name] = array
    return pa.table(arrays)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the target and rename, so that a killed run never leaves half a file under the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(temporary))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def build(family: Family, release: Release, root: Path | None = None) -> Iterable[tuple[str, str]]:
    """Record what is missing of a release, file by file.

    Yields:
        (variant, quality) after each file is in place, so that a caller can show progress; the files already there first.
    """
    folder = dataset_folder(family, release, root)
    for variant in family.select("train"):
        for quality in QUALITIES:
            path = folder / "data" / _label(variant) / f"{quality}.parquet"
            if not path.exists():
                columns = record_quality(family, variant, quality, train_seeds(quality, release.episodes))
                write_atomically(path, partial(_write_parquet, to_table(family, variant, columns)))
            yield variant.name, quality
    write_atomically(folder / "README.md", lambda p: _write_card(family, p))


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _write_card(family: Family, path: Path) -> None:
    import yaml

    labels = {_label(variant): variant for variant in family.select("train")}
    files = {
        label: [{"split": quality, "path": f"data/{label}/{quality}.parquet"} for quality in QUALITIES] for label in labels
    }
    header = {
        "license": "cc-by-4.0",
        "pretty_name": f"wbench {family.name}",
        "tags": ["wbench", "multi-agent-reinforcement-learning", "offline-reinforcement-learning", "wireless"],
        "configs": [{"config_name": label, "version": FORMAT_VERSION, "data_files": found} for label, found in files.items()],
        "dataset_info": [
            {"config_name": label, "features": features(family, variant)._to_yaml_list()} for label, variant in labels.items()
        ],
    }
    text = f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n# wbench {family.name}\n\nOffline transitions in time order.\n"
    path.write_text(text, encoding="utf-8")


def load_dataset(name: str, quality: str = "mixed", release: str = "mini", root: Path | None = None) -> Dataset:
    """A train variant's transitions as a `datasets.Dataset`; what is missing is recorded first, from its seeds.

    Args:
        name: full variant name, e.g. `access/n8-c1-load0.4`.
        quality: one of `random`, `medium`, `expert`, `mixed`.
        release: `mini` or `standard`.
        root: folder of the datasets; default: wbench's cache.
    """
    family, variant = get_variant(name)
    if variant.split != "train":
        allowed = [v.name for v in family.select("train")]
        raise UnknownNameError("train variant", name, allowed, f"wbench show {family.name}")
    if quality not in QUALITIES:
        raise UnknownNameError("quality", quality, QUALITIES, f"wbench show {family.name}")
    folder = dataset_folder(family, get_release(release), root)
    if not (folder / "README.md").exists():
        for _ in build(family, get_release(release), root):
            pass
    return _open(folder, family, variant, quality)


def _open(folder: Path, family: Family, variant: Variant, quality: str) -> Dataset:
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(str(folder), _label(variant), split=quality, cache_dir=str(folder / ".arrow"))
    except (OSError, ValueError, pa.ArrowInvalid, datasets.exceptions.DatasetsError) as error:
        path = folder / "data" / _label(variant) / f"{quality}.parquet"
        first = str(error).splitlines()[0]
        raise DataError(f"cannot read {path}: {first}. Delete it and run: wbench build --family {family.name}") from error
    wanted = features(family, variant)
    if loaded.features != wanted:
        raise DataError(f"{folder}: columns {sorted(loaded.features)} differ from the schema's {sorted(wanted)}; rebuild it.")
    return loaded


def load_columns(family: Family, variant: Variant, quality: str, release: Release, root: Path | None = None) -> Columns:
    """The same as contiguous arrays [E, T, ...], read chunk by chunk without conversion; `behaviour` is [E]."""
    dataset = load_dataset(variant.name, quality, release.name, root)
    columns: Columns = {}
    for name, (shape, _) in column_shapes(family, variant).items():
        chunks = [_flat(chunk).reshape(-1, *shape) for chunk in dataset.data.column(name).chunks]
        columns[name] = np.concatenate(chunks).reshape(-1, variant.horizon, *shape)
    columns["behaviour"] = columns["behaviour"][:, 0]
    return columns


def _flat(chunk: pa.Array) -> np.ndarray:
    array = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=True)
