"""Offline data: what is written is what was played, and everybody can read it."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from wbench import load_dataset
from wbench.benchmark.data import collect, store
from wbench.benchmark.data.schema import QUALITIES
from wbench.benchmark.data.windows import Episodes, WindowSampler
from wbench.benchmark.protocol import MAX_EPISODES, MAX_SEEDS, MAX_SHOTS
from wbench.benchmark.registry import get_family
from wbench.errors import DataError, UnknownNameError

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n6-c2-load0.3")
MINI = store.get_release("mini")


@pytest.fixture(scope="module")
def folder(data_home):
    load_dataset(VARIANT.name)
    return store.dataset_folder(FAMILY, MINI)


def test_plain_datasets_and_pandas_read_it_without_wbench(folder, tmp_path):
    plain = datasets.load_dataset(str(folder), "n6-c2-load0.3", split="mixed", cache_dir=str(tmp_path))
    stream = datasets.load_dataset(str(folder), "n6-c2-load0.3", split="mixed", streaming=True)
    played = collect.record_quality(FAMILY, VARIANT, "mixed", collect.train_seeds("mixed", MINI.episodes))
    assert len(plain) == MINI.episodes * VARIANT.horizon
    rows = plain.with_format("numpy")[:]
    assert rows["obs"].shape == (len(plain), 6, FAMILY.obs_size)
    for name in ("obs", "action", "reward", "delay"):
        assert np.array_equal(rows[name].reshape(played[name].shape), played[name]), name
    assert rows["t"][:130].tolist() == [*range(128), 0, 1] and rows["done"].sum() == MINI.episodes
    assert np.array_equal(np.asarray(next(iter(stream))["obs"], np.float32), played["obs"][0, 0])
    frame = pd.read_parquet(folder / "data" / "n6-c2-load0.3" / "mixed.parquet")
    assert frame["reward"].map(sum).sum() == pytest.approx(played["reward"].sum(), rel=1e-5)


def test_contiguous_columns_equal_the_dataset(folder):
    columns = store.load_columns(FAMILY, VARIANT, "medium", MINI)
    row = load_dataset(VARIANT.name, "medium")[128 * 3 + 17]
    assert columns["obs"].shape == (MINI.episodes, 128, 6, FAMILY.obs_size)
    assert columns["obs"][3, 17].tolist() == row["obs"] and columns["action"][3, 17].tolist() == row["action"]


def test_qualities_are_ordered_as_their_names_say():
    mean = {}
    for quality in QUALITIES:
        mean[quality] = (
            collect.record_quality(FAMILY, FAMILY.variant("access/n8-c1-load0.4"), quality, range(40))["reward"].sum() / 40
        )
    assert mean["random"] < mean["medium"] < mean["expert"]
    assert mean["random"] < mean["mixed"] < mean["expert"]


def test_a_missing_file_is_recorded_again_to_the_same_bytes_and_the_rest_is_kept(folder):
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.glob("data/*/*.parquet"))}
    assert len(files) == 18 * 4
    victim = next(iter(files))
    victim.unlink()
    list(store.build(FAMILY, MINI))
    assert victim.read_bytes() == files[victim][0]
    assert all(path.stat().st_mtime_ns == files[path][1] for path in files if path != victim)
    assert not list(folder.rglob(".*.parquet.*"))


def test_a_damaged_file_is_named(folder, tmp_path):
    broken = tmp_path / folder.name
    target = broken / "data" / "n6-c2-load0.3" / "mixed.parquet"
    target.parent.mkdir(parents=True)
    (broken / "README.md").write_bytes((folder / "README.md").read_bytes())
    for quality in QUALITIES:
        (target.parent / f"{quality}.parquet").write_bytes(b"PAR1 not a parquet file")
    with pytest.raises(DataError, match=r"mixed.parquet.*wbench build"):
        load_dataset(VARIANT.name, "mixed", root=tmp_path)


def test_windows_are_the_recorded_stretches_with_empty_slots_before_the_start():
    columns = collect.record_quality(FAMILY, VARIANT, "mixed", range(3))
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    source = Episodes(VARIANT, **tensors, history=4, horizon=8)
    window = source.gather(torch.tensor([2, 0]), torch.tensor([50, 1]))
    assert window["obs"].shape == (2 * 6, 13, FAMILY.obs_size)
    inside = window["obs"].view(2, 6, 13, -1)[0].transpose(0, 1)
    assert torch.equal(inside, tensors["obs"][2, 46:59])
    assert torch.equal(window["action"].view(2, 6, 13)[0].T, tensors["action"][2, 46:59])
    assert torch.allclose(window["reward"].view(2, 6, 13)[0, 0], tensors["reward"][2, 46:59].sum(-1))
    assert window["valid"].view(2, 6, 13)[1, 0].tolist() == [False] * 3 + [True] * 10
    assert window["obs"].view(2, 6, 13, -1)[1, :, :3].abs().sum() == 0


def test_relabelled_channels_stay_consistent_between_actions_masks_and_observations():
    from wbench.benchmark.families.access_layout import View

    columns = collect.record_quality(FAMILY, VARIANT, "random", range(4))
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    source = Episodes(VARIANT, **tensors, history=4, horizon=8)
    seen = set()
    for seed in range(12):
        batch = WindowSampler(FAMILY, [source], torch.Generator().manual_seed(seed)).sample(600)
        view, sent = View(batch.obs), batch.action[:, 4:-1]
        seen |= set(sent.unique().tolist())
        shown = torch.where(view.sent.sum(-1) > 0, view.sent.argmax(-1) + 1, 0)[:, 5:]
        assert torch.equal(shown, sent)
        assert batch.action_mask.gather(-1, batch.action.unsqueeze(-1))[batch.valid].all()
    assert seen == {0, 1, 2, 3}


def test_support_is_nested_fixed_and_stratified():
    variant = FAMILY.variant("access/n8-c1-load0.5")
    five, two, other = (collect.support(FAMILY, variant, draw, k) for draw, k in ((1, 5), (1, 2), (2, 2)))
    assert five is not None and two is not None and other is not None
    assert torch.equal(five.obs[:2], two.obs) and torch.equal(five.action[:2], two.action)
    assert not torch.equal(two.obs, other.obs)
    assert five.quality == ("mixed", "expert", "medium", "random", "mixed")
    assert collect.support(FAMILY, variant, 0, 0) is None
    train_part, held = five.split()
    assert (train_part.shots, held.shots) == (4, 1)


def test_train_support_query_and_reference_seeds_never_meet():
    train = {s for quality in QUALITIES for s in collect.train_seeds(quality, 10_000)}
    support = {s for draw in range(MAX_SEEDS) for s in collect.support_seeds(draw, MAX_SHOTS)}
    query = {s for seed in range(MAX_SEEDS) for s in collect.query_seeds(seed, MAX_EPISODES)}
    reference = set(range(collect.REFERENCE_SEEDS, collect.REFERENCE_SEEDS + 1_000_000))
    sizes = (40_000, MAX_SEEDS * MAX_SHOTS, MAX_SEEDS * MAX_EPISODES, 1_000_000)
    assert tuple(map(len, (train, support, query, reference))) == sizes
    assert len(train | support | query | reference) == sum(sizes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("access/n8-c1-load0.4", "superb"), "unknown quality 'superb'.*expert"),
        (("access/n8-c1-load0.5", "mixed"), "unknown train variant"),
        (("acces/n8", "mixed"), "unknown family 'acces'.*'access'"),
        (("access/n8-c1-load0.4", "mixed", "huge"), "unknown release 'huge'.*mini"),
    ],
)
def test_unknown_names_say_what_is_allowed(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        load_dataset(*arguments)
