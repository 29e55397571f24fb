"""The dataset card: its header makes plain `datasets` read the folder, its tables say what the files hold."""

from __future__ import annotations

import re

import datasets
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import DatasetCard
from wbench.benchmark.data.manifest import Manifest, shipped
from wbench.benchmark.data.recorder import mixture, record
from wbench.benchmark.data.release import RELEASES
from wbench.benchmark.data.schema import TRAIN_FILES, features
from wbench.benchmark.data.support import record_support
from wbench.benchmark.registry import get_family, list_families
from wbench.benchmark.seeds import train_seeds
from wbench.benchmark.site import RANGES
from wbench.cards.dataset_card import render, write_dataset_card

from ..benchmark.tiny import FAMILY, HELD, ONE, RELEASE, TWO, build

VARIANT = FAMILY.variant(f"access/{ONE}")

NUMBER = r"(-?[\d.]+)"  # as a table shows it


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
    assert configs[ONE] == {quality: f"data/{ONE}/{quality}.parquet" for quality in TRAIN_FILES}
    for name in (ONE, TWO, HELD):
        assert configs[f"{name}-support"] == {"held_out": f"support/{name}/held-out.parquet"}
    assert all((folder / path).is_file() for files in configs.values() for path in files.values())
    (info,) = [info for info in data["dataset_info"] if info["config_name"] == ONE]
    assert datasets.Features._from_yaml_list(info["features"]) == features(FAMILY, VARIANT)


def test_plain_datasets_pandas_and_duckdb_read_the_folder(folder, tmp_path):
    played = record(FAMILY, VARIANT, mixture(FAMILY, "expert"), [0, 1], train_seeds(TRAIN_FILES.index("expert"), 2))
    half = played["obs"].astype(np.float16)
    plain = datasets.load_dataset(str(folder), ONE, split="expert", cache_dir=str(tmp_path))
    assert plain.features == features(FAMILY, VARIANT)
    assert np.array_equal(plain.with_format("numpy")[:]["obs"].reshape(half.shape), half)
    assert plain.with_format("torch")[5]["reward"].shape == (8,)
    row = next(iter(datasets.load_dataset(str(folder), ONE, split="expert", streaming=True)))
    assert np.array_equal(np.asarray(row["obs"], np.float16), half[0, 0])
    support = datasets.load_dataset(str(folder), f"{HELD}-support", split="held_out", cache_dir=str(tmp_path))
    held_out = FAMILY.variant(f"access/{HELD}")
    shots = record_support(FAMILY, held_out, list(RANGES["held-out"][:2]), 3)
    assert np.array_equal(support.with_format("numpy")[:]["obs"].reshape(shots["obs"].shape), shots["obs"].astype(np.float16))
    path = folder / "data" / ONE / "expert.parquet"
    frame = pd.read_parquet(path)
    assert frame["reward"].map(sum).sum() == pytest.approx(played["reward"].sum(), rel=1e-5)
    assert (frame["last"] == 0).sum() == 2 * VARIANT.horizon and frame.groupby("site")["episode"].nunique().tolist() == [1, 1]
    duckdb = pytest.importorskip("duckdb")
    query = f"SELECT count(*), sum(list_sum(reward)), max(list_sum(flatten(obs))) FROM '{path}' WHERE last = 0"
    ((count, total, _),) = duckdb.sql(query).fetchall()
    assert count == 2 * VARIANT.horizon and total == pytest.approx(played["reward"].sum(), rel=1e-4)


def test_the_tables_say_what_was_played_site_by_site(folder):
    text = (folder / "README.md").read_text()
    for quality in TRAIN_FILES:
        frame = pd.read_parquet(folder / "data" / ONE / f"{quality}.parquet")
        returns = frame["reward"].map(sum).groupby(frame["site"]).sum()
        error = returns.std() / np.sqrt(len(returns))
        wanted = [returns.mean(), error, returns.min(), returns.max()]
        shown = [[float(x) for x in found] for found in re.findall(rf"{NUMBER} \+- {NUMBER} \({NUMBER} to {NUMBER}\)", text)]
        assert any(found == pytest.approx(wanted, abs=0.0051) for found in shown), quality
    for policy, noise in FAMILY.behaviours["mixed"]:
        assert f"{policy} ({noise:g})" in text
    assert Manifest.read(folder / "manifest.json").digest() in text and "{" not in text.partition("## Columns")[2]
    assert "tiny-v1.0.0" in text and f"| `{HELD}` | held-out | 8 | 128 |" in text


def test_a_part_of_a_release_has_a_card_of_its_part(folder):
    found = Manifest.read(folder / "manifest.json")
    card = DatasetCard(render(FAMILY, RELEASE, found, {f"data/{ONE}/mixed.parquet"}))
    (config,) = card.data.to_dict()["configs"]
    assert config["data_files"] == [{"split": "mixed", "path": f"data/{ONE}/mixed.parquet"}]


@pytest.mark.parametrize("name", list_families())
def test_every_family_has_a_card_for_its_shipped_release(name):
    family, release = get_family(name), RELEASES["mini"]
    if (found := shipped(name, release.id)) is None:
        pytest.skip("no manifest is frozen yet")
    card = DatasetCard(render(family, release, found))
    configs = len(family.variants) + len(family.select("train"))
    assert len(card.data.to_dict()["configs"]) == configs and family.summary in card.text
