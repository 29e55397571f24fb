"""`wbench check`: the documented example family passes everything, and every planted defect is named."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wbench.benchmark.check.run import CHECKS, check, find
from wbench.benchmark.family import InvalidValueError
from wbench.benchmark.randomness import scenario_generator
from wbench.benchmark.registry import get_family
from wbench.errors import DataError, UnknownNameError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "own_family.py"
FAMILY, VARIANTS = find(str(EXAMPLE))
BEACON = sys.modules["_checked_own_family"]
SMALL = [replace(FAMILY.variant("beacon/n4-change0.1"), horizon=20)]
SHARED = BEACON.Follow(BEACON.TURN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["access", "offload", "power"])
def test_our_own_families_keep_the_contract(name):
    family = get_family(name)
    findings = check(family, 16, [family.select("held-out")[0]])
    assert not [f"{finding.check}: {finding.found}" for finding in findings if not finding.passed]


# The example


@pytest.mark.slow
def test_the_example_passes_every_check_by_its_path(wbench):
    done = wbench("check", str(EXAMPLE), "--episodes", "16", "--json")
    assert done.code == 0, done.err
    assert done.data["family"] == "beacon" and done.data["passed"]
    assert [finding["check"] for finding in done.data["findings"]] == list(CHECKS)
    assert all(finding["passed"] and finding["found"] and not finding["advice"] for finding in done.data["findings"])
    references = next(f["found"] for f in done.data["findings"] if f["check"] == "references")
    assert float(re.search(r"room (\d+)%", references).group(1)) > 20


def test_the_example_is_as_short_as_the_guide_says():
    text = EXAMPLE.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {node.body[0].end_lineno for node in nodes}
    ends = [t.start[0] for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.NEWLINE]
    assert len([line for line in ends if line not in docstrings]) <= 60


def test_the_example_is_found_when_registered(process, tmp_path):
    (tmp_path / "beacon_family.py").write_text(EXAMPLE.read_text(encoding="utf-8"))
    info = tmp_path / "beacon_family-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beacon-family\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wbench.families]\nbeacon = beacon_family:FAMILY\n")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = process("check", "beacon/n4-change0.1", "--episodes", "16", env={"PYTHONPATH": paths})
    assert done.code == 0 and done.out.count("│ ok") == len(CHECKS), done


# Planted defects


def environment(**methods):
    """The example's environment with some methods replaced."""
    return type("Planted", (BEACON.BeaconEnv,), methods)


def stepped(change):
    """The example's environment with what `step` returns changed."""
    return environment(step=lambda self, action: change(self, *BEACON.BeaconEnv.step(self, action)))


def shown(change):
    """The example's environment with every observation changed."""

    def observe(self):
        obs, info = BEACON.BeaconEnv._observe(self)
        return change(self, obs), info

    return environment(_observe=observe)


def reset_with(key):
    """The example's environment with other random numbers."""

    def reset(self, seeds):
        v, rows = self.variant, range(len(seeds))
        draws = [torch.from_numpy(scenario_generator(v.name, key(seeds, row)).random(v.horizon + 1)) for row in rows]
        self.good = (torch.stack(draws) < v.change).cumsum(1) % 2 == 1
        self.age, self.log = torch.ones(len(seeds), v.agents), []
        return self._observe()

    return environment(reset=reset)


def trusting(self, action):
    """A step that takes whatever it gets."""
    action = torch.as_tensor(action).nan_to_num().clamp(0, 1).long()
    return BEACON.BeaconEnv.step(self, action.expand(len(self.age), -1)[:, :1].expand(-1, self.variant.agents))


def crashing(self, action):
    """A step that fails in its own way."""
    return BEACON.BeaconEnv.step(self, action.long())


def overwriting(self):
    """Observations that all live in one buffer."""
    obs, info = BEACON.BeaconEnv._observe(self)
    self.buffer = getattr(self, "buffer", torch.empty_like(obs))
    return self.buffer.copy_(obs) if len(self.buffer) == len(obs) else obs, info


class Peeking(BEACON.Follow):
    """Sends when it is the oldest of all, which it cannot know."""

    def act(self, obs, inbox, state):
        return BEACON.one_hot(obs[..., BEACON.AGE].argmax(1), obs.shape[1])


