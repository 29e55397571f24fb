"""Memory maps of what training reads: made once from the verified files, so that a release may be larger than memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..family import Variant
from .cache import Cache
from .paths import locked
from .release import contents, label
from .shards import to_columns
from .store import read, say

COLUMNS = {"obs": np.float16, "action": None, "action_mask": np.int8, "reward": np.float32}  # None: as recorded
KEY = "key.json"


def map_columns(cache: Cache, variant: Variant) -> dict[str, Tensor]:
    """All qualities of a train variant after each other, [E, T, ...] a column, as memory maps; observations in float16.

    `quality` [E] says which of `schema.QUALITIES` recorded each episode. The maps are kept beside the release, in `.windows`,
    and made again when its files have changed.
    """
    wanted = [shard for shard in contents(cache.family, cache.release) if shard.variant == variant.name]
    folder = cache.folder / ".windows" / label(variant)
    files = [cache.folder / shard.path for shard in wanted]
    if not _current(folder, files):
        with locked(folder.parent, say):
            if not _current(folder, files):  # another process may just have made them, and be reading them
                _write(folder, files, [to_columns(read(cache, shard), cache.family, variant) for shard in wanted])
    columns = {name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in COLUMNS}
    episodes = torch.tensor([pq.read_metadata(file).num_rows // variant.horizon for file in files])
    return columns | {"quality": torch.arange(len(files)).repeat_interleave(episodes)}


def _current(folder: Path, files: list[Path]) -> bool:
    key = folder / KEY
    return key.is_file() and key.read_text(encoding="utf-8") == _key(files)


def _key(files: list[Path]) -> str:
    """What tells one state of the files from another; empty where one is missing."""
    if not all(path.is_file() for path in files):
        return ""
    return json.dumps([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files])


def _write(folder: Path, files: list[Path], parts: list[dict[str, np.ndarray]]) -> None:
    """Write the maps beside their place and move them there in one step."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / folder.name
        made.mkdir()
        for column, dtype in COLUMNS.items():
            joined = np.concatenate([part[column] for part in parts])
            np.save(made / f"{column}.npy", joined.astype(dtype or joined.dtype))
        (made / KEY).write_text(_key(files), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
