"""The loopback Hub, asked by the real clients over real HTTP: what it keeps and refuses, what clients make of faults."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from wbench.hub.objects import RefusedError, safe_path
from wbench.hub.pulls import open_pull
from wbench.hub.store import Hub
from wbench.hub.tree import is_lfs

if TYPE_CHECKING:
    from wbench.tests.hub_fixture import LoopbackHub

pytest_plugins = ["wbench.tests.hub_fixture"]

START = """
import hashlib, json, os, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
api = HfApi()

def publish(repo, files, repo_type="dataset", tag=None, **kwargs):
    made = [CommitOperationAdd(path, data) for path, data in files.items()]
    commit = api.create_commit(repo, made, commit_message="files", repo_type=repo_type, **kwargs)
    if tag:
        api.create_tag(repo, tag=tag, revision=commit.oid, repo_type=repo_type)
    return commit

def outcome(call):
    try:
        return call() and "fine"
    except Exception as error:
        return [type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)]

def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
"""
BIG = bytes(range(256)) * 100_000  # 25.6 MB: the client flushes what it receives every 10 MiB
FILE = 'hf_hub_download("lab/big", "data.parquet", repo_type="dataset", revision="v1")'


def run(hub: LoopbackHub, code: str, **env: str | None):
    """What client code prints last, as JSON."""
    return hub.python(START + code, **env).data


@pytest.fixture(scope="module")
def big(hub_server: LoopbackHub) -> str:
    """The SHA-256 of `data.parquet` in lab/big at v1."""
    code = "api.create_repo('lab/big', repo_type='dataset')\n"
    code += "publish('lab/big', {'data.parquet': bytes(range(256)) * 100_000}, tag='v1')\nprint(1)"
    assert run(hub_server, code) == 1
    return hashlib.sha256(BIG).hexdigest()


def test_publish_tag_and_download_by_tag(hub):
    code = """
repo = "lab/releases"
api.create_repo(repo, repo_type="dataset")
first = {"README.md": b"# one\\n", "manifest.json": b"{}"}
first |= {"data/a.parquet": os.urandom(3_000_000), "data/b.npz": os.urandom(70_000)}
second = first | {"data/a.parquet": first["data/a.parquet"][:-9] + b"different"}
one = publish(repo, first, tag="v1.0.0").oid
publish(repo, second, tag="v1.1.0")
publish(repo, second | {"data/b.npz": b"later"})

def read(tag, **kwargs):
    folder = Path(snapshot_download(repo, repo_type="dataset", revision=tag, **kwargs))
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found.pop(".gitattributes", None)
    return found

parts = read("v1.0.0", allow_patterns=["data/a*", "manifest.json"], cache_dir=os.environ["HF_HOME"] + "/partial")
api.delete_file("data/b.npz", repo, repo_type="dataset")
api.delete_folder("data/", repo, repo_type="dataset")
refs = api.list_repo_refs(repo, repo_type="dataset")
print(json.dumps({
    "equal": [read("v1.0.0") == first, read("v1.1.0") == second, read(one) == first],
    "parts": sorted(parts),
    "again": outcome(lambda: api.create_tag(repo, tag="v1.0.0", repo_type="dataset")),
    "tags": [t.name for t in refs.tags], "tagged": refs.tags[0].target_commit == one,
    "titles": [c.title for c in api.list_repo_commits(repo, repo_type="dataset")],
    "left": api.list_repo_files(repo, repo_type="dataset"),
    "there": [p.path for p in api.get_paths_info(repo, ["data", "README.md", "no"], revision=one, repo_type="dataset")],
    "lfs": [f.path for f in api.list_repo_tree(repo, "data", revision=one, repo_type="dataset") if f.lfs],
}))
"""
    found = run(hub, code)
    assert found["equal"] == [True, True, True]
    assert found["parts"] == ["data/a.parquet", "manifest.json"]
    assert found["again"] == ["HfHubHTTPError", 409]
    assert found["tags"] == ["v1.0.0", "v1.1.0"] and found["tagged"]
    assert found["titles"][2:] == ["files", "files", "files", "initial commit"]
    assert found["left"] == [".gitattributes", "README.md", "manifest.json"]
    assert found["there"] == ["data", "README.md"]
    assert found["lfs"] == ["data/a.parquet", "data/b.npz"]
    puts = [request for request in hub.faults.requests if request.startswith("PUT")]
    assert len(puts) == 4

    offline = """
