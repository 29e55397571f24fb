"""Own play as format 2 for plain `datasets`, logs of one's own network as support, windows, and scores."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wbench
from wbench.benchmark.acting.observation import columns_of
from wbench.benchmark.protocol.references import references
from wbench.benchmark.registry import get_family
from wbench.benchmark.rollout import play
from wbench.errors import DataError, InvalidValueError, MissingPackageError, OutputError

ACCESS, POWER, OFFLOAD = (get_family(name).select("train")[0].name for name in ("access", "power", "offload"))
DEV = 1_000_000


@pytest.mark.parametrize("name", [ACCESS, POWER, OFFLOAD])
def test_own_play_is_read_by_plain_datasets_and_adapts_a_policy(tmp_path: Path, name: str):
    import datasets

    policy = wbench.load_policy("belief")
    policy.adapt(name)
    found = wbench.record(name, policy, 3, sites="dev:0", to=tmp_path / "own", name="my policy")
    label = name.partition("/")[2]
    data = datasets.load_dataset(str(tmp_path / "own"), label, split="my_policy").with_format("numpy")
    family, variant = get_family(name.partition("/")[0]), policy.variant
    assert data.num_rows == 3 * (variant.horizon + 1) and data[0]["obs"].shape == (variant.agents, family.obs_size)
    assert data["site"][:].tolist() == [DEV] * data.num_rows and set(data["behaviour"][:].tolist()) == {-1}
    expected = play(family, variant, policy.agent, [DEV] * 3, range(3)).returns.tolist()
    assert found.returns.tolist() == pytest.approx(expected, abs=1e-3)
    assert "3 episodes" in repr(found) and found.load().num_rows == data.num_rows
    estimator, same = wbench.load_policy("estimator"), wbench.load_policy("estimator")
    estimator.adapt(name, data)
    assert repr(estimator).count("3 shots") == 1
    same.adapt(name, found.path)
    obs, _ = wbench.make(name, "dev:0").reset()
    assert torch.equal(estimator.act(obs), same.act(obs))


def test_a_function_is_a_policy_and_nothing_is_written_over(tmp_path: Path):
    def silent(obs, info):
        return np.zeros(obs.shape[:2], int)

    for name in (ACCESS, get_family("access").select("train")[1].name):
        found = wbench.record(name, silent, 2, to=tmp_path)
        assert found.returns.tolist() == [0.0, 0.0] and found.split == "silent"
    wbench.record(wbench.make(ACCESS, "dev:1"), "random", 2, to=tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.count("config_name") == 2 and card.count("| silent |") == 2 and card.count("| random |") == 1
    with pytest.raises(OutputError, match=r"silent\.parquet exists already"):
        wbench.record(ACCESS, silent, 2, to=tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("mine")
    with pytest.raises(OutputError, match=r"is not of wbench\.record"):
        wbench.record(ACCESS, silent, 2, to=tmp_path / "other")
    unready = wbench.load_policy("random")
    for wrong, said in (
        (lambda: wbench.record(ACCESS, unready, 2, to=tmp_path / "x"), "policy is .*not adapted.*must be adapted to"),
        (lambda: wbench.record(ACCESS, 3, 2, to=tmp_path / "x"), "policy is 'int'"),
        (lambda: wbench.record(ACCESS, silent, 0, to=tmp_path / "x"), "episodes is 0"),
        (lambda: wbench.record(ACCESS, silent, 2, seeds=[1], to=tmp_path / "x"), "seeds is '1 seeds'"),
        (lambda: wbench.record(ACCESS, lambda obs, info: 7, 1, name="x", to=tmp_path / "x"), "action.shape"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            wrong()
    assert not (tmp_path / "x").exists()


def rows_of(name: str, shots: int = 2, by_part: bool = False) -> tuple[list[str], list[dict]]:
    """A support as somebody's network would have logged it, a row an agent and slot."""
    family, logs = get_family(name.partition("/")[0]), wbench.load_support(name, "dev:0", shots)
    seen = columns_of(family)[by_part]
    acted = ["action"] if len(family.actions) == 1 else [f"action_{part.name}" for part in family.actions]
    rows = []
    for k, t, n in np.ndindex(*logs.reward.shape):
        numbers = logs.obs[k, t, n].tolist() + np.ravel(logs.action[k, t, n]).tolist() + [logs.reward[k, t, n].item()]
        rows.append({"episode": k, "t": t, "agent": n} | dict(zip([*seen, *acted, "reward"], numbers, strict=True)))
    return ["episode", "t", "agent", *seen, *acted, "reward"], rows


