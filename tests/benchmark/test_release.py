"""Releases: reproducible bytes, builds that survive kill -9, manifests that cannot be bent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wbench.benchmark.data import manifest, paths, shards
from wbench.benchmark.data.cache import Cache, verify
from wbench.benchmark.data.manifest import Manifest
from wbench.benchmark.data.release import RELEASES, contents, dataset_folder, select, train_files, transitions
from wbench.benchmark.registry import get_family, list_families
from wbench.errors import DataError, InvalidValueError, OutputError, UnknownNameError

from .tiny import CODE, FAMILY, FILES, HELD, ONE, RELEASE, TWO, build, obtain


def content(root: Path) -> dict[str, bytes]:
    """Data files and manifest of the tiny release."""
    folder = dataset_folder(FAMILY, RELEASE, root)
    files = [*folder.glob("*/*/*.parquet"), folder / "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("built")
    report = build(FAMILY, RELEASE, root)
    assert {file.verified for file in report.files} == {"recorded"} and len(report.files) == FILES
    return root


@pytest.fixture
def copy(built, tmp_path) -> Path:
    """A copy that a test may damage."""
    subprocess.run(["cp", "-a", str(built), str(tmp_path / "copy")], check=True)
    return tmp_path / "copy"


def test_processes_and_a_second_run_give_the_same_bytes(built, tmp_path):
    report = build(FAMILY, RELEASE, tmp_path, jobs=2)
    assert content(tmp_path) == content(built) and {file.source for file in report.files} == {"built here"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert {file.source for file in build(FAMILY, RELEASE, tmp_path).files} == {"cache"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_killed_in_the_middle_a_build_goes_on_and_keeps_what_was_finished(built, tmp_path):
    code = CODE + "build(FAMILY, RELEASE, Path(sys.argv[1]), jobs=int(sys.argv[2]))"
    folder = dataset_folder(FAMILY, RELEASE, tmp_path)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(folder.glob("*/*/*.parquet"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/[!.]*.parquet")}
    assert 3 <= len(finished) < FILES and not (folder / "manifest.json").exists()
    (folder / f"data/{ONE}/.random.parquet.half").write_bytes(b"PAR1 half a file")
    (folder / ".receipts.json").unlink(missing_ok=True)  # as if killed between a file and its receipt
    build(FAMILY, RELEASE, tmp_path)
    assert content(tmp_path) == content(built)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list(folder.rglob("*.half"))


def _alive(pid: int) -> bool:
    """Running; a zombie that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_die_with_a_killed_build(tmp_path):
    code = CODE + "RELEASE = replace(RELEASE, sites=800); build(FAMILY, RELEASE, Path(sys.argv[1]), jobs=2)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)

    def children() -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == process.pid and b"spawn_main" in stat.with_name("cmdline").read_bytes():
                    found.append(int(stat.parent.name))
            except OSError:
                continue
        return found

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(workers := children()) < 2:
        time.sleep(0.05)
    time.sleep(3)  # until their imports are done
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline and any(map(_alive, workers)):
        time.sleep(0.05)
    assert workers and not any(map(_alive, workers))


@pytest.mark.parametrize("name", list_families())
def test_the_shipped_mini_manifest_is_what_this_machine_records(name, tmp_path):
    family, release = get_family(name), RELEASES["mini"]
    if manifest.shipped(name, release.id) is None:
        pytest.skip("no manifest is frozen yet")
    assert len(manifest.shipped(name, release.id).files) == len(contents(family, release))
    label = family.select("train")[0].name
    report = obtain(family, release, select(family, release, [label], ["mixed"]), root=tmp_path)
    assert report.files[0].verified in ("sha256", "numbers")  # numbers: another platform than the manifest's


@pytest.mark.parametrize("size", RELEASES)
def test_releases_hold_many_sites_and_standard_many_transitions(size):
    found = 0
    for family in map(get_family, list_families()):
        wanted = contents(family, RELEASES[size])
        train = train_files(family, RELEASES[size])
        assert sum(shard.sites for shard in train if shard.quality == "expert") >= 200
        assert {shard.variant for shard in wanted if shard.quality == "held-out"} == set(family.variants)
        found += sum(transitions(family, shard) for shard in train)
    assert found >= {"mini": 2_000_000, "standard": 10_000_000}[size]


