"""`wbench check`: the documented example family passes everything, and every planted defect is named."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wbench.benchmark.check.environment import Case
from wbench.benchmark.check.run import CHECKS, check, find, finding
from wbench.benchmark.randomness import generator
from wbench.benchmark.registry import get_family
from wbench.benchmark.site import scenario_generator
from wbench.errors import DataError, InvalidValueError, UnknownNameError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "own_family.py"
FAMILY, VARIANTS = find(str(EXAMPLE))
BEACON = sys.modules["_checked_own_family"]
SMALL = [replace(FAMILY.variant("beacon/n4-load0.8"), horizon=40, period=16)]
SHARED = BEACON.Belief()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["access", "handover", "offload", "power"])
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


def test_the_example_is_as_short_as_the_guide_says():
    text = EXAMPLE.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {node.body[0].end_lineno for node in nodes}
    ends = [t.start[0] for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.NEWLINE]
    assert len([line for line in ends if line not in docstrings]) <= 110


def test_the_example_is_found_when_registered(command, tmp_path, monkeypatch):
    (tmp_path / "beacon_family.py").write_text(EXAMPLE.read_text(encoding="utf-8"))
    info = tmp_path / "beacon_family-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beacon-family\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wbench.families]\nbeacon = beacon_family:FAMILY\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    done = command("check", "beacon/n4-load0.8", "--episodes", "8")
    assert done.code == 0 and len(re.findall("^[a-z ]+ {2,}ok  ", done.out, re.M)) == len(CHECKS), done


# Planted defects


def environment(**methods):
    """The example's environment with some methods replaced."""
    return type("Planted", (BEACON.BeaconEnv,), methods)


def stepped(change):
    """The example's environment with what `step` returns changed."""
    return environment(step=lambda self, action: change(self, *BEACON.BeaconEnv.step(self, action)))


def shown(change):
    """The example's environment with every observation changed."""

    def observe(self, outcome):
        obs, info = BEACON.BeaconEnv._observe(self, outcome)
        return change(self, obs), info

    return environment(_observe=observe)


def reset_with(key, place=BEACON.hidden):
    """The example's environment with other random numbers of episodes, or of sites."""

    def reset(self, sites, seeds):
        v = self.variant
        self.site = {name: self._stack(place(v, site)[name] for site in sites) for name in ("noise", "radar")}
        rngs = [scenario_generator(v.name, sites[row], key(seeds, row)) for row in range(len(seeds))]
        self.coins = self._stack(rng.random((v.horizon + 1, v.agents + 2)) for rng in rngs)
        self.wait, self.log = self.coins[:, 0, 2:].lt(0.5).float(), []
        return self._observe(torch.zeros_like(self.wait[:, 0]))

    return environment(reset=reset)


def unsealed(variant, site):
    """What is hidden at a site, for whoever asks."""
    rng = generator(variant.name, site)
    return {name: rng.random(variant.period).astype("float32") for name in ("noise", "radar")}


def drifting(variant, site):
    """Another place every time."""
    return {name: torch.rand(variant.period).numpy() for name in ("noise", "radar")}


def telling(self, outcome):
    """Observations that show the charge of the slot."""
    obs, info = BEACON.BeaconEnv._observe(self, outcome)
    t = max(0, len(self.log) - 1)
    charge = self.charged * (self.coins[:, t, 1] < self.site["radar"][:, t % self.variant.period])
    return torch.cat([obs[..., :4], charge[:, None, None].expand(-1, self.variant.agents, 1).float()], -1), info


def forbidding(env, *returned):
    """A step after which nothing is allowed."""
    return *returned[:4], returned[4] | {"action_mask": returned[4]["action_mask"] & False}


def free(self, action):
    """A step without any charge."""
    self.charged = False
    return BEACON.BeaconEnv.step(self, action)


def trusting(self, action):
    """A step that takes whatever it gets."""
    action = torch.as_tensor(action).nan_to_num().clamp(0, 1).long()
    return BEACON.BeaconEnv.step(self, action.expand(len(self.wait), -1)[:, :1].expand(-1, self.variant.agents))


def crashing(self, action):
    """A step that fails in its own way."""
    return BEACON.BeaconEnv.step(self, action.long())


