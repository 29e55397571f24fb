"""One cell: what is counted, by whom, and what a bad agent costs (its own cell, nothing more). The journal of many."""

from __future__ import annotations

import builtins
import copy
import dataclasses
import os
import random
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from wbench.benchmark.agent import Adaptation, Agent
from wbench.benchmark.data.support import support
from wbench.benchmark.protocol import runner
from wbench.benchmark.protocol.fields import adapter, printable
from wbench.benchmark.protocol.journal import AgentKey, Journal, alone
from wbench.benchmark.protocol.references import references
from wbench.benchmark.protocol.runner import CellResult, run_cell
from wbench.benchmark.protocol.spec import Cell, protocol
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import query_seeds
from wbench.benchmark.user_code import load
from wbench.errors import InvalidValueError, OutputError, UnknownNameError

NAME = "access/n8-c3-load0.15-l48"
SITE = 2_000_001
FAMILY, VARIANT = get_variant(NAME)
SLOTS = VARIANT.horizon


def cell(shots, site=SITE):
    return Cell("access", NAME, site, shots)


def idle(obs):
    return torch.zeros(obs.shape[:2], dtype=torch.long)


class Scripted(Agent):
    """Idles; every part of it can be replaced. Broadcasts two floats."""

    name, message_size, tracks = "scripted", 2, ("offline", "scratch")

    def __init__(self, track="offline", **parts):
        self.track, self.heard = track, []
        for name, part in parts.items():
            setattr(self, name, part)

    def adapt(self, family, variant, support):
        self.heard.append(support)
        return Adaptation(7, {"loss": 0.5})

    def practise(self, environment):
        self.heard.append(environment)
        obs, _ = environment.reset(2)
        for _ in range(10):
            obs, *_ = environment.step(idle(obs))
        self.planner_calls += 4
        return Adaptation(3)

    def act(self, obs, inbox, state):
        return idle(obs)


def test_the_offline_track_adapts_on_the_support_and_plays_the_query_episodes():
    agent = Scripted()
    found = run_cell(agent, cell(2), 3)
    expected = support(FAMILY, VARIANT, SITE, 2)
    assert torch.equal(agent.heard[0].obs, expected.obs) and agent.heard[0].shots == 2
    assert found.returns == tuple(play(FAMILY, VARIANT, Scripted(), [SITE] * 3, query_seeds(3)).returns.tolist())
    assert found.score == references(NAME, SITE).score(sum(found.returns) / 3) and found.adaptation == {"loss": 0.5}
    ledger = found.ledger
    assert (ledger.support_transitions, ledger.environment_steps) == (2 * SLOTS * 8, 0)
    assert (ledger.gradient_steps, ledger.planner_calls, ledger.query_steps) == (7, 0, 3 * SLOTS)
    assert ledger.message_bits == 32 * 2 * 8 * 3 * SLOTS and 0 < ledger.act_seconds <= ledger.seconds


def test_the_online_track_practises_with_a_meter_and_the_harness_reads_it():
    agent = Scripted("scratch")
    found = run_cell(agent, cell(5), 2)
    meter = agent.heard[0]
    assert (meter.budget, found.ledger.environment_steps) == (5 * SLOTS, 20)
    assert not [value for name, value in vars(meter).items() if value == SITE and not name.startswith("_")]  # it is not told
    assert (found.ledger.support_transitions, found.ledger.gradient_steps, found.ledger.planner_calls) == (0, 3, 4)
    run_cell(agent, cell(0), 2)
    assert agent.heard[1] is None  # at zero shots there is nothing to practise in


def test_an_agent_of_the_online_track_that_says_so_reads_logs_and_gets_no_meter():
    class Reader(Scripted):
        practises = False

    agent = Reader("online")
    found = run_cell(agent, cell(2), 1)
    assert agent.heard[0].shots == 2
    assert (found.ledger.support_transitions, found.ledger.environment_steps) == (2 * SLOTS * 8, 0)
    assert run_cell(Scripted("online"), cell(2), 1).ledger.support_transitions == 0  # others practise, as in track `scratch`


def overdraw(environment):
    obs, _ = environment.reset(1)
    for _ in range(SLOTS + 1):
        obs, *_ = environment.step(idle(obs))
    return Adaptation()