class Drifting(BEACON.Follow):
    """Draws its coin flips from torch's own generator."""

    def act(self, obs, inbox, state):
        return (torch.rand(obs.shape[:2]) < 0.5).long()


class Seeing(BEACON.Follow):
    """Needs the environment without saying so."""

    def act(self, obs, inbox, state):
        return state.env.good[:, 0, None].long().expand(obs.shape[:2])


def policies(**changed):
    """The example's policies with some replaced, or left out where None."""
    return {"policies": {name: build for name, build in {**FAMILY.policies, **changed}.items() if build}}


def make(planted):
    """An environment in place of the example's."""
    return {"make": planted}


def masked(self):
    """Agents whose turn it is not may not send, but policies do not know."""
    obs, info = BEACON.BeaconEnv._observe(self)
    mask = info["action_mask"].clone()
    mask[..., 1] = obs[..., BEACON.TURN] > 0
    return obs, info | {"action_mask": mask}


MASKS = ("action_mask", "agent_mask")
DEFECTS = {
    "batch-dependent randomness": (make(reset_with(lambda seeds, row: seeds[0] + row)), "batching", "batch reversed"),
    "unseeded randomness": (make(shown(lambda env, obs: obs + torch.rand(()))), "determinism", "obs differs at slot 0"),
    "ignored seed": (make(reset_with(lambda seeds, row: 0)), "seeds", "are one episode"),
    "sums over the batch": (make(shown(lambda env, obs: obs - obs.mean(0))), "batching", "seed alone|batch reversed"),
    "NaN": (make(shown(lambda env, obs: obs.log())), "returns", "obs has NaN or infinity"),
    "float64": (make(shown(lambda env, obs: obs.double())), "returns", "torch.float64"),
    "shape": (make(shown(lambda env, obs: obs[..., :2])), "returns", r"\(4, 4, 2\)"),
    "unscaled": (make(shown(lambda env, obs: obs * 1e6)), "returns", "obs"),
    "one buffer": (make(environment(_observe=overwriting)), "returns", "wrote into the last obs"),
    "no QoS": (make(stepped(lambda env, *r: (*r[:4], {k: r[4][k] for k in MASKS}))), "returns", "delivered is missing"),
    "nothing allowed": (make(stepped(lambda env, *r: (*r[:4], r[4] | {MASKS[0]: ~r[4][MASKS[0]]}))), "returns", "no allowed"),
    "ends early": (make(stepped(lambda env, *r: (*r[:2], r[2] | (len(env.log) == 9), *r[3:]))), "horizon", "ended after step"),
    "never ends": (make(stepped(lambda env, *r: (*r[:3], r[3] & False, r[4]))), "horizon", "not truncated"),
    "takes anything": (make(environment(step=trusting)), "bad actions", "is accepted"),
    "crashes": (make(environment(step=crashing)), "bad actions", "a list raises AttributeError"),
    "qos with holes": (make(environment(qos=lambda self: {"goodput": self.age[:, 0]})), "qos", "no 'delay_mean'"),
    "peeking heuristic": (policies(turns=lambda: Peeking(0)), "decentralised", "what turns does"),
    "hidden state": (policies(turns=lambda: Seeing(0)), "decentralised", "could not run: AttributeError"),
    "own coin flips": (policies(turns=lambda: Drifting(0)), "batching", "turns plays a seed differently"),
    "missing policy": (policies(turns=None), "policies", "heuristic is 'turns'"),
    "privileged heuristic": ({"heuristic": "genie"}, "policies", "privileged: genie"),
    "no policy for a quality": ({"behaviours": {**FAMILY.behaviours, "medium": ()}}, "policies", "'medium'"),
    "one agent for all": (policies(turns=lambda: SHARED), "policies", "same object twice"),
    "descriptor": ({"descriptor_size": 3}, "variants", "length 2, not descriptor_size 3"),
    "no held-out variant": ({"variants": {v.name: v for v in FAMILY.select("train")}}, "variants", "'train': 4"),
    "misnamed variant": ({"variants": {**FAMILY.variants, "beacon/other": SMALL[0]}}, "variants", "beacon/other"),
    "name": ({"name": "My Family"}, "fields", "My Family"),
    "reward out of range": ({"reward_range": (0.0, 0.1)}, "reward range", r"outside reward_range \[0, 0.1\]"),
    "heuristic no better than greedy": ({"heuristic": "greedy"}, "references", "heuristic - random"),
    "nothing to win": ({"reference": "random"}, "references", "reference - random = 0"),
    "policies ignore the mask": (make(environment(_observe=masked)), "collection", "recorded choices are masked"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_named(defect):
    changes, where, named = DEFECTS[defect]
    findings = {finding.check: finding for finding in check(replace(FAMILY, **changes), 8, SMALL)}
    assert list(findings) == list(CHECKS)
    finding = findings[where]
    assert not finding.passed and re.search(named, finding.found) and finding.advice, findings
    if set(changes) & {"descriptor_size", "reward_range"}:  # these break nothing else
        assert [f.check for f in findings.values() if not f.passed] == [where]


def test_the_unspoilt_example_passes_on_the_same_variant():
    assert all(finding.passed for finding in check(FAMILY, 8, SMALL))


def test_a_failed_check_is_a_table_one_line_and_exit_code_2(wbench, tmp_path):
    path = tmp_path / "spoilt.py"
    text = EXAMPLE.read_text(encoding="utf-8").replace("(4, 8, 12)", "(4,)").replace("horizon: int = 64", "horizon: int = 20")
    text = text.replace("reward_range=(0.0, 1.0)", "reward_range=(0.0, 0.1)")
    path.write_text(text.replace('summary="devices', 'summary="[/no markup]\\n') + '\nprint("ran once")\n')
    done = wbench("check", str(path), "--episodes", "4")
    assert done.code == 2 and "FAILED" in done.out and "widen reward_range" in done.out.replace("\n", " ")
    assert done.err.splitlines()[-1].startswith("wbench: beacon: 2 of 14 checks failed: fields, reward range")
    assert "summary is '[/no markup]" in done.out
    assert "Traceback" not in done.err and done.out.count("ran once") == 1


def test_what_cannot_be_checked_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "other.py").write_text("FAMILY = 3\n")
    for target, error, named in (
        ("acces", UnknownNameError, "Did you mean 'access'"),
        ("access/n8-c1-load0.55", UnknownNameError, "Did you mean 'access/n8-c1-load0.5'"),
        (str(tmp_path / "none.py"), InvalidValueError, "a file that exists"),
        (str(tmp_path / "broken.py"), DataError, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (str(tmp_path / "other.py"), InvalidValueError, "FAMILY in .*other.py is 'int'"),
        (f"{EXAMPLE}:NOTHING", InvalidValueError, "NOTHING in .*own_family.py is 'NoneType'"),
        ("no.such.module:FAMILY", DataError, "ModuleNotFoundError"),
    ):
        with pytest.raises(error, match=named):
            find(target)
    (tmp_path / "other.py").write_text("FAMILY = 'mended, and still none'\n")
    with pytest.raises(InvalidValueError, match="'str'"):
        find(str(tmp_path / "other.py"))
    with pytest.raises(InvalidValueError, match="--episodes is 1"):
        check(FAMILY, 1)
    assert len(VARIANTS) == 9 and find("access/n8-c1-load0.5")[1][0].name == "access/n8-c1-load0.5"
    assert find("wbench.benchmark.families.access.family:FAMILY")[0].name == "access"


def test_the_guide_quotes_the_example():
    guide = (ROOT / "docs" / "own-family.md").read_text(encoding="utf-8")
    example = EXAMPLE.read_text(encoding="utf-8").splitlines()
    quoted = [
        block.splitlines()
        for block in re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
        if "parallel_env" not in block
    ]
    assert len(quoted) == 5 and all(line in example for block in quoted for line in block)
    checks = re.findall(r"^\| ([a-z, ]+) \|", guide.partition("## 4.")[2], flags=re.MULTILINE)[1:]
    assert {name for row in checks for name in row.split(", ")} == set(CHECKS)
