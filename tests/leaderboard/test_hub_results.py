"""Results and the Hub, over real HTTP with the real client: pull requests, and checkpoints that are fetched to be rerun."""

from __future__ import annotations

import json

from ..hub_fixture import hub, hub_server  # noqa: F401
from . import samples
from .samples import save

PRELUDE = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
from wbench.errors import WbenchError
from wbench.leaderboard.store import Submission, propose
def attempt(*arguments):
    try:
        done = propose(*arguments)
        return [done.status, done.url]
    except WbenchError as error:
        return [type(error).__name__, str(error)]
"""


def test_a_submission_is_a_pull_request_that_adds_one_file(hub, tmp_path):  # noqa: F811
    one, two = (save(tmp_path / f"{name}.json", samples.result(name)) for name in ("one", "two"))
    done = hub.python(
        PRELUDE
        + f"""
one, two = (Submission.read(Path(path)) for path in ({str(one)!r}, {str(two)!r}))
said = [attempt(one, "lab", True), attempt(one, "lab"), attempt(one, "lab"), attempt(two, "lab")]
api = HfApi()
main = lambda: [f for f in api.list_repo_files("lab/wbench-results", repo_type="dataset") if f.endswith(".json")]
before = main()
api.merge_pull_request("lab/wbench-results", 1, repo_type="dataset")
got = api.hf_hub_download("lab/wbench-results", "results/" + one.name, repo_type="dataset")
said += [attempt(one, "lab"), attempt(one, "a/b")]
print(json.dumps([said, before, main(), Path(got).read_bytes() == one.content, one.name]))
"""
    )
    said, before, after, same, name = done.data
    assert [status for status, _ in said] == ["dry run", "added", "known", "added", "known", "InvalidValueError"]
    assert said[1][1] == said[2][1] and said[1][1].endswith("/discussions/1") and said[3][1].endswith("/discussions/2")
    assert before == [] and after == [f"results/{name}"] and same


def test_without_rights_or_network_there_is_one_line(hub, tmp_path):  # noqa: F811
    path = save(tmp_path / "one.json", samples.result("one"))
    code = PRELUDE + f"print(json.dumps(attempt(Submission.read(Path({str(path)!r})), 'nobody')))"
    kind, said = hub.python(code, HF_TOKEN="hf_read").data
    assert kind == "DataError" and "no rights to nobody/wbench-results" in said and "\n" not in said
    kind, said = hub.python(code, HF_HUB_OFFLINE="1").data
    assert kind == "NetworkError" and "HF_HUB_OFFLINE" in said and "\n" not in said


def test_a_hub_checkpoint_is_known_by_its_commit_and_fetched_with_trust_alone(hub, tmp_path):  # noqa: F811
    folder = samples.untrained(tmp_path / "mine")
    done = hub.python(
        f"""
        import json
        from pathlib import Path
        from wbench.benchmark.data.publish import publish_checkpoint
        from wbench.benchmark.protocol.spec import protocol
        from wbench.leaderboard.evaluate import evaluate
        from wbench.errors import WbenchError
        from wbench.leaderboard.verification.rerun import Plan
        from wbench.leaderboard.verification.verify import verify
        commit = publish_checkpoint({str(folder)!r}, "lab").commit
        tiny = protocol("quick", variants=["access/n8-c3-load0.15-l48"], shots=[0], sites=[2_000_000], episodes=2)
        path = Path({str(tmp_path / "r.json")!r})
        data = evaluate("bc", tiny, checkpoint="lab/mine", out=path, progress=False).document()
        try:
            verify(path, "rerun")
        except WbenchError as error:
            refused = str(error)
        verdict = verify(path, "rerun", Plan(cells=1, trust=True))
        print(json.dumps([commit, data["origin"], data["command"], refused, verdict.tier]))
        """,
        WBENCH_HOME=str(tmp_path / "home"),
    )
    commit, origin, command, refused, tier = done.data
    assert origin == {"kind": "hub", "name": "lab/mine", "revision": commit} and f"--checkpoint lab/mine@{commit}" in command
    assert "add --trust" in refused and tier == "rerun"
    assert json.dumps(origin).find(str(tmp_path)) == -1