folder = snapshot_download("lab/releases", repo_type="dataset", revision="v1.0.0", local_files_only=True)
gone = outcome(lambda: snapshot_download("lab/releases", repo_type="dataset", revision="v9", local_files_only=True))
Path(folder, "data/a.parquet").unlink()
part = outcome(lambda: snapshot_download("lab/releases", repo_type="dataset", revision="v1.0.0"))
print(json.dumps([gone, part]))
"""
    before = len(hub.faults.requests)
    assert run(hub, offline, HF_HUB_OFFLINE="1") == [["LocalEntryNotFoundError", None], ["IncompleteSnapshotError", None]]
    assert len(hub.faults.requests) == before


def test_load_dataset_by_config_split_and_revision(hub):
    code = """
import io, pyarrow as pa, pyarrow.parquet as pq
import datasets
datasets.disable_progress_bars()

def parquet(start, n):
    out = io.BytesIO()
    rows = {"t": list(range(start, start + n)), "obs": pa.array([[1.0, 2.0]] * n, pa.list_(pa.float32(), 2))}
    pq.write_table(pa.table(rows), out, row_group_size=100)
    return out.getvalue()

card = '''---
configs:
- config_name: easy
  data_files:
  - {split: random, path: easy/random-*.parquet}
  - {split: expert, path: easy/expert-*.parquet}
- config_name: hard
  data_files:
  - {split: random, path: hard/random-*.parquet}
---
# A dataset
'''
files = {"README.md": card.encode(), "easy/expert-0.parquet": parquet(500, 7), "hard/random-0.parquet": parquet(900, 5)}
for i in range(2):
    files[f"easy/random-{i}.parquet"] = parquet(300 * i, 300)
api.create_repo("lab/rows", repo_type="dataset")
publish("lab/rows", files, tag="v1.0.0")
publish("lab/rows", {"hard/random-0.parquet": parquet(0, 50)}, tag="v2.0.0")
load = lambda config, split, tag, **kwargs: datasets.load_dataset("lab/rows", config, split=split, revision=tag, **kwargs)
stream = load("easy", "random", "v1.0.0", streaming=True)
datasets.Dataset.from_dict({"x": [1, 2, 3]}).push_to_hub("lab/pushed")
print(json.dumps({
    "configs": datasets.get_dataset_config_names("lab/rows", revision="v1.0.0"),
    "rows": [load("easy", "random", "v1.0.0").num_rows, load("easy", "expert", "v1.0.0")["t"][:2]],
    "by tag": [load("hard", "random", tag).num_rows for tag in ("v1.0.0", "v2.0.0")],
    "stream": [row["t"] for row in stream.skip(298).take(4)],
    "pushed": datasets.load_dataset("lab/pushed", split="train")["x"][:],
}))
"""
    found = run(hub, code)
    assert found["configs"] == ["easy", "hard"]
    assert found["rows"] == [600, [500, 501]] and found["by tag"] == [5, 50]
    assert found["stream"] == [298, 299, 300, 301]
    assert found["pushed"] == [1, 2, 3]
    assert any(" bytes=" in request for request in hub.faults.requests)


def test_a_model_comes_back_by_revision(hub):
    code = """
import torch
from huggingface_hub import PyTorchModelHubMixin
class Net(torch.nn.Module, PyTorchModelHubMixin):
    def __init__(self, width: int):
        super().__init__()
        self.layer = torch.nn.Linear(width, width)