def test_verify_tells_bytes_from_numbers_from_damage_and_names_the_file(copy):
    folder = dataset_folder(FAMILY, RELEASE, copy)
    assert verify(FAMILY, RELEASE, copy).count("same bytes") == FILES
    victim, other = folder / f"data/{ONE}/mixed.parquet", folder / f"data/{ONE}/random.parquet"
    table = shards.read(victim)
    pq.write_table(table, victim)  # the same numbers in other bytes, as another version of a library would write them
    (folder / ".receipts.json").unlink()
    verdict = verify(FAMILY, RELEASE, copy)
    assert verdict.files[f"data/{ONE}/mixed.parquet"] == "same numbers" and not verdict.problems
    raw = bytearray(other.read_bytes())
    raw[len(raw) // 2] ^= 1
    other.write_bytes(raw)
    (folder / f"data/{ONE}/expert.parquet").unlink()
    verdict = verify(FAMILY, RELEASE, copy)
    assert verdict.worst == "different" and verdict.count("missing") == 1
    assert len(verdict.problems) == 1 and "random.parquet is damaged" in verdict.problems[0]
    notes: list[str] = []
    report = build(FAMILY, RELEASE, copy, note=notes.append)
    assert any("random.parquet is damaged" in line and "replaced" in line for line in notes)
    assert verify(FAMILY, RELEASE, copy).worst == "same numbers" and len(report.files) == FILES


def test_numbers_agree_through_rounding_but_not_through_one_changed_value(built):
    path = dataset_folder(FAMILY, RELEASE, built) / f"data/{TWO}/mixed.parquet"
    variant = FAMILY.variant(f"access/{TWO}")
    columns = shards.to_columns(shards.read(path), FAMILY, variant)

    def entry(changed: dict[str, np.ndarray]) -> manifest.FileEntry:
        return shards.describe(path, "data/a/b.parquet", shards.to_table(FAMILY, variant, {**columns, **changed}))

    same = replace(entry({}), sha256="0" * 64)
    noise = 1 + 1e-6 * np.random.default_rng(0).standard_normal(columns["obs"].shape)
    assert entry({"obs": (columns["obs"] * noise).astype(np.float32)}).compare(same) == "same numbers"
    for name, where in (
        ("obs", (1, 50, 2, 3)),
        ("action", (0, 7, 1)),
        ("behaviour", (1,)),
        ("site", (1,)),
        ("reward", (1, 99, 0)),
    ):
        changed = columns[name].copy()
        changed[where] += 1
        assert entry({name: changed}).compare(same) == "different", name
    flipped = columns["obs"][:, ::-1].copy()
    assert entry({"obs": flipped}).compare(same) == "different"


RETURNS = {"episodes": 1, "sites": 1, "mean": 0.0, "spread": 0.0, "least": 0.0, "most": 0.0}


def _edit(change) -> str:
    entry = {"path": "data/a/mixed.parquet", "bytes": 1, "rows": 1, "sha256": "0" * 64, "columns": {}, "returns": RETURNS}
    text = dict.fromkeys(("release", "version", "family", "dynamics", "format", "licence", "citation"), "x")
    data = {"schema": "wbench-manifest/2", **text, "generator": {}, "files": [entry]}
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["files"][0].update(path="data/../../../etc/passwd.parquet"), r"files\.0\.path: .* pattern"),
        (lambda d: d["files"][0].update(path="data/../x.parquet"), r"files\.0\.path: .* pattern"),
        (lambda d: d["files"][0].update(path="/etc/x/y.parquet"), r"files\.0\.path: .* pattern"),
        (lambda d: d["files"][0].update(path="data\\a\\mixed.parquet"), r"files\.0\.path: .* pattern"),
        (lambda d: d["files"][0].update(path="data/.hub/mixed.parquet"), r"files\.0\.path: .* pattern"),
        (lambda d: d["files"][0].update(sha256="0"), r"files\.0\.sha256: .* pattern"),
        (lambda d: d["files"][0].update(bytes=-1), r"files\.0\.bytes: .* greater than or equal to 0, not -1"),
        (lambda d: d["files"][0].update(bytes=True), r"files\.0\.bytes: .* valid integer, not True"),
        (lambda d: d["files"][0].update(returns=RETURNS | {"mean": "x"}), r"files\.0\.returns\.mean: .* valid number"),
        (lambda d: d["files"][0].update(returns=[0, 0, 1]), "no valid manifest"),
        (lambda d: d["files"][0].update(mode="0777"), r"files\.0\.mode: Unexpected keyword"),
        (lambda d: d["files"][0].pop("rows"), r"files\.0\.rows: Field required"),
        (lambda d: d["files"].append(d["files"][0]), "listed twice"),
        (lambda d: d.update(run="rm"), "run: Unexpected keyword"),
        (lambda d: d.pop("licence"), "licence: Field required"),
        (lambda d: d.update(release=1), "release: .* valid string"),
        (lambda d: d.update(schema="wbench-manifest/99"), "schema"),
        (lambda d: d.update(files="x"), "no valid manifest"),
    ],
)
def test_a_bent_manifest_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        Manifest.from_json(_edit(change), "MANIFEST")


