"""The guides hold what they promise: their blocks run, the learner learns, notebooks run, and the pages build as a site."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wbench
from wbench.benchmark.check.decentralised import Question, peeks
from wbench.benchmark.registry import get_variant, make_agent
from wbench.errors import CheckpointError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LEARNER, GUIDE = DOCS / "examples" / "own_learner.py", DOCS / "guides" / "own-agent.md"
PLAYED = "access/n8-c3-load0.15-l48"


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def run_page(page: Path) -> dict:
    """What the Python blocks of a page leave behind, run one after the other."""
    names: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A checkpoint of the example learner, after few steps."""
    folder = tmp_path_factory.mktemp("pupil")
    spec = importlib.util.spec_from_file_location("own_learner", LEARNER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_learner"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.train("access", folder, steps=300, rows=1024)
    return folder


@pytest.mark.slow
def test_the_learner_reads_logs_acts_alone_and_keeps_its_weights(trained: Path, command):
    agent, (family, variant) = make_agent(str(LEARNER), str(trained), run_files=True), get_variant(PLAYED)
    again = make_agent(str(LEARNER), str(trained), run_files=True)
    assert agent.name == "pupil" and agent.checkpoint_digest == again.checkpoint_digest and agent.parameters > 20_000
    assert agent.source_transitions > 1_000_000 and not agent.knows(get_variant("offload/n8-e2-p0.15")[0])
    logs = wbench.load_support(PLAYED, "dev:0", shots=5)
    assert agent.adapt(family, variant, logs).notes["choices tried"] > variant.period and agent.table.any()
    agent.adapt(family, variant, None)
    assert not agent.table.any()  # earlier cells are forgotten
    assert not peeks(agent, family, variant, Question())
    done = command("check", str(LEARNER), "--checkpoint", str(trained), "--json")
    assert done.code == 0 and done.data["agent"] == "pupil"
    wrong = command("check", "access", "--checkpoint", str(trained))
    assert wrong.code == 2 and "left out: access is no agent's file" in wrong.err
    with pytest.raises(CheckpointError, match=r"no checkpoint '\./nowhere/pupil'"):
        make_agent(str(LEARNER), "./nowhere/pupil", run_files=True)


@pytest.mark.slow
def test_the_learner_gains_by_logs_of_the_site(trained: Path):
    agent = make_agent(str(LEARNER), str(trained), run_files=True)
    scores = {0: 0.0, 20: 0.0}
    for shots in scores:
        for site in ("dev:0", "dev:1", "dev:2", "dev:3"):
            policy, env = wbench.load_policy(agent), wbench.make(PLAYED, site, episodes=4)
            policy.adapt(PLAYED, wbench.load_support(PLAYED, site, shots) if shots else None)
            (obs, _), returns = env.reset(), torch.zeros(4)
            policy.reset(env)
            for _ in range(env.variant.horizon):
                obs, reward, *_ = env.step(policy.act(obs))
                returns += reward.sum(1)
            scores[shots] += float(wbench.normalised_score(PLAYED, site, returns).mean()) / 4
    assert scores[0] > 5 and scores[20] > scores[0] + 15


def test_the_guide_quotes_the_learner():
    example = LEARNER.read_text(encoding="utf-8").splitlines()
    quoted = [block.splitlines() for block in blocks(GUIDE, "python")]
    assert len(quoted) == 6 and all(line in example for block in quoted for line in block)
    rule = len((DOCS / "examples" / "own_agent.py").read_text(encoding="utf-8").splitlines())
    text = GUIDE.read_text(encoding="utf-8")
    assert f"a learner in {len(example)} lines" in text and f"a rule in {rule} lines" in text and len(example) < 130


@pytest.mark.slow
def test_the_page_of_own_logs_runs(monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    names = run_page(DOCS / "guides" / "own-logs.md")
    assert names["action"].shape == (8,) and names["logs"].shots == 5
    for column in ("obs", "action", "reward", "action_mask"):
        assert torch.allclose(getattr(names["logs"], column).double(), getattr(names["support"], column).double(), atol=1e-6)
    done = command("study", "logs", "log.csv", "--variant", PLAYED, "--draws", "10", "--json")
    assert done.code == 0 and done.data["shots"] == 5 and 0 < done.data["obs"] < 1
    wrong = command("study", "logs", "log.csv", "--variant", "offload/n8-e2-p0.15")
    assert wrong.code == 2 and "log.csv lacks the columns" in wrong.err and "Traceback" not in wrong.err


@pytest.mark.slow
def test_the_python_of_the_tutorial_runs(monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    first, second = blocks(DOCS / "tutorial.md", "python")
    names: dict = {}
    exec(compile(first, "tutorial.md", "exec"), names)
    assert names["returns"].shape == (4,) and float(wbench.normalised_score(PLAYED, "dev:1", names["returns"]).mean()) > 20
    Path("mine.py").write_text(second)
    assert command("check", "mine.py").code == 0
    done = command("eval", "--agent", "mine.py", "--family", "access", "--episodes", "2", "--against", "none", "--json")
    assert done.code == 0 and done.data["summary"]["0"]["iqm"] == done.data["summary"]["5"]["iqm"]


@pytest.mark.slow
@pytest.mark.parametrize("source", sorted(DOCS.glob("notebooks/*.py")), ids=lambda source: source.stem)
def test_notebooks_run(source: Path, monkeypatch):
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = jupytext.read(source)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells) >= 3


@pytest.mark.slow
def test_the_pages_build_as_a_site_that_loads_nothing(tmp_path):
    for package in ("material", "mkdocstrings", "jupytext"):
        pytest.importorskip(package)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    elsewhere = r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|icon)"[^>]*href="(?:https?:)?//'
    assert not {name for name, page in pages.items() if re.search(elsewhere, page)}
    reference, line, seen = (pages[f"reference/{name}.html"] for name in ("python", "cli", "observations"))
    assert all(f'id="wbench.{name}"' in reference for name in wbench.__all__ if name != "__version__")
    assert "wbench study logs" in line and "--learning-rate" not in line and "queue" in seen
    assert {"notebooks/five_logs.html", "project/changelog.html", "index.html", "tutorial.html"} <= pages.keys()


def test_the_reference_holds_every_public_name():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    assert not {name for name in wbench.__all__ if name != "__version__"} - set(re.findall(r"^::: wbench\.(\w+)$", page, re.M))