def boom(*_):
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("track", "parts", "reason"),
    [
        ("offline", {"adapt": boom}, r"^RuntimeError: two lines \(test_runner\.py:\d+\)$"),
        ("offline", {"act": boom}, "^RuntimeError: two lines"),
        ("offline", {"message": boom}, "^RuntimeError: two lines"),
        ("scratch", {"practise": boom}, "^RuntimeError: two lines"),
        ("scratch", {"practise": overdraw}, "^BudgetError: .*1 more slots wanted, 0 of 128 left"),
        ("scratch", {"practise": lambda environment: None}, "returned after adapting is 'NoneType'.*an Adaptation"),
        ("offline", {"adapt": lambda *_: Adaptation(-1)}, "gradient_steps of scripted is -1"),
        ("offline", {"adapt": lambda *_: Adaptation(0, {"loss": float("nan")})}, "note 'loss' of scripted is nan"),
        ("offline", {"adapt": lambda *_: Adaptation(0, {"loss": [1]})}, "note 'loss' of scripted"),
        ("offline", {"adapt": lambda *_: Adaptation(0, {"loss": 1e13})}, r"note 'loss' of scripted is .*within \+-1e\+12"),
        ("offline", {"adapt": lambda *_: Adaptation(0, {"l\u00f6ss": 1})}, "note's name of scripted is .*printable ASCII"),
        (
            "offline",
            {"adapt": lambda *_: Adaptation(0, {str(i): i for i in range(101)})},
            "notes of scripted is 101.*100 or fewer",
        ),
        ("offline", {"act": lambda obs, inbox, state: idle(obs)[:, :3]}, r"action.shape is \(2, 3\).*\(2, 8\)"),
        ("offline", {"act": lambda obs, inbox, state: idle(obs).float()}, "action.dtype is 'torch.float32'"),
        ("offline", {"act": lambda obs, inbox, state: idle(obs).numpy()}, "action is 'ndarray'.*a torch tensor"),
        ("offline", {"act": lambda obs, inbox, state: None}, "action is 'NoneType'"),
        ("offline", {"act": lambda obs, inbox, state: idle(obs) + 9}, r"values in \[9, 9\]"),
        ("offline", {"message": lambda obs, state: obs[..., :3]}, r"message of scripted is \(2, 8, 3\).*\(2, 8, 2\)"),
        ("offline", {"message": lambda obs, state: None}, "message of scripted is 'NoneType'"),
        ("offline", {"message": lambda obs, state: obs[..., :2] / 0}, "message of scripted is 'NaN or huge'"),
        ("offline", {"message": lambda obs, state: obs[..., :2] * 0 + 3e38}, r"is 'NaN or huge', but must be within \+-1e\+30"),
        ("offline", {"message": lambda obs, state: obs[..., :2] * 1j}, "dtype of scripted's message is .*real numbers"),
        ("offline", {"act": lambda *_: sys.exit(4)}, "^SystemExit: 4"),
        ("scratch", {"practise": copy.deepcopy}, "^BudgetError: .*cannot be copied"),
        ("scratch", {"practise": lambda environment: environment.step(None)}, "step is 'before reset'"),
    ],
)
def test_a_bad_agent_fails_its_cell_with_a_reason_and_nothing_is_made_up(track, parts, reason):
    found = run_cell(Scripted(track, **parts), cell(1), 2)
    assert found.failure == printable(found.failure) and re.search(reason, found.failure) and "\n" not in found.failure, (
        found.failure
    )
    assert (found.returns, dict(found.qos), found.score, found.return_mean) == ((), {}, None, None)
    assert found.ledger.environment_steps == (SLOTS if parts.get("practise") is overdraw else 0)
    assert adapter(CellResult).validate_json(adapter(CellResult).dump_json(found)) == found


