"""Offline data: what is written is what was played, and everybody can read it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from wbench import load_dataset
from wbench.benchmark.data import recorder, release, store
from wbench.benchmark.data.recorder import behaviours, mixture, record
from wbench.benchmark.data.schema import TRAIN_FILES
from wbench.benchmark.data.support import record_support, support
from wbench.benchmark.data.windows import Episodes, WindowSampler
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.registry import get_family, get_variant, list_families
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import support_seeds, train_seeds
from wbench.benchmark.site import RANGES
from wbench.errors import DataError, InvalidValueError, UnknownNameError

from .tiny import FAMILY, HELD, ONE, RELEASE

VARIANT, HELD_OUT = FAMILY.variant(f"access/{ONE}"), FAMILY.variant(f"access/{HELD}")
SLOTS = VARIANT.horizon
PLACES = list(RANGES["held-out"][:2])


@pytest.fixture(autouse=True)
def tiny_release(monkeypatch):
    monkeypatch.setitem(release.RELEASES, "tiny", RELEASE)
    monkeypatch.setattr(store, "get_variant", lambda name: (FAMILY, FAMILY.variant(name)))


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def test_first_use_records_only_the_files_that_are_needed_and_says_so(tmp_path, capsys):
    data = load_dataset(VARIANT.name, release="tiny", root=tmp_path)
    folder = release.dataset_folder(FAMILY, RELEASE, tmp_path)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.parquet")] == [f"data/{ONE}/mixed.parquet"]
    assert "getting 1 file into" in capsys.readouterr().err
    assert len(data) == 2 * (SLOTS + 1) and data.features["obs"].shape == (8, FAMILY.obs_size) and data.split == "mixed"
    index = TRAIN_FILES.index("mixed")
    played = record(FAMILY, VARIANT, mixture(FAMILY, "mixed"), [0, 1], train_seeds(index, 2))
    rows = load_dataset(VARIANT.name, "mixed", "tiny", tmp_path).with_format("numpy")[:]
    assert np.array_equal(rows["obs"].reshape(played["obs"].shape).astype(np.float32), half(played["obs"]))
    for name in ("action", "reward", "delay"):
        shape = (2, SLOTS + 1, *played[name].shape[2:])
        assert np.array_equal(rows[name].reshape(shape)[:, :-1], played[name]), name
        assert not rows[name].reshape(shape)[:, -1].any(), name
    assert rows["t"][: SLOTS + 2].tolist() == [*range(SLOTS + 1), 0] and rows["last"].nonzero()[0].tolist() == [
        SLOTS,
        2 * SLOTS + 1,
    ]
    assert rows["truncated"].nonzero()[0].tolist() == [SLOTS - 1, 2 * SLOTS] and not rows["terminated"].any()
    assert rows["site"].tolist() == [0] * (SLOTS + 1) + [1] * (SLOTS + 1)
    assert set(load_dataset(VARIANT.name, site=1, release="tiny", root=tmp_path)[:]["site"]) == {1}
    assert capsys.readouterr().err == ""


def test_the_last_row_holds_what_the_last_action_led_to(tmp_path):
    ends = []
    policy = recorder.NoisyPolicy(FAMILY.policies["random"](), 0.0)
    play(FAMILY, VARIANT, policy, [0], train_seeds(0, 1), record=lambda slot: ends.append(slot.next_obs))
    rows = load_dataset(VARIANT.name, "random", "tiny", tmp_path, site=0).with_format("numpy")[:]
    assert rows["behaviour"][0] == behaviours(FAMILY).index(("random", 0.0))
    assert np.array_equal(rows["obs"][-1].astype(np.float32), half(ends[-1][0].numpy()))
    assert np.array_equal(rows["obs"][5].astype(np.float32), half(ends[4][0].numpy()))


def test_support_shots_are_the_ones_that_the_protocol_adapts_on(tmp_path):
    rows = load_dataset(HELD_OUT.name, release="tiny", site=1, shots=2, root=tmp_path).with_format("numpy")[:]
    shots = support(FAMILY, HELD_OUT, PLACES[1], 2)
    assert shots is not None
    obs = rows["obs"].reshape(2, SLOTS + 1, *shots.obs.shape[2:])[:, :-1]
    assert np.array_equal(obs.astype(np.float32), half(shots.obs.numpy()))
    assert np.array_equal(rows["action"].reshape(2, SLOTS + 1, -1)[:, :-1], shots.action.numpy())
    assert set(rows["site"]) == {PLACES[1]}
    for options, message in (
        ({"shots": 4}, "shots is 4"),
        ({"shots": 0}, "shots"),
        ({"shots": 2.0}, r"shots is 2\.0, but must be a whole number in \[1, 3\]"),
        ({"shots": True}, "shots is True"),
        ({"shots": "2"}, "shots is '2'"),
        ({"shots": 10**30}, "shots is 1000000"),
        ({"site": 2}, "site is 2"),
        ({"site": False}, "site is False"),
        ({"site": -1}, "site is -1"),
        ({"site": 1.0}, r"site is 1\.0"),
        ({"root": 3}, "root is 3, but must be the path of a folder"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            load_dataset(HELD_OUT.name, release="tiny", **({"root": str(tmp_path)} | options))
    before = sorted(tmp_path.rglob("*"))
    assert len(load_dataset(HELD_OUT.name, release="tiny", root=str(tmp_path), site=0)) == 3 * (SLOTS + 1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [3, None, ["access"], b"access/n8-c3-load0.25-l48", float("nan")])
def test_a_name_that_is_no_text_is_said_in_one_line(name):
    with pytest.raises(InvalidValueError, match=r"the name of a variant is .*must be a text such as"):
        get_variant(name)


@pytest.mark.parametrize("name", list_families())
def test_support_is_nested_fixed_recorded_in_turns_and_by_nobody_that_is_told_the_site(name):
    family = get_family(name)
    variant = family.select("held-out")[0]
    assert not any(family.policies[policy]().privileged for policy, _ in family.support)
    batched = record_support(family, variant, PLACES, 4)
    four, two = support(family, variant, PLACES[1], 4), support(family, variant, PLACES[1], 2)
    assert four is not None and two is not None
    for column in ("obs", "action", "reward", "action_mask"):
        assert torch.equal(getattr(four.choose(range(2)), column), getattr(two, column)), column
        assert np.array_equal(batched[column][4:, : variant.horizon], getattr(four, column).numpy()), column
    turns = [family.support[k % len(family.support)] for k in range(4)]
    assert four.quality == tuple(policy for policy, _ in turns)
    alone = record(family, variant, turns[2:3], PLACES[1:], support_seeds(3)[2:])
    assert np.array_equal(alone["obs"][0, : variant.horizon], four.obs[2].numpy())
    assert support(family, variant, PLACES[0], 0) is None


def test_the_controls_of_a_support():
    site = PLACES[0]
    own, wrong, shifted = (support(FAMILY, HELD_OUT, site, 3, kind) for kind in ("site", "wrong", "shifted"))
    neighbour = support(FAMILY, HELD_OUT, site + 1, 3)
    assert own and wrong and shifted and neighbour
    assert torch.equal(wrong.obs, neighbour.obs) and not torch.equal(wrong.obs, own.obs)
    assert shifted.quality == ("random",) * 3 and torch.equal(shifted.obs[0], own.obs[0])
    with pytest.raises(UnknownNameError, match="'site'"):
        support(FAMILY, HELD_OUT, site, 3, "sight")


def test_contiguous_columns_equal_the_dataset(tmp_path):
    columns = store.load_columns(FAMILY, VARIANT, "medium", RELEASE, tmp_path)
    row = load_dataset(VARIANT.name, "medium", "tiny", tmp_path)[SLOTS + 1 + 17]
    assert columns["obs"].shape == (2, SLOTS + 1, 8, FAMILY.obs_size) and columns["action"].shape == (2, SLOTS, 8)
    assert columns["obs"][1, 17].tolist() == row["obs"] and columns["action"][1, 17].tolist() == row["action"]
    assert columns["site"].tolist() == [0, 1] and columns["behaviour"].shape == (2,)


def test_a_damaged_file_is_named_with_the_command_that_repairs_it(tmp_path):
    load_dataset(VARIANT.name, "random", "tiny", tmp_path)
    path = release.dataset_folder(FAMILY, RELEASE, tmp_path) / "data" / ONE / "random.parquet"
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"random.parquet is damaged.*wbench download access --release tiny"):
        load_dataset(VARIANT.name, "random", "tiny", tmp_path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="has other columns"):
        load_dataset(VARIANT.name, "random", "tiny", tmp_path)


def source(quality: str, episodes: int) -> tuple[dict[str, torch.Tensor], Episodes]:
    columns = record(FAMILY, VARIANT, mixture(FAMILY, quality), list(range(episodes)), list(range(episodes)))
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    return tensors, Episodes(VARIANT, **tensors, history=4, horizon=8)


def test_windows_are_the_recorded_stretches_with_empty_slots_before_the_start():
    tensors, episodes = source("random", 3)
    window = episodes.gather(torch.tensor([2, 0]), torch.tensor([50, 1]))
    assert window["obs"].shape == (2 * 8, 13, FAMILY.obs_size)
    inside = window["obs"].view(2, 8, 13, -1)[0].transpose(0, 1)
    assert torch.equal(inside, tensors["obs"][2, 46:59])
    assert torch.equal(window["action"].view(2, 8, 13)[0].T, tensors["action"][2, 46:59])
    assert torch.allclose(window["reward"].view(2, 8, 13)[0, 0], tensors["reward"][2, 46:59].sum(-1))
    assert window["valid"].view(2, 8, 13)[1, 0].tolist() == [False] * 3 + [True] * 10
    assert window["obs"].view(2, 8, 13, -1)[1, :, :3].abs().sum() == 0
    edge = episodes.gather(torch.tensor([1]), torch.tensor([episodes.starts() - 1]))
    assert torch.equal(edge["obs"][:, -1], tensors["obs"][1, SLOTS - 1])


def test_permuted_channels_stay_consistent_between_actions_and_masks():
    _, episodes = source("random", 4)
    seen = set()
    for seed in range(12):
        batch = WindowSampler(FAMILY, [episodes], torch.Generator().manual_seed(seed)).sample(600)
        seen |= set(batch.action.unique().tolist())
        assert batch.action_mask.gather(-1, batch.action.unsqueeze(-1))[batch.valid].all()
    assert seen == {0, 1, 2, 3, 4}


def test_qualities_are_ordered_as_their_names_say():
    mean = {}
    for quality in QUALITIES:
        columns = record(FAMILY, VARIANT, mixture(FAMILY, quality), list(range(40)), list(range(40)))
        mean[quality] = columns["reward"].sum() / 40
    assert mean["random"] < mean["mixed"] < mean["expert"] and mean["medium"] < mean["expert"]


def test_actions_of_a_noisy_policy_are_allowed_ones():
    tensors, _ = source("medium", 2)
    mask = tensors["action_mask"][:, :-1]
    assert mask.gather(-1, tensors["action"].unsqueeze(-1).long()).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((VARIANT.name, "superb"), "unknown quality 'superb'.*expert"),
        ((HELD_OUT.name, "mixed"), "unknown train variant"),
        ((VARIANT.name, "mixed", "huge"), "unknown release 'huge'.*mini"),
    ],
)
def test_unknown_names_say_what_is_allowed(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        load_dataset(*arguments)