net = Net(width=3)
old = net.push_to_hub("lab/net").oid
before = net.layer.weight.detach().clone()
with torch.no_grad():
    net.layer.weight += 1
net.push_to_hub("lab/net")
load = lambda **kwargs: Net.from_pretrained("lab/net", strict=True, **kwargs).layer.weight
print(json.dumps([torch.equal(load(revision=old), before), torch.equal(load(), net.layer.weight)]))
"""
    assert run(hub, code) == [True, True]


def test_pull_requests_and_branches(hub):
    code = """
repo = "lab/results"
api.create_repo(repo, repo_type="dataset")
ours = lambda **files: publish(repo, {f"{name}.json": text.encode() for name, text in files.items()}, create_pr=True)
publish(repo, {"index.json": b"one\\ntwo\\n"})
good, bad = ours(alice="new\\n", index="one\\nthree\\n"), ours(index="one\\nfour\\n")
publish(repo, {"bob.json": b"meanwhile\\n"})
seen = api.get_discussion_details(repo, good.pr_num, repo_type="dataset")
more = publish(repo, {"more.parquet": b"12"}, revision=good.pr_revision)
on_main = api.file_exists(repo, "alice.json", repo_type="dataset")
api.comment_discussion(repo, good.pr_num, "thanks", repo_type="dataset")
api.merge_pull_request(repo, good.pr_num, repo_type="dataset")
done = api.get_discussion_details(repo, good.pr_num, repo_type="dataset")
api.create_branch(repo, branch="try/it", revision=good.oid, repo_type="dataset")
publish(repo, {"only.json": b"here"}, revision="try/it")
refs = api.list_repo_refs(repo, repo_type="dataset", include_pull_requests=True)
print(json.dumps({
    "seen": [seen.status, seen.is_pull_request, seen.diff, seen.conflicting_files, seen.target_branch, good.pr_revision],
    "on main": on_main,
    "done": [done.status, done.merge_commit_oid == api.dataset_info(repo).sha, "more.parquet" in done.diff],
    "events": [event.type for event in done.events],
    "files": api.list_repo_files(repo, repo_type="dataset"),
    "index": Path(hf_hub_download(repo, "index.json", repo_type="dataset")).read_text(),
    "bad": api.get_discussion_details(repo, bad.pr_num, repo_type="dataset").conflicting_files,
    "merge bad": outcome(lambda: api.merge_pull_request(repo, bad.pr_num, repo_type="dataset")),
    "listed": [(d.num, d.status) for d in api.get_repo_discussions(repo, repo_type="dataset")],
    "branch": "only.json" in api.list_repo_files(repo, revision="try/it", repo_type="dataset"),
    "branches": [b.name for b in refs.branches], "pulls": [p.ref for p in refs.pull_requests],
    "closed": api.change_discussion_status(repo, bad.pr_num, "closed", repo_type="dataset").new_status,
}))
"""
    found = run(hub, code)
    status, is_pull, diff, conflicts, target, revision = found["seen"]
    assert (status, is_pull, conflicts, target, revision) == ("open", True, [], "refs/heads/main", "refs/pr/1")
    assert "+++ b/alice.json" in diff and "-two\n+three\n" in diff and "bob.json" not in diff
    assert not found["on main"]
    assert found["done"] == ["merged", True, True]
    assert found["events"] == ["comment", "commit", "commit", "comment", "status-change"]
    assert found["files"] == [".gitattributes", "alice.json", "bob.json", "index.json", "more.parquet"]
    assert found["index"] == "one\nthree\n"
    assert found["bad"] == ["index.json"] and found["merge bad"] == ["HfHubHTTPError", 409]
    assert found["listed"] == [[2, "open"], [1, "merged"]] and found["closed"] == "closed"
    assert found["branch"] and found["branches"] == ["main", "try/it"] and found["pulls"] == ["refs/pr/1", "refs/pr/2"]


def test_eight_writers_lose_nothing_and_a_stale_parent_is_told(hub):
    code = """
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub.errors import HfHubHTTPError
repo = "lab/board"
api.create_repo(repo)
old = publish(repo, {"rows.json": b"[]"}, repo_type=None).oid