def overwriting(self, outcome):
    """Observations that all live in one buffer."""
    obs, info = BEACON.BeaconEnv._observe(self, outcome)
    self.buffer = getattr(self, "buffer", torch.empty_like(obs))
    return self.buffer.copy_(obs) if len(self.buffer) == len(obs) else obs, info


class Peeking(BEACON.Belief):
    """Sends when it alone has a report, which it cannot know."""

    def act(self, obs, inbox, state):
        return ((obs[..., BEACON.HAS].sum(1, keepdim=True) == 1) & (obs[..., BEACON.HAS] > 0)).long()


class Drifting(BEACON.Belief):
    """Draws its coin flips from torch's own generator."""

    def act(self, obs, inbox, state):
        return ((torch.rand(obs.shape[:2]) < 0.5) & (obs[..., BEACON.HAS] > 0)).long()


class Seeing(BEACON.Belief):
    """Needs the environment without saying so."""

    def act(self, obs, inbox, state):
        return (state.env.wait > 0).long()


def policies(**changed):
    """The example's policies with some replaced, or left out where None."""
    return {"policies": {name: build for name, build in {**FAMILY.policies, **changed}.items() if build}}


def make(planted):
    """An environment in place of the example's."""
    return {"make": planted}


def masked(self, outcome):
    """Agents may send only out of turn, but policies do not know."""
    obs, info = BEACON.BeaconEnv._observe(self, outcome)
    mask = info["action_mask"].clone()
    mask[..., 1] &= obs[..., BEACON.TURN] == 0
    return obs, info | {"action_mask": mask}


