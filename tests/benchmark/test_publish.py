"""Publishing to a Hub and getting it back, over real HTTP with the real client."""

from __future__ import annotations

import pytest
from wbench.benchmark.data.publish import packaged_checkpoints, publish_checkpoint, publish_dataset
from wbench.benchmark.data.release import dataset_folder
from wbench.errors import CheckpointError, DataError, InvalidValueError

from ..hub_fixture import hub, hub_server  # noqa: F401
from .tiny import CODE, FAMILY, FILES, ONE, RELEASE, build

PRELUDE = (
    CODE
    + """
import json
from wbench.benchmark.data import mirrors
from wbench.benchmark.data.cache import verify
from wbench.benchmark.data.publish import publish_checkpoint, publish_dataset
from wbench.cards.dataset_card import render
from wbench.errors import WbenchError
mirrors.PATIENCE = 0.01
def publish(root, namespace):
    return publish_dataset(FAMILY, RELEASE, namespace, lambda m: render(FAMILY, RELEASE, m), root=Path(root))
def download(root, namespace, revision=None, wanted=None):
    found = mirrors_for(FAMILY, RELEASE, namespace=namespace, revision=revision)
    return obtain(FAMILY, RELEASE, wanted or contents(FAMILY, RELEASE), root=Path(root), mirrors=found)
"""
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    build(FAMILY, RELEASE, root)
    return root


def test_published_downloaded_by_tag_verified_and_used_offline(hub, source, tmp_path):  # noqa: F811
    done = hub.python(
        PRELUDE
        + f"""
first = publish({str(source)!r}, "lab")
try:
    publish({str(source)!r}, "lab")
except WbenchError as error:
    refused = str(error)
part = download({str(tmp_path / "got")!r}, "lab", wanted=contents(FAMILY, RELEASE)[:2])
whole = download({str(tmp_path / "got")!r}, "lab", revision=RELEASE.tag)
kinds = sorted({{(f.source, f.revision, f.verified) for f in whole.files}}, key=str)
verdict = verify(FAMILY, RELEASE, Path({str(tmp_path / "got")!r}))
from huggingface_hub import DatasetCard, HfApi
DatasetCard.load("lab/wbench-access").validate()
tags = {{t.name: t.target_commit for t in HfApi().list_repo_refs("lab/wbench-access", repo_type="dataset").tags}}
files = HfApi().list_repo_files("lab/wbench-access", repo_type="dataset", revision=RELEASE.tag)
print(json.dumps([first.__dict__, refused, len(part.files), kinds, verdict.count("same bytes"), tags, len(files)]))
""",
        WBENCH_HOME=str(tmp_path / "home"),
    )
    first, refused, part, kinds, same, tags, files = done.data
    commit = first["commit"]
    assert first["repo"] == "lab/wbench-access" and first["tag"] == "tiny-v1.0.0" and len(commit) == 40
    assert "has the tag tiny-v1.0.0 already" in refused and part == 2 and same == FILES
    assert kinds == [["cache", commit, "unpinned"], ["hub lab/wbench-access", commit, "unpinned"]] or kinds == [
        ["hub lab/wbench-access", commit, "unpinned"],
        ["cache", commit, "unpinned"],
    ]
    assert tags == {"tiny-v1.0.0": commit} and files >= FILES + 2
    offline = hub.python(
        PRELUDE
        + f"""
report = download({str(tmp_path / "got")!r}, "lab")
print(json.dumps(sorted({{f.source for f in report.files}})))
try:
    download({str(tmp_path / "other")!r}, "lab")
except WbenchError as error:
    print(json.dumps([sorted({{f.source for f in report.files}}), error.exit_code, str(error)]))
""",
        HF_HUB_OFFLINE="1",
        WBENCH_HOME=str(tmp_path / "home"),
    )
    sources, code, said = offline.data
    assert sources == ["cache"] and code == 3 and "HF_HUB_OFFLINE" in said


def test_what_goes_wrong_on_the_hub_has_one_line_and_the_right_code(hub, source, tmp_path):  # noqa: F811
    assert hub.python(PRELUDE + f'publish({str(source)!r}, "mess")', WBENCH_HOME=str(tmp_path / "home")).code == 0
    hub.faults.add(f"GET .*/resolve/.*{ONE}/mixed", flip=100, times=1)
    hub.faults.add("GET .*/revision/", status=503, times=1)
    code = (
        PRELUDE
        + f"""
import os
def attempt(*arguments, **options):
    try:
        report = download(*arguments, **options)
        return [0, list(report.notes), sorted({{f.source for f in report.files}})]
    except WbenchError as error:
        return [error.exit_code, str(error)]
to = {str(tmp_path)!r}
said = {{"flipped": attempt(to + "/a", "mess"), "tag": attempt(to + "/b", "mess", "v9.9.9")}}
said["repo"] = attempt(to + "/b", "nobody")
os.environ["WBENCH_NAMESPACE"] = "nobody"  # configured, not named: passed over, and recorded here
said["configured"] = attempt(to + "/c", None, wanted=contents(FAMILY, RELEASE)[:1])
del os.environ["WBENCH_NAMESPACE"]
from huggingface_hub import HfApi
HfApi().delete_tag("mess/wbench-access", tag=RELEASE.tag, repo_type="dataset")
bent = json.loads((dataset_folder(FAMILY, RELEASE, Path({str(source)!r})) / "manifest.json").read_text())
bent["files"][0] |= {{"sha256": "0" * 64, "columns": bent["files"][1]["columns"]}}
HfApi().upload_file(
    path_or_fileobj=json.dumps(bent).encode(), path_in_repo="manifest.json", repo_id="mess/wbench-access", repo_type="dataset"
)
HfApi().create_tag("mess/wbench-access", tag=RELEASE.tag, repo_type="dataset")
(dataset_folder(FAMILY, RELEASE, Path(to + "/a")) / contents(FAMILY, RELEASE)[0].path).unlink()
said["moved"] = attempt(to + "/a", "mess")
print(json.dumps(said))
"""
    )
    said = hub.python(code, WBENCH_HOME=str(tmp_path / "home")).data
    assert said["flipped"][0] == 0 and "mixed.parquet from hub mess/wbench-access is corrupt" in said["flipped"][1][0]
    assert said["flipped"][2] == ["hub mess/wbench-access"]
    assert said["tag"][0] == 2 and "unknown tag 'v9.9.9'" in said["tag"][1] and "tiny-v1.0.0" in said["tag"][1]
    assert said["repo"][0] == 2 and "does not exist" in said["repo"][1]
    assert said["configured"][0] == 0 and "passed over" in said["configured"][1][0]
    assert said["configured"][2] == ["built here"]
    assert said["moved"][0] == 2 and "A release never changes" in said["moved"][1]
    hub.stop()
    dead = hub.python(
        PRELUDE + f"try:\n download({str(tmp_path / 'e')!r}, 'mess')\nexcept WbenchError as e: print(json.dumps(e.exit_code))",
        WBENCH_HOME=str(tmp_path / "home"),
    )
    assert dead.data == 3
    hub.restart()
    rights = hub.python(
        PRELUDE
        + f"try:\n publish({str(source)!r}, 'mess2')\nexcept WbenchError as e: print(json.dumps([e.exit_code, str(e)]))",
        HF_TOKEN="hf_read",
        WBENCH_HOME=str(tmp_path / "home"),
    )
    assert rights.data[0] == 2 and "rights" in rights.data[1]


def test_files_larger_than_they_are_said_to_be_are_not_fetched(hub, source, tmp_path):  # noqa: F811
    code = f"""
from huggingface_hub import HfApi
publish({str(source)!r}, "large")
said = []
for path, content in (("data/{ONE}/mixed.parquet", b"x" * (1 << 20)), ("manifest.json", b" " * (17 << 20))):
    HfApi().upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="large/wbench-access", repo_type="dataset")
    try:
        download({str(tmp_path / "got")!r}, "large", "main")
    except WbenchError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    corrupt, larger = hub.python(PRELUDE + code, WBENCH_HOME=str(tmp_path / "home")).data
    assert "mixed.parquet from hub large/wbench-access is corrupt: its size is not the manifest's" in corrupt
    assert "manifest.json is no valid manifest: larger than 16 MB" in larger
    assert not [asked for asked in hub.faults.requests if f"{ONE}/mixed.parquet" in asked and "resolve" in asked]


def test_a_checkpoint_comes_back_with_the_same_weights(hub, tmp_path):  # noqa: F811
    done = hub.python(
        """
        import json
        from wbench import NetWorld
        from wbench.learning.checkpoint import digest
        from wbench.benchmark.data.publish import publish_checkpoint
        published = publish_checkpoint("networld-small", "lab")
        mine = NetWorld.from_pretrained("networld-small")
        theirs = NetWorld.from_pretrained("lab/networld-small", revision="v1.0.0")
        print(json.dumps([published.tag, digest(mine) == digest(theirs), sorted(published.files)]))
        """,
        WBENCH_HOME=str(tmp_path),
    )
    assert done.data == ["v1.0.0", True, ["README.md", "config.json", "model.safetensors", "training_report.json"]]


def test_a_dry_run_needs_no_hub_and_bad_input_is_refused_before_anything_is_sent(source, tmp_path):
    plan = publish_dataset(FAMILY, RELEASE, "lab", lambda _: "card", root=source, dry_run=True)
    assert plan.commit is None and len(plan.files) == FILES + 2 and sum(plan.files.values()) > 10_000
    assert publish_checkpoint("bc-small", "lab", dry_run=True).repo == "lab/bc-small"
    assert {"networld-small", "bc-small"} <= packaged_checkpoints().keys()
    for call, error, said in (
        (
            lambda: publish_dataset(FAMILY, RELEASE, "a/b", lambda _: "", root=source, dry_run=True),
            InvalidValueError,
            "namespace",
        ),
        (lambda: publish_dataset(FAMILY, RELEASE, "lab", lambda _: "", root=tmp_path, dry_run=True), DataError, "not complete"),
        (lambda: publish_checkpoint("networld-small", "lab", "one"), InvalidValueError, "--version"),
        (lambda: publish_checkpoint("nothing", "lab"), CheckpointError, "packaged are"),
    ):
        with pytest.raises(error, match=said):
            call()
    victim = dataset_folder(FAMILY, RELEASE, source) / f"data/{ONE}/random.parquet"
    good = victim.read_bytes()
    victim.write_bytes(good[:-1])
    with pytest.raises(DataError, match="not what its manifest says"):
        publish_dataset(FAMILY, RELEASE, "lab", lambda _: "card", root=source)
    victim.write_bytes(good)
