"""The dataset card: its header makes plain `datasets` read the folder, its tables say what the files hold."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import DatasetCard
from wbench.benchmark.data import recorder as collect
from wbench.benchmark.data.download import build
from wbench.benchmark.data.manifest import Manifest
from wbench.benchmark.data.schema import features
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.registry import get_family, list_families
from wbench.cards.dataset_card import render, write_dataset_card

from ..benchmark.tiny import FAMILY, RELEASE

LABEL = "n4-c1-load0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    report = build(FAMILY, RELEASE, tmp_path_factory.mktemp("carded"))
    write_dataset_card(report.folder, FAMILY, RELEASE, Manifest.read(report.folder / "manifest.json"))
    return report.folder


def test_the_header_says_licence_tags_configs_and_features(folder):
    card = DatasetCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data["license"] == "cc-by-4.0" and "arxiv:2602.00558" in data["tags"] and data["size_categories"] == ["1K<n<10K"]
    configs = {config["config_name"]: {f["split"]: f["path"] for f in config["data_files"]} for config in data["configs"]}
    assert configs[LABEL] == {quality: f"data/{LABEL}/{quality}.parquet" for quality in QUALITIES}
    assert configs["n8-c1-load0.5-support"] == {f"draw{d}": f"support/n8-c1-load0.5/draw-{d}.parquet" for d in (0, 1)}
    assert all((folder / path).is_file() for files in configs.values() for path in files.values())
    (info,) = [info for info in data["dataset_info"] if info["config_name"] == LABEL]
    variant = FAMILY.variant(f"access/{LABEL}")
    assert datasets.Features._from_yaml_list(info["features"]) == features(FAMILY, variant)


def test_plain_datasets_pandas_and_duckdb_read_the_folder(folder, tmp_path):
    variant = FAMILY.variant(f"access/{LABEL}")
    played = collect.record_quality(FAMILY, variant, "mixed", collect.train_seeds("mixed", RELEASE.episodes))
    plain = datasets.load_dataset(str(folder), LABEL, split="mixed", cache_dir=str(tmp_path))
    assert plain.features == features(FAMILY, variant)
    assert np.array_equal(plain.with_format("numpy")[:]["obs"].reshape(played["obs"].shape), played["obs"])
    row = next(iter(datasets.load_dataset(str(folder), LABEL, split="mixed", streaming=True)))
    assert np.array_equal(np.asarray(row["obs"], np.float32), played["obs"][0, 0])
    support = datasets.load_dataset(str(folder), "n8-c1-load0.5-support", split="draw1", cache_dir=str(tmp_path))
    held_out = FAMILY.variant("access/n8-c1-load0.5")
    shots = collect.support(FAMILY, held_out, 1, 2)
    assert np.array_equal(support.with_format("numpy")[:]["obs"].reshape(shots.obs.shape), shots.obs.numpy())
    path = folder / "data" / LABEL / "mixed.parquet"
    assert pd.read_parquet(path)["reward"].map(sum).sum() == pytest.approx(played["reward"].sum(), rel=1e-5)
    duckdb = pytest.importorskip("duckdb")
    ((count, total),) = duckdb.sql(f"SELECT count(*), sum(list_sum(reward)) FROM '{path}'").fetchall()
    assert count == len(plain) and total == pytest.approx(played["reward"].sum(), rel=1e-4)


def test_the_tables_say_what_was_played(folder):
    text = (folder / "README.md").read_text()
    for quality in QUALITIES:
        frame = pd.read_parquet(folder / "data" / LABEL / f"{quality}.parquet")
        returns = frame["reward"].map(sum).groupby(frame["episode"]).sum()
        assert f"{returns.mean():.2f} +- {returns.std() / np.sqrt(len(returns)):.2f}" in text
    for policy, noise in FAMILY.behaviours["mixed"]:
        assert f"{policy} ({noise:g})" in text
    assert Manifest.read(folder / "manifest.json").digest() in text and "{" not in text.partition("## Columns")[2]
    assert "tiny-v1.0.0" in text and "| `n8-c1-load0.5` | held-out | 8 | 128 |" in text


def test_a_part_of_a_release_has_a_card_of_its_part(folder):
    found = Manifest.read(folder / "manifest.json")
    card = DatasetCard(render(FAMILY, RELEASE, found, {f"data/{LABEL}/mixed.parquet"}))
    (config,) = card.data.to_dict()["configs"]
    assert config["data_files"] == [{"split": "mixed", "path": f"data/{LABEL}/mixed.parquet"}]


@pytest.mark.parametrize("name", list_families())
def test_every_family_has_a_card_for_its_shipped_release(name):
    from wbench.benchmark.data.manifest import shipped
    from wbench.benchmark.data.release import RELEASES

    family, release = get_family(name), RELEASES["mini"]
    card = DatasetCard(render(family, release, shipped(name, release.id)))
    assert len(card.data.to_dict()["configs"]) == len(family.variants) and family.summary in card.text