SPOILS = {
    "float64": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "no gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "rough products": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "rough products by a flag": (
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: torch.backends.mkldnn.matmul.fp32_precision,
    ),
    "no oneDNN": (lambda: setattr(torch.backends.mkldnn, "enabled", False), lambda: torch.backends.mkldnn.enabled),
    "no small numbers": (lambda: torch.set_flush_denormal(True), lambda: (torch.tensor(1e-40) * 0.5).item() > 0),
    "warnings of inexact algorithms": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        torch.get_deterministic_debug_mode,
    ),
    "another folder": (lambda: os.chdir("/"), Path.cwd),
    "another precision": (lambda: os.environ.update(WBENCH_PRECISION="fastest"), lambda: os.environ.get("WBENCH_PRECISION")),
    "exact algorithms": (lambda: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
    "more threads": (lambda: torch.set_num_threads(2), torch.get_num_threads),
    "numpy that raises": (lambda: np.seterr(all="raise"), np.geterr),
    "half precision wherever it can be": (
        lambda: torch.set_autocast_enabled("cpu", True),
        lambda: torch.is_autocast_enabled("cpu"),
    ),
    "rough products on a GPU": (
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        lambda: torch.backends.cuda.matmul.fp32_precision,
    ),
    "warnings that raise": (lambda: warnings.simplefilter("error"), lambda: list(warnings.filters)),
    "more depth": (lambda: sys.setrecursionlimit(3000), sys.getrecursionlimit),
}


def test_the_generators_of_a_script_go_on_after_a_cell_as_if_there_was_none():
    def draw():
        return torch.rand(2).tolist(), np.random.rand(), random.random()

    draws = []
    for cells in (0, 2):
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        for _ in range(cells):
            run_cell(Scripted(), cell(0), 1)
        draws.append(draw())
    assert draws[0] == draws[1]


@pytest.mark.parametrize("what", SPOILS)
def test_what_an_agent_sets_for_all_of_torch_ends_with_its_cell_and_reaches_no_simulator(what, tmp_path, monkeypatch):
    spoil, setting = SPOILS[what]
    monkeypatch.chdir(tmp_path)
    usual = setting()
    good = run_cell(Scripted(), cell(1), 2)

    def adapt(*_):
        spoil()
        return Adaptation(7, {"loss": 0.5})

    def noted(found):
        return found.failure, found.returns, found.qos

    try:
        found = run_cell(Scripted(adapt=adapt, act=lambda obs, *_: torch.zeros_like(obs[..., 0], dtype=torch.long)), cell(1), 2)
        assert setting() == usual and noted(found) == noted(good)
        monkeypatch.setattr(builtins, "spoil", spoil, raising=False)
        (tmp_path / "agent.py").write_text("spoil()\nbuild = 3\n")
        load(str(tmp_path / "agent.py"), "build")
        assert setting() == usual
        spoil()  # a user's own script does
        assert noted(run_cell(Scripted(), cell(1), 2)) == noted(good) and setting() != usual
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_default_device(None)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)
        torch.set_flush_denormal(False)
        torch.backends.mkldnn.enabled, torch.backends.mkldnn.matmul.fp32_precision = True, "none"
        os.environ.pop("WBENCH_PRECISION", None)
        torch.set_autocast_enabled("cpu", False)
        torch.backends.cuda.matmul.fp32_precision = "none"
        sys.setrecursionlimit(1000)
        np.seterr(all="warn", under="ignore")


def test_a_default_device_ends_with_the_cell_that_it_may_spoil(tmp_path):
    good = run_cell(Scripted(), cell(0), 2)

    def adapt(*_):
        torch.set_default_device("meta")
        return Adaptation(0)

    run_cell(Scripted(adapt=adapt), cell(0), 2)
    (tmp_path / "agent.py").write_text("import torch\n\ntorch.set_default_device('meta')\nbuild = 3\n")
    load(str(tmp_path / "agent.py"), "build")
    assert torch.get_default_device().type == "cpu" and run_cell(Scripted(), cell(0), 2).returns == good.returns


HELPED = """
import helper
from wbench.benchmark.agent import RandomPolicy

class Mine(RandomPolicy):
    name = helper.NAME

def build(checkpoint, device):
    return Mine()
"""


def test_files_of_two_agents_import_what_lies_beside_each_and_are_known_by_it(tmp_path):
    keys = {}
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "agent.py").write_text(HELPED)
        (helper := tmp_path / name / "helper.py").write_text(f"NAME = {name!r}\n")
        agent = make_agent(str(tmp_path / name / "agent.py"), run_files=True)
        assert agent.name == name
        keys[name] = AgentKey.of(agent)
        helper.write_text(f"NAME = {name!r}  # edited\n")
        assert AgentKey.of(agent).code != keys[name].code  # a run that goes on with another helper is another run
    assert keys["ours"].code != keys["theirs"].code