def append(row):
    for attempt in range(50):
        head = api.model_info(repo).sha
        rows = json.loads(Path(hf_hub_download(repo, "rows.json", revision=head)).read_text())
        try:
            publish(repo, {"rows.json": json.dumps(rows + [row]).encode()}, repo_type=None, parent_commit=head)
            return attempt
        except HfHubHTTPError as error:
            assert error.response.status_code == 412, error

with ThreadPoolExecutor(8) as pool:
    attempts = list(pool.map(append, range(16)))
rows = json.loads(Path(hf_hub_download(repo, "rows.json")).read_text())
stale = outcome(lambda: publish(repo, {"x": b"1"}, repo_type=None, parent_commit=old))
pull = outcome(lambda: publish(repo, {"x": b"1"}, repo_type=None, parent_commit=old, create_pr=True))
discussions = len(list(api.get_repo_discussions(repo)))
print(json.dumps([sorted(rows), sum(attempts), stale, pull, discussions, len(api.list_repo_commits(repo))]))
"""
    rows, retries, stale, pull, discussions, commits = run(hub, code)
    assert rows == list(range(16)) and commits == 18 and retries > 0
    assert stale == pull == ["HfHubHTTPError", 412] and discussions == 0


def test_private_repositories_and_tokens(hub):
    code = """
api.create_repo("anna/secret", private=True)
publish("anna/secret", {"a.txt": b"a"}, repo_type=None)
def seen(token):
    info = outcome(lambda: api.model_info("anna/secret", token=token))
    file = outcome(lambda: hf_hub_download("anna/secret", "a.txt", token=token, cache_dir=f"{os.environ['HF_HOME']}/{token}"))
    return [info, file]
