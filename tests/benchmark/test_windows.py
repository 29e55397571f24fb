"""Training windows from memory maps: the recorded numbers, made once, and memory that stays bounded."""

from __future__ import annotations

import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from wbench.benchmark.data import download, release, shards, store
from wbench.benchmark.data.cache import MAPS, Cache, verify
from wbench.benchmark.data.context import Context
from wbench.benchmark.data.paths import SEAL
from wbench.benchmark.data.recorder import behaviours, record
from wbench.benchmark.data.release import train_files
from wbench.benchmark.data.schema import TRAIN_FILES
from wbench.benchmark.data.store import ensure, map_columns
from wbench.benchmark.data.windows import Episodes, Windows, WindowSampler, load_samplers
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.errors import OutputError

from . import tiny
from .tiny import build

FAMILY, RELEASE = tiny.FAMILY, tiny.RELEASE
VARIANT = FAMILY.variant(tiny.NAMES[0])


@pytest.fixture(autouse=True, scope="module")
def tiny_home(tmp_path_factory):
    """A cache of its own."""
    before = os.environ.get("WBENCH_HOME")
    os.environ["WBENCH_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ["WBENCH_HOME"] = before or ""


def mapped(root=None):
    """The maps of `VARIANT`, whose files are had first."""
    cache = Cache(FAMILY, RELEASE, root)
    ensure(cache, train_files(FAMILY, RELEASE))
    return map_columns(cache, VARIANT)


def test_maps_hold_the_recorded_numbers_and_are_made_once():
    maps = mapped()
    expected = [store.load_columns(FAMILY, VARIANT, quality, RELEASE) for quality in TRAIN_FILES]
    for name in ("obs", "action", "action_mask", "reward", "site"):
        assert np.array_equal(maps[name].numpy(), np.concatenate([part[name] for part in expected])), name
    assert maps["quality"][:8].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    counts_as = {"random": 0, "medium": 1, "belief": 1}
    policies = [behaviours(FAMILY)[int(b)][0] for b in expected[-1]["behaviour"]]
    assert maps["quality"][8:].tolist() == [counts_as[policy] for policy in policies]
    assert maps["telling"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 1, 1]
    assert maps["obs"].dtype == torch.float16
    folder = release.dataset_folder(FAMILY, RELEASE) / ".windows" / tiny.ONE
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    mapped()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    (release.dataset_folder(FAMILY, RELEASE) / "data" / tiny.ONE / "mixed.parquet").touch()
    mapped()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps


def zeroed(folder: Path) -> None:
    np.save(folder / "action.npy", np.zeros_like(np.load(folder / "action.npy")))


def older(folder: Path) -> None:
    written = json.loads((folder / SEAL).read_text())
    written["about"]["format"] -= 1
    (folder / SEAL).write_text(json.dumps(written))


def other_data(folder: Path) -> None:
    written = json.loads((folder / SEAL).read_text())
    written["about"]["files"][0][1] = "0" * 64
    (folder / SEAL).write_text(json.dumps(written))


DAMAGE = {
    "zeroed": zeroed,
    "one bit": lambda folder: flip(folder / "obs.npy", 5000),
    "truncated": lambda folder: os.truncate(folder / "reward.npy", 1000),
    "empty": lambda folder: os.truncate(folder / "site.npy", 0),
    "missing": lambda folder: (folder / "reward.npy").unlink(),
    "more": lambda folder: (folder / "more.npy").touch(),
    "no seal": lambda folder: (folder / SEAL).unlink(),
    "half a seal": lambda folder: os.truncate(folder / SEAL, 50),
    "a deep seal": lambda folder: (folder / SEAL).write_text("[" * 100_000),
    "another seal": lambda folder: (folder / SEAL).write_text("[1]"),
    "older": older,
    "of other data": other_data,
}


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_maps_are_found_and_made_again(damage):
    good = {name: column.clone() for name, column in mapped().items()}
    folder = release.dataset_folder(FAMILY, RELEASE) / MAPS / tiny.ONE
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    DAMAGE[damage](folder)
    verdict = verify(FAMILY, RELEASE)
    assert (damage in ("older", "of other data")) or f"maps in {folder} are damaged" in " ".join(verdict.problems)
    again = mapped()
    assert all(torch.equal(again[name], good[name]) for name in good)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    assert not verify(FAMILY, RELEASE).problems


def test_a_download_removes_damaged_maps_and_what_killed_makers_left():
    mapped()
    folder = release.dataset_folder(FAMILY, RELEASE) / MAPS / tiny.ONE
    (folder.parent / ".making-x").mkdir()
    zeroed(folder)
    notes: list[str] = []
    build(FAMILY, RELEASE, note=notes.append)
    assert not folder.exists() and any(f"maps in {folder}" in note for note in notes)
    mapped()
    assert {path.name for path in folder.parent.iterdir()} == {tiny.ONE, ".lock"}


def test_data_that_may_only_be_read_are_trained_from(tmp_path, monkeypatch, capsys):
    good = mapped()
    root = tmp_path / "share"
    build(FAMILY, RELEASE, root)
    before = sorted(root.rglob("*"))
    monkeypatch.setattr(store, "writable", lambda folder: False)
    monkeypatch.setattr(download, "writable", lambda folder: False)
    found = mapped(root)
    assert all(torch.equal(found[name], good[name]) for name in good) and sorted(root.rglob("*")) == before
    assert "held in memory" in capsys.readouterr().err
    report = build(FAMILY, RELEASE, root)
    assert {file.source for file in report.files} == {"cache"} and sorted(root.rglob("*")) == before
    (release.dataset_folder(FAMILY, RELEASE, root) / release.contents(FAMILY, RELEASE)[0].path).unlink()
    with pytest.raises(OutputError, match="may not be written, and 1 files are missing"):
        build(FAMILY, RELEASE, root)


def test_of_two_that_need_the_same_maps_at_once_one_makes_them(monkeypatch):
    makers, both, read = set(), threading.Barrier(2), shards.read

    def slowly(path):
        if threading.get_ident() not in makers:
            makers.add(threading.get_ident())
            with suppress(threading.BrokenBarrierError):
                both.wait(1.0)  # a second maker would arrive here
        return read(path)

    monkeypatch.setattr(shards, "read", slowly)
    zeroed(release.dataset_folder(FAMILY, RELEASE) / MAPS / tiny.ONE)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: mapped(), range(2))
    assert len(makers) == 1 and all(torch.equal(first[name], second[name]) for name in first)