@pytest.mark.parametrize("name", ["access", "power", "offload"])
def test_environments_are_float32_whatever_a_script_has_set(name):
    family = get_family(name)
    variant = family.select("train")[0]
    torch.set_default_dtype(torch.float64)
    try:
        env = get_family(variant.family).make(variant, "cpu")
        obs, info = env.reset([0, 1], [0, 1])
        action = family.policies["random"]
        played = play(family, variant, action(), [0, 1], [0, 1])
        assert obs.dtype == torch.float32 and info["action_mask"].dtype == torch.bool
        assert played.returns.dtype == torch.float64 and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    again = play(family, variant, action(), [0, 1], [0, 1])
    assert torch.equal(played.returns, again.returns)


def test_a_simulator_that_pays_nan_fails_the_cell(monkeypatch):
    broken = torch.tensor([1.0, torch.nan])
    monkeypatch.setattr(runner, "play", lambda *given, **more: dataclasses.replace(play(*given, **more), returns=broken))
    assert "returns of access/n8-c3-load0.15-l48 is 'NaN or infinite'" in run_cell(Scripted(), cell(0), 2).failure


def test_whoever_writes_an_agent_can_have_the_traceback(monkeypatch):
    monkeypatch.setenv("WBENCH_DEBUG", "1")
    with pytest.raises(RuntimeError, match="two"):
        run_cell(Scripted(act=boom), cell(0), 1)


def test_nan_powers_are_no_actions():
    name = "power/d2d-n14-s400-v1-load0.12-l48"
    agent = Scripted(act=lambda obs, inbox, state: torch.full(obs.shape[:2], float("nan")))
    assert "must be in [0, 1]" in run_cell(agent, Cell("power", name, SITE, 0), 1).failure


def test_a_cell_depends_on_nothing_that_happened_before():
    def gamble(obs, inbox, state):
        luck = torch.rand(obs.shape[:2]) + np.random.rand() + random.random()
        return (luck * state.action_mask[..., 1] > 1.5).long()

    def numbers(shots):
        found = run_cell(Scripted(act=gamble), cell(shots), 2)
        assert not found.failure
        return found.returns

    first = numbers(0)
    other = numbers(1)
    torch.set_num_threads(2)
    assert numbers(0) == first != other and torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_an_agent_enters_one_of_its_tracks():
    agent = Scripted()
    assert agent.label == "scripted/offline"
    agent.enter("scratch")
    assert agent.label == "scripted/scratch" and make_agent("random", track="offline").label == "random"
    with pytest.raises(UnknownNameError, match=r"unknown track of random 'scratch'.*Allowed: offline"):
        make_agent("random", track="scratch")


def test_a_cell_is_the_same_whatever_is_played_before_or_beside_it():
    """Episodes of a site are the same for every number of shots; those of other sites differ."""

    def played(shots, site, episodes=2):
        sending = Scripted(act=lambda obs, inbox, state: state.action_mask[..., 1].long())
        return run_cell(sending, cell(shots, site), episodes).returns

    found = {(k, site): played(k, site) for k in (2, 0) for site in (SITE + 1, SITE)}
    assert found[2, SITE] == found[0, SITE] != found[0, SITE + 1] == found[2, SITE + 1]
    assert played(0, SITE, 3)[:2] == found[0, SITE]


@pytest.mark.parametrize("kind", ["wrong", "shifted"])
def test_controls_hand_over_other_logs(kind):
    agent = Scripted()
    assert not run_cell(agent, cell(2), 1, logs=kind).failure
    own, other = support(FAMILY, VARIANT, SITE, 2), support(FAMILY, VARIANT, SITE - 1, 2)  # its neighbour
    given = agent.heard[0]
    assert torch.equal(given.obs, other.obs) == (kind == "wrong") and not torch.equal(given.obs, own.obs)
    assert given.quality == (("random", "random") if kind == "shifted" else own.quality)
    with pytest.raises(UnknownNameError, match=r"unknown support 'worng'.*Did you mean 'wrong'"):
        run_cell(agent, cell(2), 1, logs="worng")


def test_logs_of_another_variant_or_length_are_refused_in_one_line(monkeypatch):
    family, other = get_variant("access/n12-c4-load0.15-l48")
    strange = support(family, other, SITE, 1)
    own = support(FAMILY, VARIANT, SITE, 1)
    shorter = dataclasses.replace(
        own, **{name: getattr(own, name)[:, :90] for name in ("obs", "action", "reward", "action_mask")}
    )
    for logs, size in ((strange, r"\(128, 12, \d+\)"), (shorter, r"\(90, 8, \d+\)")):
        monkeypatch.setattr(runner, "support", lambda *_, logs=logs: logs)
        with pytest.raises(InvalidValueError, match=rf"support of {NAME} is .of {size}.*logs of this very variant") as caught:
            run_cell(Scripted(), cell(1), 1)
        assert "\n" not in str(caught.value)


