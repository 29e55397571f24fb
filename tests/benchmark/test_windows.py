"""Training windows from memory maps: the recorded numbers, made once, and memory that stays bounded."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from wbench.benchmark.data import mapped, release, store
from wbench.benchmark.data.cache import Cache
from wbench.benchmark.data.mapped import map_columns
from wbench.benchmark.data.windows import Episodes, Windows, load_samplers
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.registry import get_family

from . import tiny

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n4-c1-load0.2")
MINI = release.get_release("mini")


def test_maps_hold_the_recorded_numbers_and_are_made_once():
    maps = map_columns(Cache(FAMILY, MINI), VARIANT)
    expected = [store.load_columns(FAMILY, VARIANT, quality, MINI) for quality in QUALITIES]
    for name in ("action", "action_mask", "reward"):
        assert np.array_equal(maps[name].numpy(), np.concatenate([part[name] for part in expected]))
    assert maps["quality"].tolist() == [i for i, part in enumerate(expected) for _ in part["obs"]]
    obs = np.concatenate([part["obs"] for part in expected])
    assert maps["obs"].dtype == torch.float16 and np.abs(maps["obs"].numpy() - obs).max() < 5e-3
    folder = release.dataset_folder(FAMILY, MINI) / ".windows" / "n4-c1-load0.2"
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    map_columns(Cache(FAMILY, MINI), VARIANT)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    parquet = release.dataset_folder(FAMILY, MINI) / "data" / "n4-c1-load0.2" / "mixed.parquet"
    parquet.touch()
    map_columns(Cache(FAMILY, MINI), VARIANT)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} != stamps


def test_of_two_that_need_the_same_maps_at_once_one_makes_them(monkeypatch):
    makers, both = set(), threading.Barrier(2)

    def slowly(cache, shard):
        if threading.get_ident() not in makers:
            makers.add(threading.get_ident())
            with suppress(threading.BrokenBarrierError):
                both.wait(1.0)  # a second maker would arrive here
        return store.read(cache, shard)

    monkeypatch.setattr(mapped, "read", slowly)
    (release.dataset_folder(FAMILY, MINI) / "data" / "n4-c1-load0.2" / "mixed.parquet").touch()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: map_columns(Cache(FAMILY, MINI), VARIANT), range(2))
    assert len(makers) == 1 and all(torch.equal(first[name], second[name]) for name in first)


def test_sums_and_means_over_the_agents_of_joint_windows():
    rows = {
        name: torch.zeros(5) for name in ("obs", "action", "action_mask", "reward", "valid", "others", "descriptor", "quality")
    }
    batch = Windows(**rows, group=torch.tensor([0, 0, 1, 1, 1]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 8.0], requires_grad=True)
    assert batch.team_sum(x).tolist() == [3.0, 15.0] and batch.team_mean(x).tolist() == [1.5, 5.0]
    assert batch.team_mean(torch.stack([x, -x], dim=1)).tolist() == [[1.5, -1.5], [5.0, -5.0]]
    batch.team_mean(x)[1].backward()
    assert x.grad.tolist() == pytest.approx([0.0, 0.0, 1 / 3, 1 / 3, 1 / 3])


def test_samplers_of_a_release_share_the_random_source_and_know_their_data(monkeypatch):
    monkeypatch.setitem(release.RELEASES, "tiny", tiny.RELEASE)
    generator = torch.Generator().manual_seed(0)
    samplers = load_samplers([tiny.FAMILY], tiny.RELEASE, 3, 2, generator)
    sampler = samplers["access"]
    train = tiny.FAMILY.select("train")
    assert list(samplers) == ["access"] and sampler.generator is generator
    assert sampler.transitions == sum(v.agents * v.horizon * 2 * len(QUALITIES) for v in train)
    returns = [store.load_columns(tiny.FAMILY, v, q, tiny.RELEASE)["reward"].sum((1, 2)) for v in train for q in QUALITIES]
    low, high = sampler.value_range(1.0)
    assert low <= 0.0 and high == pytest.approx(max(float(r.max()) for r in returns), rel=1e-4)
    assert sampler.sample(100).obs.shape[1] == 3 + 1 + 2


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
