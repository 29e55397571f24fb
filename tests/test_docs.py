"""What the words around wbench promise: commands run, links lead somewhere, the table is the store's, the example plays."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from wbench.benchmark.check.decentralised import Question, peeks
from wbench.benchmark.data.support import support
from wbench.benchmark.protocol.references import references
from wbench.benchmark.registry import get_family, get_variant, list_agents, make_agent
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES
from wbench.errors import DataError, InvalidValueError, UnknownNameError

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "own_agent.py"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("leaderboard/results/*.md")])
PLAYED = "access/n8-c3-load0.15-l48"


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The `wbench ...` lines of a page's shell blocks, without comments, as words."""
    lines = [line for kind in ("bash", "console", "text") for block in blocks(page, kind) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("wbench ")]


def readme_script() -> ModuleType:
    """docs/readme.py, which makes the README's table."""
    spec = importlib.util.spec_from_file_location("docs_readme", ROOT / "docs" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert not broken


def known_options() -> dict[str, set[str]]:
    """Options of every command, from the command line's own definition."""
    import typer
    from wbench.cli import app

    found: dict[str, set[str]] = {}

    def walk(command, path: str) -> None:
        for name, below in getattr(command, "commands", {}).items():
            walk(below, f"{path} {name}".strip())
        found[path] = {option for parameter in command.params for option in parameter.opts}

    walk(typer.main.get_command(app), "")
    return found


def test_every_command_in_the_pages_exists_with_its_options():
    known, seen = known_options(), 0
    for page in PAGES:
        for words in commands(page):
            name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
            assert name in known, (page.name, words)
            wrong = {word for word in words if word.startswith("--")} - known[name] - {"--help", "--version"}
            assert not wrong, (page.name, words)
            seen += 1
    assert seen > 60


def test_the_python_of_the_readme_runs(monkeypatch):
    first, second = blocks(ROOT / "README.md", "python")
    names: dict = {}
    exec(compile(first, "README.md", "exec"), names)
    assert names["obs"].shape[:2] == (32, 8) and names["data"].num_rows > 0
    pytest.importorskip("pettingzoo")
    exec(compile(second, "README.md", "exec"), names)
    assert names["envs"].num_envs == 32 and len(names["env"].possible_agents) == 12


def test_the_python_page_runs(monkeypatch, tmp_path):
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(ROOT / "docs" / "guides" / "python.md", "python"):
        exec(compile(block, "python.md", "exec"), names)
    assert names["over"].all() and names["frame"].shape == (400, 640, 3) and names["rows"].num_rows == 6 * 129
    assert names["batch"].obs.shape == (256, 4, 37) and names["policy"]._shots == 5
    assert names["imagined"].reward.shape == (4, 4, 8) and names["seen"].shape == (4, 8, 37)


def test_the_table_in_the_readme_is_what_the_store_gives():
    script, text = readme_script(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert script.updated(text) == text
    assert text.index("<!-- leaderboard -->") < text.index("```bash") < text.index("## ")  # all on the first screen
    with pytest.raises(SystemExit, match="0 pairs of leaderboard markers"):
        script.updated("# wbench\n")


def test_the_table_ranks_what_was_submitted_and_nothing_of_another_protocol(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "leaderboard"))
    from samples import result, save, small
    from wbench.leaderboard.store import Submission, submit

    script = readme_script()
    assert script.table(tmp_path) == script.NONE
    for share, label in ((0.5, "middling"), (0.9, "best")):
        submit(Submission.read(save(tmp_path / "own.txt", result(label, share))), tmp_path)
    assert script.table(tmp_path) == script.NONE  # none of them played today's lite
    monkeypatch.setattr(script, "protocol", lambda name: small())
    rows = [line.split(" | ") for line in script.table(tmp_path).splitlines() if line.startswith("| ")]
    link = "([some-lab 0.1.0](https://pypi.org/project/some-lab/0.1.0/))"  # code of others is shown with where it is
    assert [row[1] for row in rows[2:]] == [f"best {link}", f"middling {link}"] and rows[2][0] == "| claimed"
    assert abs(float(rows[2][2].split()[0]) - 90) < 10 and rows[2][-1] == "arithmetic checked |"


def scores(agent, name: str, shots: int, sites: range) -> float:
    """Mean score of an agent at some sites, four episodes each."""
    family, variant = get_variant(name)
    found = []
    for site in sites:
        agent.adapt(family, variant, support(family, variant, site, shots))
        found.append(references(name, site).score(play(family, variant, agent, [site] * 4, range(4)).returns.mean().item()))
    return sum(found) / len(found)


def test_the_example_reads_logs_and_acts_alone():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 80
    agent, (family, variant) = make_agent(str(EXAMPLE), run_files=True), get_variant(PLAYED)
    assert agent.name == "tally" and not agent.privileged and agent.message_size == 0
    assert agent.knows(family) and not agent.knows(get_family("power"))
    assert agent.adapt(family, variant, None).notes["cells that pay"] == variant.superframe * variant.channels
    logs = support(family, variant, RANGES["dev"][0], 5)
    assert agent.adapt(family, variant, logs).notes["cells that pay"] < variant.superframe * variant.channels
    read = agent.worth.clone()
    agent.adapt(family, variant, None)
    assert not torch.equal(agent.worth, read) and agent.worth.unique().numel() == 1  # earlier cells are forgotten
    assert not peeks(agent, family, variant, Question())


@pytest.mark.slow
def test_the_example_gains_by_logs_of_the_site():
    agent, sites = make_agent(str(EXAMPLE), run_files=True), RANGES["dev"][:4]
    assert scores(agent, PLAYED, 20, sites) > scores(agent, PLAYED, 0, sites) + 15


@pytest.mark.slow
def test_a_file_plays_under_its_own_name_in_any_number_of_processes(wbench, tmp_path):
    chosen = ("eval", "--agent", str(EXAMPLE), "--family", "access", "--shots", "0", "--episodes", "2", "--against", "none")
    done = wbench(*chosen, "--out", str(tmp_path / "one.json"))
    assert done.code == 0, done.err
    assert wbench(*chosen, "--jobs", "2", "--out", str(tmp_path / "two.json")).code == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["agent"] == one["label"] == "tally" and one["package"]["name"] == "unregistered"
    assert one["command"].startswith("wbench eval --agent FILE.py ") and str(ROOT) not in json.dumps(one)
    assert [cell["returns"] for cell in one["cells"]] == [cell["returns"] for cell in two["cells"]]
    again = wbench("results", "verify", str(tmp_path / "one.json"), "--tier", "rerun")
    assert again.code == 2 and "FILE.py, the file of 'tally'" in again.err and "Traceback" not in again.err
    again = wbench("results", "verify", str(tmp_path / "one.json"), "--trust", "--agent", str(EXAMPLE))
    assert again.code == 0 and again.out.startswith("one.json: holds as rerun")


PEEKING = """
import torch
from wbench.benchmark.agent import Agent


class Peeking(Agent):
    name = "peeking"

    def act(self, obs, inbox, state):
        fullest = obs[..., 1].argmax(1, keepdim=True) == torch.arange(obs.shape[1])
        return (fullest & state.action_mask[..., 1]).long()

    def knows(self, family):
        return family.name == "access"


build = lambda *_: Peeking()
"""


@pytest.mark.slow
def test_an_agent_that_looks_at_others_observations_is_found_out(command, tmp_path):
    (tmp_path / "peeking.py").write_text(PEEKING)
    found = "what peeking does in slot 0 depends on what others observe"
    done = command("check", str(tmp_path / "peeking.py"), "--json")
    (finding,) = done.data["findings"]
    assert done.code == 2 and done.data["agent"] == "peeking" and found in finding["found"]
    few = ("--family", "access", "--shots", "0", "--sites", "0", "--episodes", "1", "--against", "none")
    out = str(tmp_path / "r.json")
    assert command("eval", "--agent", str(tmp_path / "peeking.py"), *few, "--out", out).code == 0
    verdict = command("results", "verify", out, "--trust", "--agent", str(tmp_path / "peeking.py"), "--json")
    assert verdict.code == 1 and verdict.data["tier"] == "arithmetic" and found in verdict.data["problems"][0]
    assert command("check", str(EXAMPLE)).code == 0
    strange = command("eval", "--agent", str(tmp_path / "peeking.py"), "--out", out)
    assert strange.code == 2 and "peeking was not trained on power and offload. Add --family access." in strange.err


def test_what_is_no_agent_is_said_in_one_line(tmp_path):
    base = "from wbench.benchmark.agent import Agent, RandomPolicy\nclass Mine(Agent):\n    name = {name!r}\n"
    for name, content, error, said in (
        ("none.py", None, InvalidValueError, "the file of the agent or family is .*none.py', but must be a file that exists"),
        ("broken.py", "import nowhere_to_be_found", DataError, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("empty.py", "x = 1", InvalidValueError, "build in .*empty.py is 'missing'.*function"),
        ("empty.py:x", None, InvalidValueError, "x in .*empty.py is 'int'"),
        ("three.py", "def build(checkpoint, device):\n    return 3", InvalidValueError, "returned is 'int'"),
        ("lazy.py", "def build():\n    return 3", DataError, "build in .*lazy.py failed: TypeError"),
        ("taken.py", f"{base.format(name='bc')}def build(c, d):\n    return Mine()", InvalidValueError, "is 'bc'.*its own"),
        ("odd.py", f"{base.format(name='a b')}def build(c, d):\n    return Mine()", InvalidValueError, "is 'a b'.*letters"),
        ("unnamed.py", f"{base.format(name='agent')}def build(c, d):\n    return Mine()", InvalidValueError, "is 'agent'"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(error, match=said):
            make_agent(str(tmp_path / name), run_files=True)


def test_a_name_out_of_a_result_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    with pytest.raises(UnknownNameError, match=r"unknown agent 'evil\.py'"):
        make_agent("evil.py")
    assert not Path("ran").exists() and "_checked_evil" not in sys.modules


def test_the_citation_names_the_paper_and_what_is_used():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert about["cff-version"] == "1.2.0" and about["authors"] == [{"name": "wbench developers"}]
    assert any("2602.00558" in each.get("url", "") for each in about["references"])
    assert all(each.keys() >= {"type", "title", "authors", "year", "notes"} for each in about["references"])
    noted = " ".join(each["notes"] for each in about["references"])
    assert all(name in noted for name in ("networld", "mappo", "qmix", "iql", "brq")) and "tally" not in list_agents()