def write(path: Path, rows: list[dict]) -> Path:
    """As CSV or Parquet."""
    if path.suffix == ".parquet":
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
        return path
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(("name", "ending"), [(ACCESS, "csv"), (POWER, "parquet"), (OFFLOAD, "csv")])
def test_logs_of_ones_own_are_the_support_that_they_are(tmp_path: Path, name: str, ending: str):
    logs, (_, rows) = wbench.load_support(name, "dev:0", 2), rows_of(name, by_part=ending == "csv")
    found = wbench.load_logs(write(tmp_path / f"logs.{ending}", rows[::-1]), name)
    for column in ("obs", "action", "reward", "action_mask"):
        assert torch.allclose(getattr(found, column).double(), getattr(logs, column).double(), atol=1e-6), column
        assert getattr(found, column).dtype == getattr(logs, column).dtype
    assert found.quality == ("own", "own")
    policy, told = wbench.load_policy("estimator"), wbench.load_policy("estimator")
    policy.adapt(name, tmp_path / f"logs.{ending}")
    told.adapt(name, logs)
    obs, _ = wbench.make(name, "dev:0").reset()
    assert torch.equal(policy.act(obs), told.act(obs))


def test_what_is_wrong_with_logs_is_named(tmp_path: Path):
    _, rows = rows_of(POWER, 1)
    n, horizon = 20, max(row["t"] for row in rows) + 1

    def spoilt(**columns) -> list[dict]:
        return [{**row, **{name: change(row) for name, change in columns.items()}} for row in rows]

    cases = {
        "lacks the columns reward. Columns: wbench show power --observation": [
            {k: v for k, v in row.items() if k != "reward"} for row in rows
        ],
        "action holds 1 NaN or infinite numbers, the first in row 6 of the data": [
            {**row, "action": float("nan") if i == 5 else row["action"]} for i, row in enumerate(rows)
        ],
        "column reward holds 'much' in row 6 of the data, but must hold numbers": [
            {**row, "reward": "much" if i == 5 else row["reward"]} for i, row in enumerate(rows)
        ],
        f"has {horizon - 1} slots, t = 0, 1, 2, ..., {horizon - 2}, not the {horizon} of": [
            row for row in rows if row["t"] < horizon - 1
        ],
        "agents of episode 0 are 0, 1, 2, ..., 18, but .* has 0 to 19": [row for row in rows if row["agent"] < n - 1],
        f"has {len(rows) - 1} rows, but must have one a slot and agent": rows[:-1],
        "episode 0 has agent 4 twice at t = 2, but must": [
            row | {"agent": 4} if row["t"] == 2 and row["agent"] == 3 else row for row in rows
        ],
        r"the action amplitude lies in \[23, 23\], but must be numbers in \[0, 1\]. Is it in another unit": spoilt(
            action=lambda row: 23.0
        ),
        r"obs_5 lies in \[-90, -90\], usually .* in another unit\? It is noise: .*over the noise / 30": spoilt(
            obs_5=lambda row: -90.0
        ),
        r"the team's reward of a slot lies in .* in power it is in .* Is it in another": spoilt(reward=lambda row: 100.0),
    }
    for number, (said, content) in enumerate(cases.items()):
        with pytest.raises(DataError, match=f"{number}.csv.*{said}"):
            wbench.load_logs(write(tmp_path / f"{number}.csv", content), POWER)
    (tmp_path / "empty.csv").write_text(",".join(rows[0]) + "\n")
    for name, said in (("empty.csv", r"empty\.csv has no rows\."), ("gone.csv", r"there is no file .*gone\.csv\. Give")):
        with pytest.raises(DataError, match=said):
            wbench.load_logs(tmp_path / name, POWER)
    _, rows = rows_of(ACCESS, 1)
    with pytest.raises(DataError, match="choices of channel were not allowed by what was observed, the first by agent"):
        wbench.load_logs(write(tmp_path / "all.csv", spoilt(action=lambda row: 1)), ACCESS)
    (tmp_path / "bad.parquet").write_text("no")
    for path in (tmp_path / "bad.parquet", tmp_path / "none.csv", tmp_path / "logs.xlsx"):
        with pytest.raises(DataError, match=path.name):
            wbench.load_logs(path, ACCESS)
    two = wbench.record(ACCESS, "random", 2, sites="dev:0-1", to=tmp_path / "two")
    with pytest.raises(DataError, match="holds logs of 2 sites"):
        wbench.load_logs(two.path, ACCESS)
    with pytest.raises(DataError, match="holds no whole episodes of"):
        wbench.load_logs(two.path, POWER)