api.create_repo("lab/public")
add = lambda token: outcome(lambda: publish("lab/public", {"a": b"a"}, repo_type=None, token=token))
print(json.dumps({
    "read": {str(token): seen(token) for token in ("hf_test", "hf_read_anna", "hf_read_ben", False, "hf_made_up")},
    "public": outcome(lambda: api.model_info("lab/public", token=False)),
    "write": [add(token) for token in ("hf_read", False, "hf_test_carl")],
    "listed": [m.id for m in api.list_models(search="secret")],
    "who": [api.whoami()["name"], api.whoami(token="hf_test_carl")["name"]],
    "gated": [api.update_repo_settings("anna/secret", gated="auto"), api.model_info("anna/secret").private][1],
    "twice": [outcome(lambda: api.create_repo("lab/public")), outcome(lambda: api.create_repo("lab/public", exist_ok=True))],
}))
"""
    found = run(hub, code)
    hidden, unknown = ["RepositoryNotFoundError", 404], ["HfHubHTTPError", 401]
    assert found["read"]["hf_test"] == found["read"]["hf_read_anna"] == ["fine", "fine"]
    assert found["read"]["hf_read_ben"] == [hidden, hidden]
    assert found["read"]["False"] == [["RepositoryNotFoundError", 401]] * 2
    assert found["read"]["hf_made_up"] == [unknown, unknown]
    assert found["public"] == "fine" and found["listed"] == [] and found["gated"] is True
    assert found["write"] == [["HfHubHTTPError", 403], ["HfHubHTTPError", 401], "fine"]
    assert found["who"] == ["test", "carl"] and found["twice"] == [["HfHubHTTPError", 409], "fine"]


def test_a_restart_keeps_everything(hub, big):
    hub.restart()
    assert run(hub, f"print(json.dumps([sha256({FILE}), api.dataset_info('lab/big').private]))") == [big, False]


# What goes wrong. Each of these says what the client does of itself; the rest is for wbench to do.


def test_a_download_goes_on_where_the_server_died(hub, big):
    hub.faults.add("GET .*/resolve/", die=15_000_000)
    client = hub.popen(START + f"print(json.dumps(sha256({FILE})))")
    while hub.running:
        time.sleep(0.05)
    hub.restart()
    out, err = client.communicate(timeout=30)
    assert json.loads(out) == big, err
    assert [request.split()[-1] for request in hub.faults.requests] == ["bytes=10485760-"]  # on from the last flush


def test_a_dropped_connection_resumes(hub, big):
    hub.faults.add("GET .*/resolve/", cut=15_000_000)
    assert run(hub, f"print(json.dumps(sha256({FILE})))") == big
    assert [r.split()[-1] for r in hub.faults.requests if "GET" in r and "resolve" in r][1:] == ["bytes=10485760-"]


def test_the_client_detects_neither_flipped_bits_nor_wrong_etags(hub, big):
    hub.faults.add("GET .*/resolve/", flip=15_000_000)
    code = f"path = {FILE}\nprint(json.dumps([sha256(path), Path(path).resolve().name]))"
    found, blob = run(hub, code)
    assert found != big and blob == big  # damaged, yet kept under the SHA-256 that it should have
    assert run(hub, code, HF_HUB_OFFLINE="1")[0] == found  # and never looked at again: wbench must check what it loads
    fresh = {"HF_HOME": hub.env["HF_HOME"] + "-fresh"}
    hub.faults.add("HEAD .*/resolve/", headers={"ETag": '"made-up"', "X-Linked-ETag": '"made-up"'})
    assert run(hub, code, **fresh) == [big, "made-up"]


def test_a_wrong_size_is_detected(hub, big):
    hub.faults.add("HEAD .*/resolve/", headers={"X-Linked-Size": "100"})
    assert run(hub, f"print(json.dumps(outcome(lambda: {FILE})))") == ["OSError", None]


def test_a_slow_answer_is_asked_for_again(hub, big):
    hub.faults.add("GET .*/resolve/", delay=3)
    assert run(hub, f"print(json.dumps(sha256({FILE})))", HF_HUB_DOWNLOAD_TIMEOUT="1") == big
    assert sum("GET" in r and "resolve" in r for r in hub.faults.requests) == 2


def test_what_the_client_makes_of_a_status(hub, big):
    local = ["LocalEntryNotFoundError", None]
    expected = {  # of the listing of a revision, of HEAD and of GET; the first is never asked for again
        401: [["HfHubHTTPError", 401], ["HfHubHTTPError", 401], ["HfHubHTTPError", 401]],
        403: [local, local, ["HfHubHTTPError", 403]],
        404: [local, local, ["HfHubHTTPError", 404]],  # without X-Error-Code, as a proxy answers
        429: [local, "fine", "fine"],  # asked for again, after Retry-After
        500: [local, "fine", ["HfHubHTTPError", 500]],
    }
    for status in expected:
        for match in (f"/revision/s{status}", f"HEAD .*/s{status}/.gitattributes", f"GET .*/s{status}/data.parquet"):
            hub.faults.add(match, status=status, headers={"Retry-After": "0"})
    code = """
def outcomes(status):
    api.create_tag("lab/big", tag=f"s{status}", repo_type="dataset")
    here = {"repo_type": "dataset", "revision": f"s{status}", "cache_dir": f"{os.environ['HF_HOME']}/{status}"}
    return [
        outcome(lambda: snapshot_download("lab/big", **here)),
        outcome(lambda: hf_hub_download("lab/big", ".gitattributes", **here)),
        outcome(lambda: hf_hub_download("lab/big", "data.parquet", **here)),
    ]
print(json.dumps({status: outcomes(status) for status in (401, 403, 404, 429, 500)}))
"""
    assert run(hub, code) == {str(status): outcomes for status, outcomes in expected.items()}


def test_a_connection_that_stays_broken_raises_what_is_no_oserror(hub, big):
    code = """
