"""Mirrors that lie: other bytes under copied summaries, other numbers, other shapes, bombs. None is believed."""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wbench.benchmark.data import manifest, shards
from wbench.benchmark.data.download import mirrors_for
from wbench.benchmark.data.manifest import Manifest
from wbench.benchmark.data.paths import sha256
from wbench.benchmark.data.release import contents, dataset_folder, select
from wbench.errors import WbenchError

from .tiny import FAMILY, ONE, RELEASE, build, obtain

PATH = f"data/{ONE}/mixed.parquet"
WANTED = select(FAMILY, RELEASE, [ONE], ["mixed"])
VARIANT = FAMILY.variant(WANTED[0].variant)
N, SLOTS = VARIANT.agents, VARIANT.horizon
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("honest")
    build(FAMILY, RELEASE, root)
    return dataset_folder(FAMILY, RELEASE, root)


@pytest.fixture
def pinned(source, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_SHIPPED", tmp_path / "shipped")
    manifest.freeze(Manifest.read(source / "manifest.json"), RELEASE.id)
    yield
    manifest._read_shipped.cache_clear()


def numbers(table: pa.Table, name: str) -> np.ndarray:
    return shards._numbers(table.column(name)).reshape(table.num_rows, -1).copy()


def put(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    """The table with other numbers in a column, of its shape and type."""
    place, kind = table.schema.get_field_index(name), table.schema.field(name).type
    sizes = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    array = pa.array(values.reshape(-1).astype(kind.to_pandas_dtype()))
    for size in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return table.set_column(place, table.schema.field(name), array)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda table: put(table, name, change(numbers(table, name)))


def once(name: str, value: float, place: int = 17) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        values.reshape(-1)[place] = value
        return values

    return changed(name, change)


def retyped(name: str, kind: pa.DataType) -> Change:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, name, pa.array(numbers(table, name).tolist(), kind))

    return change


def missing(name: str) -> Change:
    def change(table: pa.Table) -> pa.Table:
        values = [None, *numbers(table, name).reshape(-1).tolist()[1:]]
        kind = table.schema.field(name).type
        array = pa.FixedSizeListArray.from_arrays(pa.array(values, kind.value_type), kind.list_size)
        return table.set_column(table.schema.get_field_index(name), table.schema.field(name), array)

    return change


def order(rows: list[int]) -> Change:
    return lambda table: table.take(pa.array(rows, pa.int64()))


ALL = list(range(2 * (SLOTS + 1)))
UNSOUND: dict[str, Change] = {  # what no file of the release can be, whatever its manifest says
    "rows reversed": order(ALL[::-1]),
    "episodes swapped": order(ALL[SLOTS + 1 :] + ALL[: SLOTS + 1]),
    "two rows swapped": order([1, 0, *ALL[2:]]),
    "a row twice": order([0, 0, *ALL[2:]]),
    "a row less": order(ALL[1:]),
    "an episode less": order(ALL[: SLOTS + 1]),
    "no rows": order([]),
    "all rows twice": order(ALL + ALL),
    "another site": once("site", 7),
    "held-out sites": changed("site", lambda x: x + 2_000_000),
    "episodes counted from 1": changed("episode", lambda x: x + 1),
    "slots counted from 1": changed("t", lambda x: x + 1),
    "no last row": changed("last", lambda x: x * 0),
    "NaN reward": once("reward", np.nan),
    "infinite reward": once("reward", np.inf),
    "NaN observation": once("obs", np.nan),
    "infinite delay": once("delay", -np.inf),
    "a number is missing": missing("reward"),
    "an action below 0": once("action", -1),
    "an action beyond": once("action", 99),
    "a huge action": once("action", 2**62),
    "forbidden actions": changed("action_mask", lambda x: x * 0),
    "a mask of 2": changed("action_mask", lambda x: x * 2),
    "a column more": lambda table: table.append_column("more", pa.array([1] * table.num_rows)),
    "a column less": lambda table: table.drop_columns(["delay"]),
    "a column renamed": lambda table: table.rename_columns([n.replace("delay", "late") for n in table.column_names]),
    "columns in another order": lambda table: table.select(table.column_names[::-1]),
    "rewards as doubles": retyped("reward", pa.list_(pa.float64(), N)),
    "rewards as lists of any length": retyped("reward", pa.list_(pa.float32())),
    "rewards as text": lambda table: table.set_column(
        table.schema.get_field_index("reward"), "reward", pa.array(["1"] * table.num_rows)
    ),
    "actions as floats": retyped("action", pa.list_(pa.float32(), N)),
    "slots as 64 bit": lambda table: table.set_column(2, "t", table.column("t").cast(pa.int64())),
}
UNTRUE: dict[str, Change] = {  # episodes, but not those of the release
    "negated rewards": changed("reward", lambda x: -x),
    "doubled rewards": changed("reward", lambda x: 2 * x),
    "one reward changed": once("reward", 0.5),
    "observations reversed": changed("obs", lambda x: x[:, ::-1]),
    "observations of other agents": changed("obs", lambda x: np.roll(x.reshape(len(x), N, -1), 1, 1)),
    "actions idle": changed("action", lambda x: x * 0),
    "episodes' rewards swapped": changed("reward", lambda x: np.roll(x, SLOTS + 1, 0)),
    "another behaviour": changed("behaviour", lambda x: x * 0),
    "quality of service made up": changed("delivered", lambda x: x + 1),
}


def forge(source: Path, to: Path, change: Change, *, honest: bool = False) -> Path:
    """A mirror whose file is changed; its manifest copies the summaries of the good one, or with `honest` says its own."""
    folder = to / source.name
    (folder / PATH).parent.mkdir(parents=True)
    table = change(shards.read(source / PATH))
    pq.write_table(table, folder / PATH)
    listed = json.loads((source / "manifest.json").read_text())
    entry = next(entry for entry in listed["files"] if entry["path"] == PATH)
    entry |= {"sha256": sha256(folder / PATH), "bytes": (folder / PATH).stat().st_size}
    if honest and table.num_rows:
        entry |= {"rows": table.num_rows}
        for name in table.column_names:
            if name in entry["columns"] and pa.types.is_primitive(table.column(name).type):
                entry["columns"][name] = shards.summary(numbers(table, name).reshape(-1))
    (folder / "manifest.json").write_text(json.dumps(listed))
    return to


def refused(mirror: Path, to: Path) -> str:
    """Why a mirror is refused, after checking that nothing of it stays."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WbenchError) as raised:
        obtain(FAMILY, RELEASE, WANTED, root=to, mirrors=mirrors_for(FAMILY, RELEASE, source=str(mirror)))
    assert not list(to.rglob("*.parquet")) and not list(to.rglob("manifest.json"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 800
    return str(raised.value)


@pytest.mark.parametrize("kind", [*UNSOUND, *UNTRUE])
def test_other_numbers_under_copied_summaries_are_not_believed(kind, source, pinned, tmp_path):
    refused(forge(source, tmp_path / "mirror", (UNSOUND | UNTRUE)[kind]), tmp_path / "to")


@pytest.mark.parametrize("kind", UNSOUND)
def test_without_a_pinned_manifest_too_a_file_has_to_be_sound(kind, source, tmp_path):
    refused(forge(source, tmp_path / "mirror", UNSOUND[kind], honest=True), tmp_path / "to")


def test_without_a_pinned_manifest_nothing_is_said_to_be_verified(source, tmp_path):
    mirrors = mirrors_for(FAMILY, RELEASE, source=str(source))
    report = obtain(FAMILY, RELEASE, WANTED, root=tmp_path / "to", mirrors=mirrors)
    assert report.files[0].verified == "unpinned"


def test_the_bytes_of_the_release_are_believed_and_no_other_figures_of_the_mirror(source, pinned, tmp_path):
    shutil.copytree(source, tmp_path / "mirror" / source.name)
    path = tmp_path / "mirror" / source.name / "manifest.json"
    listed = json.loads(path.read_text())
    for entry in listed["files"]:
        entry["returns"]["mean"] = 1e6
    path.write_text(json.dumps(listed | {"licence": "MINE"}))
    mirrors = mirrors_for(FAMILY, RELEASE, source=str(tmp_path / "mirror"))
    report = obtain(FAMILY, RELEASE, contents(FAMILY, RELEASE), root=tmp_path / "to", mirrors=mirrors)
    assert {file.verified for file in report.files} == {"sha256"}
    folder = dataset_folder(FAMILY, RELEASE, tmp_path / "to")
    assert Manifest.read(folder / "manifest.json").files == Manifest.read(source / "manifest.json").files


def bomb(path: Path) -> None:
    """Some KB that unfold to 400 MB."""
    table = shards.read(path)
    zeros = pa.concat_tables([table.slice(SLOTS, 1)] * 20_000).combine_chunks()
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(25):
            writer.write_table(zeros)


def long_list(path: Path) -> None:
    """Its first row holds a list of two million zeros, which takes some bytes, as the format of the release reads it."""
    table = shards.read(path)
    place, n = table.schema.get_field_index("reward"), 2_000_000
    ends = np.concatenate([[0], n + N * np.arange(table.num_rows)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.zeros(ends[-1], np.float32)))
    ours = {b"ARROW:schemX": base64.b64encode(table.schema.remove_metadata().serialize().to_pybytes())}
    settings = {"data_page_size": 1 << 30, "write_batch_size": 1 << 30, "compression": "zstd"}
    pq.write_table(table.set_column(place, "reward", lists).replace_schema_metadata(ours), path, **settings)
    raw = path.read_bytes().replace(b"ARROW:schema", b"ARROW:schemY").replace(b"ARROW:schemX", b"ARROW:schema")
    path.write_bytes(raw)


def lying_footer(path: Path) -> None:
    """The same, but the footer says that the column holds as many numbers as it should; the headers of its pages do not."""
    rows = pq.read_metadata(path).num_rows
    long_list(path)
    group = pq.read_metadata(path).row_group(0)
    (count,) = {group.column(i).num_values for i in range(group.num_columns) if "reward" in group.column(i).path_in_schema}
    raw = path.read_bytes()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    said, honest = ([2 * number >> 7 * k & 127 | 128 * (k < 3) for k in range(4)] for number in (count, rows * N))
    assert bytes(said) in raw[start:]
    path.write_bytes(raw[:start] + raw[start:].replace(bytes(said), bytes(honest)))


def long_note(path: Path) -> None:
    table = shards.read(path)
    pq.write_table(table.replace_schema_metadata({"note": "x" * (20 << 20)}), path)


def no_text(path: Path) -> None:
    """The schema names a column by what is no text; so do the pages' own heads, in the last places where the name stands."""
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"truncated", b"\xffruncated"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def out_of_the_folder(path: Path) -> None:
    path.rename(path.parents[4] / "elsewhere")
    path.symlink_to(path.parents[4] / "elsewhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES = {
    "a bomb": bomb,
    "a long list": long_list,
    "a lying footer": lying_footer,
    "a long note": long_note,
    "a column whose name is no text": no_text,
    "a pipe": pipe,
    "a link that leads out": out_of_the_folder,
    "a folder": folder,
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "text": lambda path: path.write_text("hello"),
    "the marks alone": lambda path: path.write_bytes(b"PAR1" * 3),
    "a footer that is too long": lambda path: path.write_bytes(b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("known", [True, False])
def test_files_that_are_none_are_refused(kind, known, source, tmp_path, request):
    if known:
        request.getfixturevalue("pinned")
    mirror = forge(source, tmp_path / "mirror", lambda table: table)
    path = mirror / source.name / PATH
    FILES[kind](path)
    listed = json.loads((mirror / source.name / "manifest.json").read_text())
    if path.is_file() and not path.is_symlink():
        entry = next(entry for entry in listed["files"] if entry["path"] == PATH)
        entry |= {"sha256": sha256(path), "bytes": path.stat().st_size}
        (mirror / source.name / "manifest.json").write_text(json.dumps(listed))
    said = refused(mirror, tmp_path / "to")
    assert kind not in ("a long list", "a lying footer") or "more memory than its rows take" in said


def entry(**parts) -> Callable[[dict], object]:
    return lambda listed: {**listed, "files": [{**one, **parts} if one["path"] == PATH else one for one in listed["files"]]}


def test_a_note_without_end_in_a_file_is_no_note(tmp_path):
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({shards.ABOUT: "[" * 100_000}), tmp_path / "a.parquet")
    assert shards.about(tmp_path / "a.parquet") is None


def test_what_names_a_column_beside_the_schema_may_be_anything(source, tmp_path):
    mirror = forge(source, tmp_path / "mirror", lambda table: table)
    path = mirror / source.name / PATH
    raw = path.read_bytes()
    at = raw.rindex(b"truncated")
    path.write_bytes(raw[:at] + b"\xff" + raw[at + 1 :])
    found = shards.inspect(path, PATH, FAMILY, VARIANT, WANTED[0].places)
    assert found.columns == Manifest.read(source / "manifest.json").entries()[PATH].columns


MANIFESTS: dict[str, Callable[[dict], object]] = {
    "other rows": entry(rows=1),
    "a billion rows": entry(rows=10**9),
    "more bytes than there are": entry(bytes=10**15),
    "bytes without end": entry(bytes=10**400),
    "a norm without end": entry(columns={"reward": [10**400, 0]}),
    "NaN": lambda listed: json.dumps(listed).replace('"mean": ', '"mean": NaN, "x": ', 1),
    "a return of 10^300": entry(returns={"episodes": 1, "sites": 1, "mean": 1e300, "spread": 0, "least": 0, "most": 0}),
    "another hash": entry(sha256="0" * 64),
    "no hash": entry(sha256="sha"),
    "a path that leads out": entry(path="data/../../evil.parquet"),
    "a file less": lambda listed: {**listed, "files": listed["files"][1:]},
    "a file more": lambda listed: {**listed, "files": [*listed["files"], {**listed["files"][0], "path": "data/x/y.parquet"}]},
    "a file twice": lambda listed: {**listed, "files": [*listed["files"], listed["files"][0]]},
    "another family": lambda listed: {**listed, "family": "power"},
    "other dynamics": lambda listed: {**listed, "dynamics": "99"},
    "another version": lambda listed: {**listed, "version": "9.9.9"},
    "escape codes": lambda listed: {**listed, "citation": "\x1b[31mMine"},
    "a long text": lambda listed: {**listed, "licence": "x" * 1000},
    "a field more": lambda listed: {**listed, "more": 1},
    "no files": lambda listed: {**listed, "files": None},
    "a number": lambda listed: 3,
    "deep": lambda listed: "[" * 200_000,
    "keys twice": lambda listed: '{"a": 1, ' * 3 + '"a": 1, "a": 2' + "}" * 3,
    "five million files": lambda listed: json.dumps(listed | {"files": []}).replace("[]", f"[{'1,' * 5_000_000}1]"),
    "20,000 files": lambda listed: {**listed, "files": [{}] * 20_000},
    "90,000 fields": lambda listed: {**listed, **dict.fromkeys(map(str, range(90_000)), 0)},
    "90,000 columns": entry(columns={str(number): [0, 0] for number in range(90_000)}),
    "a generator that a terminal obeys": lambda listed: {**listed, "generator": {"\x1b[31m": "1"}},
    "17 MB": lambda listed: json.dumps(listed) + " " * (17 << 20),
    "empty": lambda listed: "",
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_manifests_that_lie_are_refused(kind, source, tmp_path):
    mirror = forge(source, tmp_path / "mirror", lambda table: table)
    path = mirror / source.name / "manifest.json"
    found = MANIFESTS[kind](json.loads(path.read_text()))
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    start = time.process_time()
    refused(mirror, tmp_path / "to")
    assert time.process_time() - start < 3