def test_returns_are_scored_on_the_boards_scale():
    frame = references(ACCESS, 2_000_000)
    given = torch.tensor([frame.random, frame.genie], dtype=torch.float64)
    assert wbench.normalised_score(ACCESS, "held-out:0", given).tolist() == pytest.approx([0.0, 100.0])
    assert wbench.normalised_score(ACCESS, 2_000_000, frame.genie) == pytest.approx(frame.score(frame.genie))
    for wrong, said in ((("held-out:0-1", 1.0), "one site"), (("held-out:0", "much"), "finite"), (("dev:x", 1.0), "like 3")):
        with pytest.raises(InvalidValueError, match=said):
            wbench.normalised_score(ACCESS, *wrong)


@pytest.mark.slow
def test_windows_of_recorded_play_for_ones_own_learner():
    sampler = wbench.windows(ACCESS, history=2, horizon=1)
    assert repr(sampler) == f"WindowSampler({ACCESS}: 2 + 1 + 1 slots; {sampler.transitions:,} agent transitions)"
    batch = sampler.sample(160)
    assert batch.obs.shape == (160, 4, get_family("access").obs_size) and batch.groups == 20
    assert repr(batch).startswith("Windows(obs [160, 4, 37], action [160, 4], ") and repr(batch).endswith("; 20 joint windows)")
    for wrong, said in (
        ({"task": get_family("access").select("held-out")[0].name}, "or a train variant"),
        ({"task": ACCESS, "horizon": 200}, "history \\+ horizon is 200, but must be below 128, the slots of an episode"),
        ({"task": ACCESS, "history": -1}, "history is -1, but must be a whole number, 0 or more"),
        ({"task": ACCESS, "horizon": 1.5}, "horizon is 1.5"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            wbench.windows(**wrong)


@pytest.mark.parametrize("name", [ACCESS, POWER, OFFLOAD])
def test_own_play_is_a_tensordict(tmp_path: Path, name: str):
    pytest.importorskip("tensordict")
    found = wbench.record(name, "random", 2, to=tmp_path)
    episodes = wbench.to_tensordict(name, found.path)
    assert episodes["next", "reward"].sum(1).flatten().tolist() == pytest.approx(found.returns.tolist(), abs=1e-3)
    assert torch.equal(episodes["next", "observation"][:, :-1], episodes["observation"][:, 1:])
    assert episodes["next", "done"][:, -1].all() and not episodes["next", "done"][:, :-1].any()


@pytest.mark.parametrize("name", [ACCESS, POWER, OFFLOAD])
def test_own_play_is_a_minari_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    found = wbench.record(name, "random", 2, to=tmp_path)
    data = wbench.to_minari(name, "wbench/own-v0", found.path)
    assert [episode.rewards.sum() for episode in data] == pytest.approx(found.returns.tolist(), abs=1e-3)
    assert all(data.observation_space.contains(obs) for obs in data[0].observations)
    with pytest.raises(InvalidValueError, match="Minari has such a dataset already"):
        wbench.to_minari(name, "wbench/own-v0", found.path)


def test_what_an_export_needs_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch):
    for package, export in (
        ("tensordict", wbench.to_tensordict),
        ("minari", lambda name: wbench.to_minari(name, "wbench/x-v0")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingPackageError, match=rf'needs {package}.*pip install "wbench\[{package}'):
            export(ACCESS)