def test_manifests_survive_a_round_trip_and_refuse_repeated_keys_and_rubbish(built):
    path = dataset_folder(FAMILY, RELEASE, built) / "manifest.json"
    found = Manifest.read(path)
    assert Manifest.from_json(found.to_json(), "again") == found and found.to_json() == path.read_text()
    assert found.licence == "CC-BY-4.0" and found.dynamics == FAMILY.version
    assert replace(found, generator={}).digest() == found.digest()
    assert replace(found, files=found.files[1:]).digest() != found.digest()
    assert Manifest.from_json(_edit(lambda d: None), "plain").release == "x"
    for text in ('{"schema": "a", "schema": "b"}', "{", "[]", "[" * 100_000, "\x00"):
        with pytest.raises(DataError, match="no valid manifest"):
            Manifest.from_json(text, "MANIFEST")


def test_a_release_that_changed_is_refused_by_the_shipped_manifest(built, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_SHIPPED", tmp_path / "shipped")
    manifest._read_shipped.cache_clear()
    mine = Manifest.read(dataset_folder(FAMILY, RELEASE, built) / "manifest.json")
    manifest.freeze(mine, RELEASE.id)
    assert build(FAMILY, RELEASE, built).files[0].verified == "sha256"
    other = {**FAMILY.behaviours, "random": (("random", 0.5),)}
    changed = replace(FAMILY, behaviours=other)
    wanted = select(changed, RELEASE, [ONE], ["random"])
    with pytest.raises(DataError, match=r"random.parquet differs from tiny-v1.0.0 of access as published"):
        obtain(changed, RELEASE, wanted, root=tmp_path)
    with pytest.raises(DataError, match=r"dynamics \S+ and format .*this wbench has dynamics 99"):
        Cache(replace(FAMILY, version="99"), RELEASE, tmp_path)


def test_somebody_elses_file_is_never_written_over(copy):
    folder = dataset_folder(FAMILY, RELEASE, copy)
    path = folder / f"data/{ONE}/mixed.parquet"
    pq.write_table(pa.table({"precious": [1, 2]}), path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"mixed.parquet has other columns .*left alone"):
        build(FAMILY, RELEASE, copy)
    outside = copy / "outside.parquet"
    path.unlink()
    outside.write_bytes(before)
    path.symlink_to(outside)
    with pytest.raises(DataError, match="symlink"):
        build(FAMILY, RELEASE, copy)
    assert outside.read_bytes() == before


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(table, where, **_):
        Path(where).write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match=r"no space left in .*finished files are kept"):
        build(FAMILY, RELEASE, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    with pytest.raises(OutputError, match=r"no space: .* are needed"):
        paths.require_space(tmp_path / "not" / "yet", 1 << 60)
    with pytest.raises(OutputError, match="cannot write"):
        build(FAMILY, RELEASE, Path("/proc/nowhere"))


def test_files_are_chosen_by_variant_and_quality():
    assert [s.path for s in select(FAMILY, RELEASE, [ONE], ["mixed"])] == [f"data/{ONE}/mixed.parquet"]
    assert len(select(FAMILY, RELEASE, [f"access/{HELD}"])) == 1 and len(select(FAMILY, RELEASE)) == FILES
    for variants, qualities, error in ((["n4"], None, UnknownNameError), (None, ["good"], UnknownNameError)):
        with pytest.raises(error, match="Allowed"):
            select(FAMILY, RELEASE, variants, qualities)
    with pytest.raises(InvalidValueError, match="that file only"):
        select(FAMILY, RELEASE, [HELD], ["mixed"])
