"""Admission: readers of many sites play side by side what each would play alone, and the verdict follows from the scores."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from wbench.benchmark.agent import Support
from wbench.benchmark.data.support import support
from wbench.benchmark.protocol import admission
from wbench.benchmark.protocol.admission import READERS, Admission, frozen, measure, side_by_side
from wbench.benchmark.registry import get_family
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import query_seeds
from wbench.benchmark.site import RANGES

SITES = RANGES["dev"][:3]


@pytest.mark.parametrize("name", ["access", *(pytest.param(name, marks=pytest.mark.slow) for name in ("offload", "power"))])
def test_side_by_side_everybody_earns_what_it_earns_alone(name, monkeypatch):
    monkeypatch.setattr(admission, "SHOTS", (2,))
    monkeypatch.setattr(admission, "TOGETHER", 2)
    family = get_family(name)
    variant = family.select("train")[0]
    found = measure(family, variant, SITES, 2)
    logs = [support(family, variant, site, 2) for site in SITES]
    for column, (policy, shift) in READERS.items():
        for k, site in enumerate(SITES):
            agent = family.policies[policy]()
            agent.adapt(family, variant, logs[(k + shift) % len(SITES)].choose(range(2)))
            alone = play(family, variant, agent, [site] * 2, query_seeds(2)).returns.mean().item()
            assert found.returns[f"{column}@2"][k] == pytest.approx(alone, abs=1e-5)
    shown, told = found.returns["revealed@2"], found.returns["oracle"]
    assert not np.array_equal(shown, told) and found.scores("revealed@2") == pytest.approx(found.scores("oracle"), abs=15)


@pytest.mark.parametrize("name", ["access", "offload", "power"])
def test_logs_move_what_is_revealed_a_little(name):
    """The control is flat because logs add nothing to the truth, not because it does not read them."""
    family = get_family(name)
    variant = family.select("train")[0]
    sites, seeds = [SITES[0]] * 4, query_seeds(4)

    def returns(policy: str, logs: Support | None) -> list[float]:
        agent = family.policies[policy]()
        agent.adapt(family, variant, logs)
        return play(family, variant, agent, sites, seeds).returns.tolist()

    wrong = support(family, variant, SITES[0], 4, "wrong")
    assert wrong is not None
    many_logs = (torch.cat([getattr(wrong, column)] * 50) for column in ("obs", "action", "reward", "action_mask"))
    often = Support(*many_logs, ("random",) * 200)
    none, many = returns("revealed", None), returns("revealed", often)
    assert none == pytest.approx(returns("oracle", None), rel=0.2)
    assert sum(many) < sum(none)  # 200 logs of another site outweigh the truth


@pytest.mark.parametrize("policy", ["estimator", "oracle"])
def test_agents_play_episodes_of_their_own_joined_or_not(policy):
    family = get_family("access")
    variant = family.select("train")[0]
    agents = [family.policies[policy]() for _ in SITES]
    for agent, site in zip(agents, SITES, strict=True):
        agent.adapt(family, variant, support(family, variant, site, 1))
    places = [[site, SITES[0]] for site in SITES]
    returns = side_by_side(family, variant, agents, np.array(places), [5, 6])
    for agent, own, earned in zip(agents, places, returns, strict=True):
        assert earned.tolist() == pytest.approx(play(family, variant, agent, own, [5, 6]).returns.tolist(), abs=1e-5)


def row(**changed: float) -> Admission:
    """An admitted variant, with some scores changed."""
    means = {"random": 0.0, "prior": 50.0, "belief": 52.0, "oracle": 80.0, "genie": 100.0}
    means |= {"estimator@1": 62.0, "estimator@5": 72.0, "estimator@20": 77.0}
    means |= {f"wrong@{k}": 45.0 for k in (1, 5, 20)} | {f"revealed@{k}": 79.0 for k in (1, 5, 20)}
    return Admission({name: mean + np.array([-1.0, 1.0, -1.0, 1.0]) for name, mean in (means | changed).items()})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"oracle": 61.0}, ["oracle - belief is 9.0", "below 20% of oracle - random"]),
        ({"estimator@20": 66.0}, ["below 60%"]),
        ({"estimator@1": 52.0}, ["belief to estimator@1: 0.0 .* is no rise"]),
        ({"wrong@5": 60.0}, ["wrong@5 - belief is 8.0 .* logs of another site help"]),
        ({"revealed@1": 70.0}, ["revealed@1 to revealed@20: 9.0 .* is not flat"]),
        ({"oracle": 104.0, "estimator@20": 90.0}, ["oracle scores 104.0, above 102"]),
    ],
)
def test_the_verdict_says_what_is_missing(changed, said):
    failures = row(**changed).failures()
    assert len(failures) == len(said)
    for found, wanted in zip(failures, said, strict=True):
        assert re.search(wanted, found)


def test_a_table_is_kept_with_its_sites(tmp_path, monkeypatch):
    monkeypatch.setattr(admission, "PATH", tmp_path / "admission.json")
    assert frozen() == {}
    admission.freeze({"a/b": Admission(row().returns, (1000050, 1000051, 1000052, 1000053))})
    admission.freeze({"a/a": Admission(row(oracle=70.0).returns, (1000000, 1000001, 1000002, 1000003))})
    assert [(name, found.sites[0]) for name, found in frozen().items()] == [("a/a", 1000000), ("a/b", 1000050)]
    assert frozen()["a/b"].score("oracle") == row().score("oracle")


def test_every_variant_of_the_committed_table_is_listed_and_admitted():
    for name, found in frozen().items():
        assert name in get_family(name.partition("/")[0]).variants
        assert not found.failures(), name


def test_a_family_without_the_revealed_control_is_measured_all_the_same(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    example = Path(__file__).parents[2] / "docs" / "examples" / "own_family.py"
    done = command("protocol", "admission", "--family", str(example), "--sites", "dev:0-1", "--episodes", "1")
    assert done.code == 0, done.err
    (row,) = (line for line in done.out.splitlines() if "beacon/n4-load0.6" in line)
    assert re.split(r"  +", row.strip())[-2] == "-"  # revealed@20, before the verdict
