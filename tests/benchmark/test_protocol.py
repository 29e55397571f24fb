"""The protocol's hash covers all that defines a score, and no scenario serves two purposes."""

from __future__ import annotations

import dataclasses
import json

import pytest
from wbench.benchmark import seeds as ranges
from wbench.benchmark.data import recorder
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.protocol import spec as module
from wbench.benchmark.protocol import statistics
from wbench.benchmark.protocol import support as support_manifest
from wbench.benchmark.protocol.references import EPISODES
from wbench.benchmark.protocol.spec import SIZES, protocol
from wbench.benchmark.registry import get_family, get_variant, list_families
from wbench.errors import BudgetError, InvalidValueError, UnknownNameError

LITE = protocol("lite")


def test_sizes():
    lite, full = protocol("lite"), protocol("full")
    assert (lite.shots, lite.seeds, lite.episodes, len(lite.variants)) == ((0, 1, 5, 20), 5, 20, 6)
    assert (full.shots, full.seeds, full.episodes, len(full.variants)) == ((0, 1, 5, 10, 20, 50), 10, 32, 21)
    assert len(full.cells()) == 21 * 6 * 10 == len(set(full.cells()))


@pytest.mark.parametrize("changed", [{"shots": (0, 1, 5)}, {"seeds": 6}, {"episodes": 21}, {"variants": LITE.variants[:-1]}])
def test_every_field_changes_the_hash(changed):
    names = [protocol(name).hash() for name in SIZES]
    assert len({*names, dataclasses.replace(LITE, **changed).hash()}) == 4 and names[1] == LITE.hash()


def change_variant(name, **fields):
    """What `get_variant` says where one variant, or its family, has other fields."""

    def look_up(asked):
        family, variant = get_variant(asked)
        of_family = {key: value for key, value in fields.items() if key in ("version", "behaviours")}
        of_variant = {key: value for key, value in fields.items() if key not in of_family}
        if asked != name:
            return family, variant
        return dataclasses.replace(family, **of_family), dataclasses.replace(variant, **of_variant)

    return look_up


def change_reference(field):
    real = module.references
    return lambda name: dataclasses.replace(real(name), **{field: getattr(real(name), field) + 1e-6})


FIRST = LITE.variants[0]
NOISIER = {**get_family("access").behaviours, "random": (("random", 0.5),)}
CHANGES = {
    "version": [(module, "VERSION", "fewshot-v2")],
    "variants": [
        (module, "get_variant", change_variant(FIRST, load=0.51)),
        (module, "get_variant", change_variant(FIRST, horizon=127)),
        (module, "get_variant", change_variant(FIRST, version="2")),
        (module, "references", change_reference("random")),
        (module, "references", change_reference("reference")),
    ],
    "support": [
        (module, "SUPPORT_SEEDS", 1),
        (module, "DRAW_SIZE", 999),
        (module, "SUPPORT_ORDER", ("expert", "mixed", "medium", "random")),
        (module, "get_family", lambda name: dataclasses.replace(get_family(name), behaviours=NOISIER)),
        (module, "digest", lambda name, draws: "0" * 64),
    ],
    "practice": [(module, "SUPPORT_SEEDS", 1), (module, "get_variant", change_variant(FIRST, horizon=127))],
    "query": [(module, "QUERY_SEEDS", 1)],
    "messages": [(module, "BITS_PER_FLOAT", 16), (module, "MESSAGES", "at once")],
    "metric": [(module, "METRIC", "R")],
    "aggregation": [(module, "AGGREGATION", "mean")]
    + [(statistics, name, 3.5) for name in ("TRIM", "RESAMPLES", "CONFIDENCE", "MIN_SEEDS", "GAMMA")],
}


@pytest.mark.parametrize(("section", "change"), [(name, change) for name, several in CHANGES.items() for change in several])
def test_every_part_of_the_contract_changes_the_hash(monkeypatch, section, change):
    before, contract = LITE.hash(), LITE.contract()
    monkeypatch.setattr(*change)
    assert LITE.hash() != before and LITE.contract()[section] != contract[section]


def test_the_contract_has_no_other_parts():
    assert LITE.contract().keys() == {*CHANGES, "shots", "seeds", "episodes"}
    assert json.loads(json.dumps(LITE.contract())) == LITE.contract()


@pytest.mark.parametrize("size", SIZES)
def test_the_support_of_every_cell_is_frozen(size):
    found = protocol(size)
    assert found.seeds <= support_manifest.DRAWS and max(found.shots) <= support_manifest.EPISODES
    digests = found.contract()["support"]["manifest"]
    assert list(digests) == list(found.variants) and len(set(digests.values())) == len(digests)
    assert all(len(digest) == 64 for digest in digests.values())