# The journal.

CHOSEN = protocol("quick", families=["access"], sites=[SITE, SITE + 1, SITE + 2], shots=[0])


@pytest.fixture
def played():
    return [run_cell(Scripted(), each, 1) for each in CHOSEN.cells()]


def test_a_journal_gives_back_what_was_written(tmp_path, played):
    path, agent = tmp_path / "cells.jsonl", AgentKey.of(Scripted())
    journal = Journal(path, CHOSEN, agent)
    for found in (*played, played[0]):  # one of them twice
        journal.add(agent, found)
    again = Journal(path, CHOSEN, agent)
    assert list(again.cells(agent).values()) == played
    for changes in ({"label": "scripted/scratch"}, {"checkpoint": "0" * 64}, {"settings": "1" * 64}, {"code": ""}):
        assert again.cells(dataclasses.replace(agent, **changes)) == {}, changes


def test_two_runs_do_not_write_one_file(tmp_path):
    out = tmp_path / "new" / "result.json"
    with alone(None), alone(None), alone(out):
        with pytest.raises(OutputError, match=r"another run is writing --out .*result\.json"), alone(out):
            pass
        with alone(out.with_name("other.json")):
            pass
    with alone(out):  # the first has let go
        pass
    assert not [*out.parent.iterdir()]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write --out"), alone(tmp_path / "file" / "result.json"):
        pass


def test_cells_of_an_agent_that_was_edited_since_are_not_taken_for_its_own(tmp_path, played):
    source, path = tmp_path / "mine.py", tmp_path / "cells.jsonl"
    text = (
        "from wbench.benchmark.agent import Agent\n\n\nclass Mine(Agent):\n    name = 'mine'\n\n\nbuild = lambda *_: Mine()\n"
    )
    source.write_text(text)
    agent = AgentKey.of(make_agent(str(source), run_files=True))
    Journal(path, CHOSEN, agent).add(agent, played[0])
    assert Journal(path, CHOSEN, agent).cells(agent)
    source.write_text(text.replace("'mine'", "'mine'  # edited"))
    edited = AgentKey.of(make_agent(str(source), run_files=True))
    assert not Journal(path, CHOSEN, edited).cells(edited)


def test_a_line_torn_anywhere_costs_that_cell_and_no_other(tmp_path, played):
    path, agent = tmp_path / "cells.jsonl", AgentKey.of(Scripted())
    journal = Journal(path, CHOSEN, agent)
    head = path.stat().st_size
    journal.add(agent, played[0])
    whole = path.stat().st_size
    journal.add(agent, played[1])
    content = path.read_bytes()
    for cut in (0, 1, head - 1, head, head + 1, whole - 1, whole, whole + 1, len(content) - 1, len(content)):
        path.write_bytes(content[:cut])
        survivors = played[: (cut >= whole) + (cut == len(content))]
        again = Journal(path, CHOSEN, agent)
        assert list(again.cells(agent).values()) == survivors, cut
        again.add(agent, played[2])
        assert list(Journal(path, CHOSEN, agent).cells(agent).values()) == [*survivors, played[2]], cut


def test_a_journal_of_something_else_is_left_alone(tmp_path, played):
    path = tmp_path / "cells.jsonl"
    agent = AgentKey.of(Scripted())
    Journal(path, CHOSEN, agent).add(agent, played[0])
    ours = path.read_text()
    bad = ours.replace('"failure":""', '"failure":"yes"')
    for content in ("precious notes", "precious\n", "[]\n", ours.replace(CHOSEN.hash(), "0" * 64), ours + "[]\n", bad):
        path.write_text(content)
        with pytest.raises(OutputError, match=r"holds cells of something else.*left as it is"):
            Journal(path, CHOSEN, agent)
        assert path.read_text() == content
    path.write_text(ours)
    with pytest.raises(OutputError, match="something else"):
        Journal(path, dataclasses.replace(CHOSEN, episodes=9), agent)
    with pytest.raises(OutputError, match=r"it is no file.*give another --out"):
        Journal(tmp_path, CHOSEN, agent)