def seed_of(seeds, row):
    """The seed of a row."""
    return seeds[row]


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
    "nothing allowed": (make(stepped(forbidding)), "returns", "no allowed"),
    "ends early": (make(stepped(lambda env, *r: (*r[:2], r[2] | (len(env.log) == 9), *r[3:]))), "horizon", "ended after step"),
    "never ends": (make(stepped(lambda env, *r: (*r[:3], r[3] & False, r[4]))), "horizon", "not truncated"),
    "takes anything": (make(environment(step=trusting)), "bad actions", "is accepted"),
    "crashes": (make(environment(step=crashing)), "bad actions", "a list raises AttributeError"),
    "qos with holes": (make(environment(qos=lambda self: {"goodput": self.wait[:, 0]})), "qos", "no 'delay_mean'"),
    "a site that changes": ({"hidden": drifting}, "hidden", "noise of a site changes"),
    "sites that are alike": ({"hidden": lambda variant, site: unsealed(variant, 0)}, "hidden", "two sites hide the same"),
    "nothing hidden": ({"hidden": lambda variant, site: {}}, "hidden", "is empty"),
    "a charge that shows": (make(environment(_observe=telling)), "charge", "what is shown depends on the charge"),
    "no charge": (make(environment(step=free)), "charge", "changes no reward"),
    "sealed sites are played": (make(reset_with(seed_of, unsealed)), "sealed", "plays the sealed site"),
    "peeking belief": (policies(belief=lambda: Peeking()), "decentralised", "what belief does"),
    "hidden state": (policies(belief=lambda: Seeing()), "decentralised", "could not run: AttributeError"),
    "own coin flips": (policies(belief=lambda: Drifting()), "batching", "belief plays a seed differently"),
    "missing policy": (policies(estimator=None), "policies", "no policy 'estimator'"),
    "privileged belief": (policies(belief=BEACON.Oracle), "policies", "privileged: belief"),
    "told support": ({"support": (("oracle", 0.0),)}, "policies", "privileged: oracle"),
    "no policy for a quality": ({"behaviours": {**FAMILY.behaviours, "medium": ()}}, "policies", "'medium'"),
    "one agent for all": (policies(belief=lambda: SHARED), "policies", "same object twice"),
    "descriptor": ({"descriptor_size": 3}, "variants", "length 2, not descriptor_size 3"),
    "no held-out variant": ({"variants": {v.name: v for v in FAMILY.select("train")}}, "variants", "'train': 4"),
    "misnamed variant": ({"variants": {**FAMILY.variants, "beacon/other": SMALL[0]}}, "variants", "beacon/other"),
    "name": ({"name": "My Family"}, "fields", "My Family"),
    "reward out of range": ({"reward_range": (0.0, 0.1)}, "reward range", r"outside reward_range \[0, 0.1\]"),
    "nothing to know": (policies(oracle=BEACON.Belief), "references", "oracle - belief = 0"),
    "nothing to win": (policies(genie=FAMILY.policies["random"]), "references", "genie - random = 0"),
    "policies ignore the mask": (make(environment(_observe=masked)), "collection", "recorded choices are masked"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_named(defect):
    changes, where, named = DEFECTS[defect]
    found = finding(where, Case(replace(FAMILY, **changes), tuple(SMALL), 8))
    assert not found.passed and re.search(named, found.found) and found.advice, found


@pytest.mark.parametrize("defect", ["descriptor", "reward out of range"])
def test_what_breaks_one_check_leaves_all_others(defect):
    changes, where, _ = DEFECTS[defect]
    findings = check(replace(FAMILY, **changes), 8, SMALL)
    assert [found.check for found in findings] == list(CHECKS)
    assert [found.check for found in findings if not found.passed] == [where]


def test_the_unspoilt_example_passes_on_the_same_variant():
    assert all(finding.passed for finding in check(FAMILY, 8, SMALL))


def test_a_failed_check_is_a_table_one_line_and_exit_code_2(wbench, tmp_path):
    path = tmp_path / "spoilt.py"
    text = EXAMPLE.read_text(encoding="utf-8").replace("(4, 6, 8)", "(4,)").replace("horizon: int = 64", "horizon: int = 40")
    text = text.replace("reward_range=(-CHARGE, 1.0)", "reward_range=(0.0, 0.1)")
    path.write_text(text.replace('summary="devices', 'summary="[/no markup]\\n') + '\nprint("ran once")\n')
    done = wbench("check", str(path), "--episodes", "8")
    assert done.code == 2 and "FAILED" in done.out and "widen reward_range" in done.out.replace("\n", " ")
    assert done.err.splitlines()[-1].startswith(f"wbench: beacon: 2 of {len(CHECKS)} checks failed: fields, reward range")
    assert "summary is '[/no markup]" in done.out
    assert "Traceback" not in done.err and done.err.count("ran once") == 1


def test_what_cannot_be_checked_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "other.py").write_text("FAMILY = 3\n")
    for target, error, named in (
        ("acces", UnknownNameError, "Did you mean 'access'"),
        ("access/n8-c3-load0.35-l48", UnknownNameError, "Did you mean 'access/n8-c3-load0.[123]5?-l48'"),
        (str(tmp_path / "none.py"), InvalidValueError, "a file that exists"),
        (str(tmp_path / "broken.py"), DataError, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (str(tmp_path / "other.py"), InvalidValueError, "FAMILY in .*other.py is 'int'"),
        (f"{EXAMPLE}:NOTHING", InvalidValueError, "NOTHING in .*own_family.py is 'missing'"),
        ("no.such.module:FAMILY", DataError, "ModuleNotFoundError"),
    ):
        with pytest.raises(error, match=named):
            find(target)
    (tmp_path / "other.py").write_text("FAMILY = 'mended, and still none'\n")
    with pytest.raises(InvalidValueError, match="'str'"):
        find(str(tmp_path / "other.py"))
    with pytest.raises(InvalidValueError, match="--episodes is 1"):
        check(FAMILY, 1)
    assert len(VARIANTS) == 9 and find("access/n8-c3-load0.3-l48")[1][0].name == "access/n8-c3-load0.3-l48"
    assert find("wbench.benchmark.families.access.family:FAMILY")[0].name == "access"


def test_the_guide_quotes_the_example():
    guide = (ROOT / "docs" / "guides" / "own-family.md").read_text(encoding="utf-8")
    example = EXAMPLE.read_text(encoding="utf-8").splitlines()
    quoted = [
        block.splitlines()
        for block in re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
        if "parallel_env" not in block
    ]
    assert len(quoted) == 6 and all(line in example for block in quoted for line in block)
    checks = re.findall(r"^\| ([a-z, ]+) \|", guide.partition("## 5.")[2], flags=re.MULTILINE)[1:]
    assert {name for row in checks for name in row.split(", ")} == set(CHECKS)