import huggingface_hub.file_download
huggingface_hub.file_download.time.sleep = lambda seconds: None
kinds = []
for call in (lambda: FILE, lambda: api.dataset_info("lab/big")):
    try:
        call()
    except Exception as error:
        kinds.append([type(error).__name__, isinstance(error, OSError)])
print(json.dumps(kinds))
""".replace("FILE", FILE)
    hub.faults.add("GET .*/resolve/", cut=100, times=-1)
    hub.faults.add("GET /api/datasets/", cut=100, times=-1)
    assert run(hub, code) == [["RemoteProtocolError", False], ["RemoteProtocolError", False]]
    assert sum("GET" in request and "resolve" in request for request in hub.faults.requests) == 6  # five more tries
    hub.stop()
    assert run(hub, code) == [["LocalEntryNotFoundError", True], ["ConnectError", False]]


def test_what_does_not_exist(hub, big):
    code = """
info = lambda *args, **kwargs: outcome(lambda: api.dataset_info(*args, **kwargs))
file = lambda repo, path, tag: outcome(lambda: hf_hub_download(repo, path, repo_type="dataset", revision=tag))
delete = lambda **kwargs: outcome(
    lambda: api.create_commit("lab/big", [CommitOperationDelete("no")], commit_message="x", repo_type="dataset", **kwargs)
)
print(json.dumps({
    "repo": [info("lab/none"), file("lab/none", "a", "v1"), info("lab/none", token=False)],
    "revision": [info("lab/big", revision="v9"), file("lab/big", "data.parquet", "v9")],
    "entry": [file("lab/big", "none", "v1"), outcome(lambda: list(api.list_repo_tree("lab/big", "none", repo_type="dataset")))],
    "snapshot": outcome(lambda: snapshot_download("lab/big", repo_type="dataset", revision="v9")),
    "tag": outcome(lambda: api.delete_tag("lab/big", tag="v9", repo_type="dataset")),
    "deletion": [delete(), delete(create_pr=True), len(list(api.get_repo_discussions("lab/big", repo_type="dataset")))],
    "commit": outcome(lambda: publish("lab/big", {"a": b"a"}, revision="nobranch")),
}))
"""
    repo, revision, entry = ([f"{kind}NotFoundError", 404] for kind in ("Repository", "Revision", "RemoteEntry"))
    found = run(hub, code)
    assert found["repo"] == [repo, repo, ["RepositoryNotFoundError", 401]]
    assert found["revision"] == [revision, revision] and found["snapshot"] == revision
    assert found["entry"] == [entry, entry] and found["deletion"] == [entry, entry, 0]
    assert found["tag"] == revision and found["commit"] == revision


def test_two_processes_fill_one_cache(hub, big):
    code = START + f"print(json.dumps(sha256({FILE})))"
    hub.faults.add("GET .*/resolve/", delay=0.5, times=-1)  # so that they meet
    clients = [hub.popen(code) for _ in range(2)]
    assert [json.loads(client.communicate(timeout=30)[0]) for client in clients] == [big, big]


# What no client sends.


def raw(hub: LoopbackHub, method: str, path: str, body: bytes = b"", token: str = "hf_test") -> tuple[int, bytes]:
    """An answer to a request as it stands."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def upload(hub: LoopbackHub, size: int) -> str:
    """The path that takes an LFS file of this size."""
    objects = {"objects": [{"oid": "0" * 64, "size": size}]}
    batch = json.loads(raw(hub, "POST", "/datasets/lab/big.git/info/lfs/objects/batch", json.dumps(objects).encode())[1])
    return batch["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.url)


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/..%2f..%2f/etc",
        "/api/models/%2e%2e/%2e%2e",
        "/api/models/lab/..%2f..%2ftmp",
        "/api/../models/lab/x",
        "/lab/big/resolve/main/../../../etc/passwd",
        "/datasets/lab/big/resolve/v1/..%2f..%2f..%2fetc%2fpasswd",
        "/datasets/lab/big/resolve/..%2f..%2frepo.json/x",
    ],
)
def test_names_cannot_leave_the_folder(hub, big, path):
    status, body = raw(hub, "GET", path)
    assert status in (400, 404) and b"root:" not in body


