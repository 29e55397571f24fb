"""Downloads from folders and URLs: partial, resumed, verified, safe beside each other, and exact about what they did."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from wbench import cli
from wbench.benchmark.data import manifest, mirrors, paths, shards
from wbench.benchmark.data.cache import verify
from wbench.benchmark.data.download import mirrors_for
from wbench.benchmark.data.manifest import Manifest
from wbench.benchmark.data.release import contents, dataset_folder, select
from wbench.errors import DataError, InvalidValueError, NetworkError, OutputError

from ..conftest import Done
from .tiny import CODE, FAMILY, FILES, RELEASE, build, obtain
from .tiny import ONE as LABEL

ONE = f"data/{LABEL}/mixed.parquet"
WANTED = select(FAMILY, RELEASE, [LABEL], ["mixed"])


class Server(http.server.SimpleHTTPRequestHandler):
    """Plain files, and whatever goes wrong next: (path pattern, what) pairs, each used once."""

    faults: list[tuple[str, str]]
    asked: list[str]
    slow: float

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        fault = next((f for f in self.faults if re.search(f[0], self.path)), None)
        if fault:
            self.faults.remove(fault)
        what = fault[1] if fault else ""
        path = Path(self.translate_path(self.path))
        if what.isdigit():
            self.send_error(int(what))
            return
        if not path.is_file():
            self.send_error(404)
            return
        raw = path.read_bytes()
        if what == "flip":
            raw = raw[:100] + bytes([raw[100] ^ 1]) + raw[101:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that was killed, or that has enough, hangs up: nothing to answer any more
            if what == "break":
                self.wfile.write(raw[: len(raw) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            for i in range(0, len(raw), 4096):
                self.wfile.write(raw[i : i + 4096])
                time.sleep(self.slow)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    build(FAMILY, RELEASE, root)
    return root


@pytest.fixture
def server(source):
    handler = type("Handler", (Server,), {"faults": [], "asked": [], "slow": 0.0})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(source)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{httpd.server_port}"
    yield handler
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(mirrors, "PATIENCE", 0.01)
    monkeypatch.delenv("WBENCH_NAMESPACE", raising=False)


def fetch(root, where, wanted=WANTED, **options):
    return obtain(FAMILY, RELEASE, wanted, root=root, mirrors=mirrors_for(FAMILY, RELEASE, source=str(where)), **options)


def same(root, source, path=ONE):
    inner = dataset_folder(FAMILY, RELEASE, Path()).name
    return (root / inner / path).read_bytes() == (source / inner / path).read_bytes()


def test_a_part_of_a_release_comes_alone_and_the_report_is_exact(source, server, tmp_path):
    report = fetch(tmp_path, server.url)
    (file,) = report.files
    size = (dataset_folder(FAMILY, RELEASE, source) / ONE).stat().st_size
    assert (file.path, file.source, file.revision, file.bytes, file.verified) == (ONE, server.url, None, size, "unpinned")
    assert same(tmp_path, source) and len(list(tmp_path.rglob("*.parquet"))) == 1 and report.notes == ()
    assert [path for path in server.asked if path.endswith(".parquet")] == [f"/access-tiny-v1.0.0/{ONE}"]
    server.asked.clear()
    again = fetch(tmp_path, server.url)
    assert again.files[0].source == "cache" and server.asked == []
    assert again.files[0].verified == "unpinned"
    rest = fetch(tmp_path, server.url + "/access-tiny-v1.0.0", contents(FAMILY, RELEASE))  # the dataset folder itself
    assert {f.source for f in rest.files} == {"cache", server.url + "/access-tiny-v1.0.0"}
    assert verify(FAMILY, RELEASE, tmp_path).count("same bytes") == FILES
    assert rest.manifest == Manifest.read(dataset_folder(FAMILY, RELEASE, source) / "manifest.json").digest()


def test_a_dry_run_says_what_would_come_and_writes_nothing(source, server, tmp_path):
    report = fetch(tmp_path / "new", server.url, dry_run=True)
    assert report.files[0].source == server.url and report.files[0].verified == "no" and report.files[0].bytes > 0
    assert obtain(FAMILY, RELEASE, WANTED, root=tmp_path / "new", dry_run=True).files[0].source == "built here"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_a_mirror_and_what_it_lacks_is_recorded_to_the_same_bytes(source, tmp_path):
    partial = tmp_path / "partial"
    subprocess.run(["cp", "-a", str(source), str(partial)], check=True)
    (dataset_folder(FAMILY, RELEASE, partial) / ONE).unlink()
    report = fetch(tmp_path / "to", partial, contents(FAMILY, RELEASE))
    assert {f.source for f in report.files if f.path != ONE} == {str(partial)}
    missing = next(f for f in report.files if f.path == ONE)
    assert (missing.source, missing.verified) == ("built here", "recorded") and same(tmp_path / "to", source)
    assert any(f"{ONE} is not in" in note for note in report.notes)


@pytest.mark.parametrize("fault", ["flip", "break", "429", "503", "500"])
def test_trouble_on_the_way_is_met_by_another_try(source, server, tmp_path, fault):
    server.faults.append(("mixed", fault))
    report = fetch(tmp_path, server.url)
    assert same(tmp_path, source) and report.files[0].verified == "unpinned"
    assert (len(report.notes) == 1 and f"{ONE} from {server.url} is corrupt" in report.notes[0]) == (fault == "flip")
    assert sum("mixed" in path for path in server.asked) == 2


@pytest.mark.parametrize(
    ("faults", "error", "said"),
    [
        (["flip"] * 9, DataError, f"{ONE} from .* is corrupt"),
        (["503"] * 9, NetworkError, "answers 503"),
        (["break"] * 9, NetworkError, "broke off"),
        (["403"], DataError, "no rights"),
        (["401"], DataError, "no rights"),
    ],
)
def test_lasting_trouble_ends_in_one_line_and_no_file(server, tmp_path, faults, error, said):
    server.faults += [("mixed", fault) for fault in faults]
    with pytest.raises(error, match=said) as raised:
        fetch(tmp_path, server.url)
    assert raised.value.exit_code == (3 if error is NetworkError else 2)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_no_mirror_can_give(source, server, tmp_path):
    with pytest.raises(NetworkError, match="cannot reach"):
        fetch(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(DataError, match="holds neither"):
        fetch(tmp_path, tmp_path)
    with pytest.raises(InvalidValueError, match="--from"):
        fetch(tmp_path, "no/such/folder")
    with pytest.raises(InvalidValueError, match="--revision"):
        mirrors_for(FAMILY, RELEASE, revision="v1.0.0")
    bent = tmp_path / "bent" / "access-tiny-v1.0.0"
    bent.mkdir(parents=True)
    good = (dataset_folder(FAMILY, RELEASE, source) / "manifest.json").read_text()
    for change, said in (
        ((f"data/{LABEL}/mixed", "data/../../../evil"), "no valid manifest"),
        (('"tiny"', '"huge"'), "manifest is of"),
        ((f"{LABEL}/mixed", f"{LABEL}/other"), "lacks or adds 2 files"),
    ):
        (bent / "manifest.json").write_text(good.replace(*change))
        with pytest.raises(DataError, match=said):
            fetch(tmp_path / "to", bent.parent)
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_mirror_whose_release_differs_from_ours_is_refused(source, tmp_path):
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", str(source), str(other)], check=True)
    path = dataset_folder(FAMILY, RELEASE, other) / "manifest.json"
    data = json.loads(path.read_text())
    data["files"][0] |= {"sha256": "0" * 64, "columns": data["files"][1]["columns"]}
    path.write_text(json.dumps(data))
    fetch(tmp_path / "to", source)
    with pytest.raises(DataError, match="A release never changes"):
        fetch(tmp_path / "to", other, contents(FAMILY, RELEASE))


def test_a_mirror_of_other_bytes_is_read_here_and_never_believed(source, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_SHIPPED", tmp_path / "shipped")
    good = dataset_folder(FAMILY, RELEASE, source)
    manifest.freeze(Manifest.read(good / "manifest.json"), RELEASE.id)
    table = shards.read(good / ONE)
    reward = table.schema.get_field_index("reward")
    doubled = pa.FixedSizeListArray.from_arrays(pc.multiply(table["reward"].combine_chunks().flatten(), 2), 8)
    forged = table.set_column(reward, table.schema.field(reward), doubled)
    kinds = (table, ""), (forged, "as published"), (table.slice(1), "257 rows, not the 258")
    for number, (changed, said) in enumerate(kinds):
        root = tmp_path / str(number)
        subprocess.run(["cp", "-a", str(source), str(root)], check=True)
        bent = dataset_folder(FAMILY, RELEASE, root)
        pq.write_table(changed, bent / ONE)  # other bytes, under a manifest that copies the summaries of the good ones
        listed = json.loads((bent / "manifest.json").read_text())
        (entry,) = [entry for entry in listed["files"] if entry["path"] == ONE]
        entry |= {"sha256": paths.sha256(bent / ONE), "bytes": (bent / ONE).stat().st_size}
        (bent / "manifest.json").write_text(json.dumps(listed))
        to = tmp_path / f"to{number}"
        if not said:
            assert fetch(to, root).files[0].verified == "numbers"
            continue
        with pytest.raises(DataError, match=said):
            fetch(to, root)
        assert not list(to.rglob("*.parquet"))
    manifest._read_shipped.cache_clear()


def test_two_processes_at_once_share_the_work_and_one_killed_resumes(source, server, tmp_path):
    server.slow = 0.02
    code = CODE + (
        "report = obtain(FAMILY, RELEASE, contents(FAMILY, RELEASE), root=Path(sys.argv[2]),"
        " mirrors=mirrors_for(FAMILY, RELEASE, source=sys.argv[1]))\n"
        "print(sum(f.source == 'cache' for f in report.files), {f.verified for f in report.files})"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path)]

    def halves() -> list[Path]:
        return [path for path in tmp_path.rglob(".*.parquet.*") if path.exists()]

    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not halves():
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(list(tmp_path.rglob("*.parquet")))
    assert done < FILES and halves()
    server.asked.clear()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in both]
    assert sorted(said) == sorted([f"{done} {{'unpinned'}}", f"{FILES} {{'unpinned'}}"])
    files = [path for path in server.asked if path.endswith(".parquet")]
    assert len(files) == len(set(files)) == FILES - done  # nothing came twice
    assert verify(FAMILY, RELEASE, tmp_path).count("same bytes") == FILES and not halves()


def test_a_full_disk_keeps_what_is_good_and_removes_the_half(source, server, tmp_path, monkeypatch):
    fetch(tmp_path, server.url)

    def full(mirror, entry, path):
        path.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mirrors.StreamMirror, "_receive", full)
    with pytest.raises(OutputError, match="no space left"):
        fetch(tmp_path, server.url, contents(FAMILY, RELEASE))
    assert same(tmp_path, source) and not list(tmp_path.rglob(".*.parquet.*"))


def test_a_damaged_file_is_named_and_fetched_again(source, server, tmp_path):
    fetch(tmp_path, server.url)
    path = dataset_folder(FAMILY, RELEASE, tmp_path) / ONE
    path.write_bytes(path.read_bytes()[:-100])
    report = fetch(tmp_path, server.url)
    assert report.files[0].source == server.url and same(tmp_path, source)
    assert re.search(r"mixed.parquet is damaged.*It is replaced", report.notes[0])


@pytest.fixture
def wbench(monkeypatch, capsys):
    """The command line in this process: a process of its own takes seconds to import torch."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["wbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_command_line_downloads_verifies_and_fails_with_the_right_code(wbench, tmp_path):
    some = ("--variant", f"access/{LABEL}", "--quality", "mixed")
    done = wbench("download", *some, "--to", str(tmp_path / "a"), "--json")
    assert done.code == 0, done.err
    (dataset,) = done.data["datasets"]
    assert dataset["family"] == "access" and [file["path"] for file in dataset["files"]] == [ONE]
    assert dataset["files"][0]["verified"] in ("sha256", "numbers", "recorded")
    assert dataset["files"][0]["source"] == "built here"
    folder = Path(dataset["folder"])
    checked = wbench("data", "verify", "access", "--to", str(tmp_path / "a"), "--json")
    assert checked.code == 0 and checked.data["datasets"][0]["files"][ONE] in ("same bytes", "same numbers", "unpublished")
    copied = wbench("download", "access", *some, "--to", str(tmp_path / "b"), "--from", str(tmp_path / "a"))
    assert copied.code == 2 and "holds neither" in copied.err  # a part without a manifest is no mirror
    for arguments, code, said in (
        (("download", "acess"), 2, "Did you mean 'access'"),
        (("download", "access", "--release", "maxi"), 2, "Did you mean 'mini'"),
        (("download", "access", "--quality", "god"), 2, "unknown quality"),
        (("download", "access", "--variant", "n5"), 2, "unknown variant"),
        (("download", "access", "--revision", "v1.0.0", "--release", "mini"), 2, "--revision"),
        (("download", "access", "--from", "http://127.0.0.1:9", "--to", str(tmp_path / "c")), 3, "cannot reach"),
        (("download", "access", "--namespace", "../x"), 2, "--namespace"),
        (("data", "build", "--jobs", "0"), 2, "--jobs is 0"),
        (("data", "verify", "power", "--to", str(tmp_path / "a")), 2, "wbench download power"),
        (("data", "publish", "--namespace", "me", "--to", str(tmp_path / "a"), "--family", "access"), 2, "not complete"),
    ):
        done = wbench(*arguments)
        lines = [line for line in done.err.splitlines() if line.startswith("wbench: ")]
        assert done.code == code and said in lines[-1] and "Traceback" not in done.err, (arguments, done)
    (folder / ONE).write_bytes(b"PAR1")
    broken = wbench("data", "verify", "access", "--to", str(tmp_path / "a"))
    assert broken.code == 2 and f"{ONE} is damaged" in broken.err and "wbench download access" in broken.err
    planned = wbench("download", "power", "--dry-run", "--to", str(tmp_path), "--release", "standard")
    assert "known once they are recorded" in planned.out


def test_doctor_and_the_list_of_datasets(wbench, monkeypatch):
    done = wbench("doctor", "--json")
    assert done.code == 0, done.err
    found = {finding["what"]: finding["found"] for finding in done.data["findings"]}
    assert {"python", "torch", "threads", "cache", "free disk", "hub", "checkpoint networld-small"} <= found.keys()
    rows = wbench("data", "list", "--json").data["datasets"]
    assert {(row["family"], row["release"]) for row in rows} >= {("access", "mini"), ("power", "standard")}
    monkeypatch.setenv("COLUMNS", "200")
    assert "agent transitions" in wbench("data", "list").out
