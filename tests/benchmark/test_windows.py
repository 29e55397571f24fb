"""Training windows from memory maps: the recorded numbers, made once, and memory that stays bounded."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from wbench.benchmark.data import store
from wbench.benchmark.data.mapped import map_columns
from wbench.benchmark.data.schema import QUALITIES
from wbench.benchmark.data.windows import Episodes
from wbench.benchmark.families.access import AccessVariant
from wbench.benchmark.registry import get_family

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n4-c1-load0.2")
MINI = store.get_release("mini")


def test_maps_hold_the_recorded_numbers_and_are_made_once():
    maps = map_columns(FAMILY, VARIANT, MINI)
    expected = [store.load_columns(FAMILY, VARIANT, quality, MINI) for quality in QUALITIES]
    for name in ("action", "action_mask", "reward"):
        assert np.array_equal(maps[name].numpy(), np.concatenate([part[name] for part in expected]))
    assert maps["quality"].tolist() == [i for i, part in enumerate(expected) for _ in part["obs"]]
    obs = np.concatenate([part["obs"] for part in expected])
    assert maps["obs"].dtype == torch.float16 and np.abs(maps["obs"].numpy() - obs).max() < 5e-3
    folder = store.dataset_folder(FAMILY, MINI) / ".windows" / "n4-c1-load0.2"
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    map_columns(FAMILY, VARIANT, MINI)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    parquet = store.dataset_folder(FAMILY, MINI) / "data" / "n4-c1-load0.2" / "mixed.parquet"
    parquet.touch()
    map_columns(FAMILY, VARIANT, MINI)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} != stamps


def anonymous_megabytes() -> float:
    """Memory of this process that is not backed by a file."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found.group(1)) / 1024


def test_memory_stays_bounded_on_data_that_is_mapped(tmp_path):
    shape = (2000, 128, 8)  # 131 MB of observations
    obs = np.lib.format.open_memmap(tmp_path / "obs.npy", "w+", np.float16, (*shape, 32))
    obs[:, :, 0, 0] = np.arange(2000)[:, None]
    obs.flush()
    mapped = torch.from_numpy(np.load(tmp_path / "obs.npy", mmap_mode="c"))
    rest = torch.zeros(shape, dtype=torch.int8), torch.zeros(*shape, 2, dtype=torch.int8), torch.zeros(shape)
    source = Episodes(AccessVariant(8, 1, 0.3), mapped, *rest, history=4, horizon=8)
    before = anonymous_megabytes()
    for first in range(0, 2000, 50):
        episode = torch.arange(first, first + 50)
        window = source.joint("obs", episode, torch.full((50,), 60))
        assert torch.equal(window[:, 0, 0, 0].float(), episode.half().float())
    assert anonymous_megabytes() - before < 30
