"""Offline data: what is written is what was played, and everybody can read it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from wbench import load_dataset
from wbench.benchmark import seeds
from wbench.benchmark.data import recorder as collect
from wbench.benchmark.data import release, store
from wbench.benchmark.data.windows import Episodes, WindowSampler
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.protocol.spec import MAX_EPISODES, MAX_SEEDS, MAX_SHOTS
from wbench.benchmark.registry import get_family
from wbench.errors import DataError, InvalidValueError, UnknownNameError

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n6-c2-load0.3")
MINI = release.get_release("mini")


def test_first_use_records_only_the_files_that_are_needed_and_says_so(tmp_path, capsys):
    data = load_dataset(VARIANT.name, root=tmp_path)
    folder = release.dataset_folder(FAMILY, MINI, tmp_path)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.parquet")] == ["data/n6-c2-load0.3/mixed.parquet"]
    assert "getting 1 files into" in capsys.readouterr().err
    assert len(data) == MINI.episodes * 128 and data.features["obs"].shape == (6, FAMILY.obs_size) and data.split == "mixed"
    played = collect.record_quality(FAMILY, VARIANT, "mixed", collect.train_seeds("mixed", MINI.episodes))
    rows = load_dataset(VARIANT.name, "mixed", root=tmp_path).with_format("numpy")[:]
    for name in ("obs", "action", "reward", "delay"):
        assert np.array_equal(rows[name].reshape(played[name].shape), played[name]), name
    assert rows["t"][:130].tolist() == [*range(128), 0, 1] and rows["done"].sum() == MINI.episodes
    assert load_dataset(VARIANT.name, shots=2, root=tmp_path)[:]["episode"] == [0] * 128 + [1] * 128
    assert capsys.readouterr().err == ""


def test_support_shots_are_the_ones_that_the_protocol_adapts_on(tmp_path):
    held_out = FAMILY.variant("access/n8-c1-load0.5")
    rows = load_dataset(held_out.name, shots=3, draw=1, root=tmp_path).with_format("numpy")[:]
    shots = collect.support(FAMILY, held_out, 1, 3)
    assert np.array_equal(rows["obs"].reshape(shots.obs.shape), shots.obs.numpy())
    assert np.array_equal(rows["action"].reshape(shots.action.shape), shots.action.numpy())
    for options, message in (({"shots": 6}, "release mini"), ({"shots": 0}, "shots"), ({"draw": 2}, "draw is 2")):
        with pytest.raises(InvalidValueError, match=message):
            load_dataset(held_out.name, root=tmp_path, **options)
    with pytest.raises(InvalidValueError, match="train variant"):
        load_dataset(VARIANT.name, draw=1, root=tmp_path)


def test_contiguous_columns_equal_the_dataset():
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


def test_a_damaged_file_is_named_with_the_command_that_repairs_it(tmp_path):
    load_dataset(VARIANT.name, "mixed", root=tmp_path)
    path = release.dataset_folder(FAMILY, MINI, tmp_path) / "data" / "n6-c2-load0.3" / "mixed.parquet"
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"mixed.parquet is damaged.*wbench download access --release mini"):
        load_dataset(VARIANT.name, "mixed", root=tmp_path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="has other columns"):
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
    from wbench.benchmark.families.access.layout import View

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


def test_relabelled_edges_are_the_same_edges_in_observations_masks_and_actions():
    from wbench.benchmark.families.offload.layout import View, permute_edges

    family = get_family("offload")
    variant = family.variant("offload/n15-e3-p0.3")
    columns = collect.record_quality(family, variant, "random", range(2))
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    source, where = Episodes(variant, **tensors, history=4, horizon=8), (torch.tensor([0, 1]), torch.tensor([40, 9]))
    plain = WindowSampler(family, [source], torch.Generator()).windows(source, *where)
    assert torch.equal(plain.obs[:15, 4], tensors["obs"][0, 40].float()), "recordings keep their numbers"
    numbers, met = View(plain.obs), set()
    for seed in range(12):
        sampler = WindowSampler(replace(family, permute=permute_edges), [], torch.Generator().manual_seed(seed))
        batch = sampler.windows(source, *where, plain.action)
        view = View(batch.obs)
        # Efficiencies tell the edges apart: where each of the three is now, and the fourth, which does not exist.
        place = [(view.channel[0, 4] == x).nonzero().item() for x in numbers.channel[0, 4, :3]]
        place += sorted({0, 1, 2, 3} - set(place))
        met.add(tuple(place))
        for name in ("pending", "channel", "exists", "speed", "backlog"):
            assert torch.equal(getattr(view, name)[..., place], getattr(numbers, name)), name
        assert torch.equal(view.users[..., place + [4 + k for k in place]], numbers.users)
        choices = torch.tensor([0] + [1 + k for k in place])
        assert torch.equal(view.server[..., choices], numbers.server)
        assert torch.equal(batch.action_mask[..., choices], plain.action_mask)
        assert torch.equal(batch.action[..., 0], choices[plain.action[..., 0].long()].float())
        assert torch.equal(batch.action[..., 1], plain.action[..., 1])
        for name in ("task", "local", "radio", "alive", "outcome", "clock", "index"):
            assert torch.equal(getattr(view, name), getattr(numbers, name)), name
    assert len(met) > 6


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
    support = {s for draw in range(MAX_SEEDS) for s in seeds.support_seeds(draw, MAX_SHOTS)}
    query = {s for seed in range(MAX_SEEDS) for s in seeds.query_seeds(seed, MAX_EPISODES)}
    reference = set(range(seeds.REFERENCE_SEEDS, seeds.REFERENCE_SEEDS + 1_000_000))
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