def test_names_longer_than_a_disk_takes_are_not_there(hub, big):
    assert raw(hub, "GET", f"/api/datasets/lab/big/revision/{'x' * 300}")[0] == 404
    assert raw(hub, "GET", f"/api/datasets/lab/big/discussions/{'9' * 300}")[0] == 404


def test_bad_requests_to_write_are_refused(hub, big):
    header = {"key": "header", "value": {"summary": "x"}}
    for path in ("../x", "/x", "a/../../x", "a//b", ".git/config", "a\\b", ".gitattributes/x"):
        line = {"key": "file", "value": {"path": path, "content": "YQ==", "encoding": "base64"}}
        body = "\n".join(json.dumps(item) for item in (header, line)).encode()
        assert raw(hub, "POST", "/api/datasets/lab/big/commit/main", body)[0] == 400
    never = {"key": "lfsFile", "value": {"path": "a.bin", "oid": "0" * 64, "algo": "sha256", "size": 1}}
    body = "\n".join(json.dumps(item) for item in (header, never)).encode()
    assert raw(hub, "POST", "/api/datasets/lab/big/commit/main", body)[0] == 400
    for tag in ("../x", "a..b", "", "x.lock", "a b", "a/" * 60 + "a"):
        assert raw(hub, "POST", "/api/datasets/lab/big/tag/main", json.dumps({"tag": tag}).encode())[0] == 400
    assert raw(hub, "PUT", f"/lfs/{'0' * 64}", b"x")[0] == 403  # no key
    assert raw(hub, "PUT", upload(hub, size=1), b"x")[0] == 400  # not the content that was promised
    assert raw(hub, "GET", "/api/agent-harnesses")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/repos/create", b"{"),
        ("POST", "/api/repos/create", b"[" * 100_000),
        ("POST", "/api/repos/create", b"[]"),
        ("POST", "/api/repos/create", b"{}"),
        ("POST", "/api/repos/create", b'{"name": 1}'),
        ("POST", "/api/datasets/lab/big/tag/main", b'{"tag": null}'),
        ("POST", "/api/datasets/lab/big/preupload/main", b'{"files": [1]}'),
        ("POST", "/api/datasets/lab/big/preupload/main", b'{"files": [{"path": "a", "size": 1, "sample": "a"}]}'),
        ("POST", "/api/datasets/lab/big/commit/main", b"\xff\xfe"),
        ("POST", "/api/datasets/lab/big/commit/main", b""),
        ("POST", "/api/datasets/lab/big/commit/main", b'{"key": "header", "value": []}'),
        ("POST", "/datasets/lab/big.git/info/lfs/objects/batch", b'{"objects": {}}'),
    ],
)
def test_malformed_bodies_get_400(hub, big, method, path, body):
    assert raw(hub, method, path, body)[0] == 400


def test_a_body_that_is_too_large_is_refused_before_it_is_read(hub, big):
    for path, size in (("/api/repos/create", 1 << 40), (upload(hub, size=1), 2)):
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
        connection.putrequest("PUT" if "lfs" in path else "POST", path)
        connection.putheader("Authorization", "Bearer hf_test")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        assert connection.getresponse().status == 413  # although nothing was sent
        connection.close()