def test_sums_and_means_over_the_agents_of_joint_windows():
    rows = {field.name: torch.zeros(5) for field in fields(Windows) if field.name != "context"}
    batch = Windows(**{**rows, "group": torch.tensor([0, 0, 1, 1, 1])})
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
    assert sampler.transitions == sum(v.agents * v.horizon * 2 * len(TRAIN_FILES) for v in train)
    returns = [store.load_columns(tiny.FAMILY, v, q, tiny.RELEASE)["reward"].sum((1, 2)) for v in train for q in TRAIN_FILES]
    low, high = sampler.value_range(1.0)
    assert low <= 0.0 and high == pytest.approx(max(float(r.max()) for r in returns), rel=1e-4)
    assert sampler.sample(100).obs.shape[1] == 3 + 1 + 2


def numbered(agents: int, sites: int, each: int, slots: int = 6) -> Episodes:
    """Episodes whose observations say which episode and slot they are of; every third one does not tell."""
    count = sites * each
    obs = torch.arange(count).view(-1, 1, 1, 1) + torch.arange(slots + 1).view(-1, 1, 1) / 10 + torch.zeros(agents, 2)
    shape = (count, slots, agents)
    rest = torch.zeros(shape, dtype=torch.long), torch.ones(count, slots + 1, agents, 5, dtype=torch.int8), torch.zeros(shape)
    site = torch.arange(sites).repeat_interleave(each)
    variant = AccessVariant(agents, 3, 0.2, 32)
    return Episodes(variant, obs, *rest, history=1, horizon=1, site=site, telling=torch.arange(count) % 3 != 2)


def test_a_context_holds_other_telling_episodes_of_the_same_site():
    plain = replace(FAMILY, permute=None)
    sampler = WindowSampler(plain, [numbered(3, 4, 6), numbered(2, 5, 9)], torch.Generator().manual_seed(0))
    most = set()
    for _ in range(20):
        batch = sampler.sample(40, shots=(0, 1, 2, 20), per_context=2)
        context = batch.context
        assert context is not None and batch.groups == len(context.place)
        assert context.obs.shape[:2] == context.mask.shape and context.obs.shape[2:] == (7, 3, 2)
        most.add(int(context.mask.sum(1).max()) if context.mask.numel() else 0)
        own = batch.team_mean(batch.obs[:, 1, 0]).floor().long()  # number of the episode that a joint window is of
        for group in range(batch.groups):
            place = int(context.place[group])
            agents = int(context.agents[place])
            each = 6 if agents == 3 else 9
            there = context.mask[place]
            found = context.obs[place, there, 0, 0, 0].long()
            assert len(set(found.tolist())) == len(found) and own[group] not in found
            assert (found // each == own[group] // each).all() and (found % 3 != 2).all()
            assert torch.allclose(context.obs[place, there, -1, 0, 0], found + 0.6, atol=1e-4)
            assert not context.obs[place, ~there].any() and not context.obs[place, :, :, agents:].any()
    assert most >= {0, 1, 2} and max(most) > 2
    assert sampler.sample(40).context is None


def test_a_context_is_permuted_as_its_windows_are():
    columns = record(FAMILY, VARIANT, (("random", 0.0),), [0, 0, 0], [1, 2, 3])
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    source = Episodes(VARIANT, **tensors, history=0, horizon=VARIANT.horizon - 1)
    where, orders = (torch.tensor([0]), torch.tensor([0])), set()
    for seed in range(6):
        sampler = WindowSampler(FAMILY, [source], torch.Generator().manual_seed(seed))
        batch = sampler.windows(source, *where, shots=2)
        assert batch.context is not None
        renumbered = new_numbers(tensors["action"][1:], batch.context)
        orders.add(renumbered)
        expected = torch.tensor(renumbered)[tensors["action"][0]]
        assert torch.equal(batch.action.view(VARIANT.agents, -1).T, expected)
    assert len(orders) > 1


def new_numbers(action: torch.Tensor, context: Context) -> tuple[int, ...]:
    """The new number of every old choice, from the logs of a context whose episodes may be in either order."""
    for episodes in (action, action.flip(0)):
        pairs = set(zip(episodes.flatten().tolist(), context.action[0].flatten().tolist(), strict=True))
        if len(pairs) == len({old for old, _ in pairs}):
            return tuple(new for _, new in sorted(pairs))
    raise AssertionError("the context is no renumbering of the logs")


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
    source = Episodes(AccessVariant(8, 1, 0.3, 32), mapped, *rest, history=4, horizon=8)
    before = anonymous_megabytes()
    for first in range(0, 2000, 50):
        episode = torch.arange(first, first + 50)
        window = source.joint("obs", episode, torch.full((50,), 60))
        assert torch.equal(window[:, 0, 0, 0].float(), episode.half().float())
    assert anonymous_megabytes() - before < 30