@pytest.mark.parametrize("name", list_families())
def test_the_frozen_support_is_what_this_machine_records(name):
    family = get_family(name)
    variant = family.select("held-out")[0]
    frozen, (here,) = support_manifest.frozen(variant.name)[3], support_manifest.measure(family, variant, [3])
    assert support_manifest.agree(frozen, here)
    other = {**here, "action": (here["action"][0], here["action"][1] + 1e-3 * here["action"][0])}
    assert not support_manifest.agree(frozen, other)


def test_other_support_data_is_another_protocol(monkeypatch, tmp_path):
    before = [protocol(size).hash() for size in SIZES]
    table = {name: support_manifest.frozen(name) for name in protocol("full").variants}
    monkeypatch.setattr(support_manifest, "PATH", tmp_path / "support.json")
    support_manifest.freeze(table)
    assert [protocol(size).hash() for size in SIZES] == before
    fourth = dict(table[FIRST][3])
    fourth["reward"] = [fourth["reward"][0], fourth["reward"][1] + 0.001]
    support_manifest.freeze({FIRST: [*table[FIRST][:3], fourth, *table[FIRST][4:]]})
    after = [protocol(size).hash() for size in SIZES]
    assert after[0] == before[0] and after[1] != before[1] and after[2] != before[2]  # quick has two draws only


def test_train_variants_and_plug_in_families_have_no_frozen_support():
    assert protocol("quick", variants=["access/n4-c1-load0.2"]).contract()["support"]["manifest"] == {
        "access/n4-c1-load0.2": None
    }


@pytest.mark.parametrize("size", [*SIZES, "largest"])
def test_train_support_practice_query_and_reference_scenarios_are_disjoint(size):
    """Over all cells of all sizes, and over the largest protocol that can be asked for.

    Practice in the online tracks has the scenarios of the support draw: an agent gets either, never both.
    """
    limits = {"seeds": module.MAX_SEEDS, "episodes": module.MAX_EPISODES, "shots": [module.MAX_SHOTS]}
    chosen = protocol("quick", **limits) if size == "largest" else protocol(size)
    taken: dict[int, tuple[str, int]] = {}

    def claim(seeds, use, owner):
        for seed in seeds:
            assert taken.setdefault(seed, (use, owner)) == (use, owner)

    for quality in QUALITIES:
        claim(recorder.train_seeds(quality, 144), "train", 0)
    claim(range(ranges.REFERENCE_SEEDS, ranges.REFERENCE_SEEDS + EPISODES), "reference", 0)
    for seed in range(chosen.seeds):
        claim(ranges.query_seeds(seed, chosen.episodes), "query", seed)
        claim(ranges.support_seeds(seed, max(chosen.shots)), "learning", seed)
        claim(ranges.support_seeds(seed, ranges.DRAW_SIZE), "learning", seed)  # as far as practice goes


def test_practice_stays_within_its_draw(monkeypatch):
    family, variant = get_variant("access/n8-c1-load0.5")
    practice = MeteredEnvironment(family, variant, draw=999, shots=50)
    played = []
    monkeypatch.setattr(practice._env, "reset", lambda seeds: played.extend(seeds))
    for _ in range(10):
        practice.reset(100)
    with pytest.raises(BudgetError):
        practice.reset(1)
    assert played == ranges.support_seeds(999, ranges.DRAW_SIZE) and max(played) < ranges.QUERY_SEEDS


def test_a_changed_protocol_is_called_custom():
    assert protocol("quick").name == protocol("quick", shots=[0, 5]).name == "quick"
    assert (
        protocol("quick", shots=[0]).name
        == protocol("quick", families=["access"]).name
        == protocol("lite", seeds=2).name
        == "custom"
    )
    assert protocol("lite", families=["power", "offload", "access"]) == protocol("lite")
    two = protocol("lite", families=["power", "access", "power"])
    assert (two.families(), two.name) == (["access", "power"], "custom") and len(two.variants) == 4


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"name": "quik"}, UnknownNameError, "Did you mean 'quick'"),
        ({"shots": [-1]}, InvalidValueError, r"--shots is -1.*\[0, 50\]"),
        ({"seeds": 0}, InvalidValueError, "--seeds is 0"),
        ({"episodes": 0}, InvalidValueError, "--episodes is 0"),
        ({"families": ["power!"]}, UnknownNameError, "unknown family"),
        ({"variants": ["access/none"]}, UnknownNameError, "unknown variant"),
    ],
)
def test_bad_settings_are_named(fields, error, message):
    with pytest.raises(error, match=message):
        protocol(**{"name": "quick", **fields})