def test_it_speaks_ipv6(hub, tmp_path):
    code = f"""
    from pathlib import Path
    from wbench.hub import serve
    serve(Path({str(tmp_path)!r}), "::1", 0, lambda line: print(line, flush=True))
    """
    server = hub.popen(code)
    address = server.stdout.readline().strip().rpartition("HF_ENDPOINT=")[2]
    server_env = {"HF_ENDPOINT": address, "NO_PROXY": "::1,[::1]", "no_proxy": "::1,[::1]"}
    assert address.startswith("http://[::1]:")
    code = "api.create_repo('lab/six', repo_type='dataset'); publish('lab/six', {'a.bin': bytes(9)}, tag='v1')\n"
    code += "print(json.dumps(sha256(hf_hub_download('lab/six', 'a.bin', repo_type='dataset', revision='v1'))))"
    try:
        assert run(hub, code, **server_env) == hashlib.sha256(bytes(9)).hexdigest()
    finally:
        server.kill()
        server.communicate()


HALVES = {
    "no request": b"",
    "half a header": b"GET /api/data",
    "half a body": b"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
}


def test_connections_that_stay_silent_are_closed_and_slow_readers_are_not(hub, tmp_path):
    code = f"""
    from pathlib import Path
    from wbench.hub import serve
    from wbench.hub import server
    server.IDLE = 0.4
    serve(Path({str(tmp_path)!r}), "127.0.0.1", 0, lambda line: print(line, flush=True))
    """
    server = hub.popen(code)
    try:
        host, port = server.stdout.readline().strip().rpartition("HF_ENDPOINT=http://")[2].split(":")
        for sent in HALVES.values():
            with socket.create_connection((host, int(port)), timeout=20) as silent:
                silent.sendall(sent)
                while silent.recv(4096):  # a refusal may come first
                    pass
        code = "api.create_repo('lab/slow', repo_type='dataset')\n"
        code += "publish('lab/slow', {'a.parquet': bytes(20_000_000)}, tag='v1')\nprint(1)"
        assert run(hub, code, HF_ENDPOINT=f"http://{host}:{port}") == 1
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(b"GET /datasets/lab/slow/resolve/v1/a.parquet HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1.5)  # the buffers are full long before
            received = 0
            while received < 20_000_000:
                received += len(slow.recv(1 << 20)) or 1 << 40
            assert received < 1 << 40
    finally:
        server.kill()
        server.communicate()


def test_serve_announces_itself_and_ends_on_an_interrupt(hub, tmp_path):
    code = f"""
    import functools
    from pathlib import Path
    from wbench.hub import serve
    serve(Path({str(tmp_path)!r}), "127.0.0.1", 0, functools.partial(print, flush=True))
    print("ended")
    """
    server = hub.popen(code)
    host, port = server.stdout.readline().strip().rpartition("HF_ENDPOINT=http://")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/_faults")  # for tests only: not here
    assert connection.getresponse().status == 404
    connection.close()
    server.send_signal(signal.SIGINT)
    assert server.communicate(timeout=10) == ("ended\n", "")


def test_what_goes_to_lfs():
    text, binary = "aGVsbG8=", "AAECAwQ="
    assert is_lfs("a/b.parquet", 5, text) and is_lfs("model.safetensors", 5, text) and is_lfs("notes.txt", 11_000_000, text)
    assert is_lfs("figure.png", 5, binary) and not is_lfs("README.md", 5, text) and not is_lfs("w.txt", 4, "4oKs4oI=")


def test_a_hub_killed_while_it_opened_a_pull_request_opens_the_next_one(tmp_path):
    repo = Hub(tmp_path).repo("datasets", "lab", "results")
    repo.create("anna", private=False)
    repo.set_ref("pr/1", repo.ref("heads/main") or "", new=True)  # all that was written of it
    again = Hub(tmp_path).repo("datasets", "lab", "results")
    assert [open_pull(again, "anna", "rows", "", is_pull=True) for _ in range(2)] == [1, 2]
    assert set(again.refs("pr")) == {"1", "2"}


def test_safe_paths():
    assert safe_path("data/a b.parquet") == "data/a b.parquet"
    with pytest.raises(RefusedError):
        safe_path("a/./b")
