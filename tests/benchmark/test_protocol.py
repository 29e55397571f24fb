"""The protocol's hash covers all that defines a score, and no scenario serves two purposes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from wbench.benchmark import seeds as ranges
from wbench.benchmark.data.manifest import TOLERANCE
from wbench.benchmark.data.schema import TRAIN_FILES
from wbench.benchmark.protocol import references as frames
from wbench.benchmark.protocol import spec as module
from wbench.benchmark.protocol import statistics
from wbench.benchmark.protocol import support as support_manifest
from wbench.benchmark.protocol.references import EPISODES, PATH, references
from wbench.benchmark.protocol.spec import FAMILIES, SIZES, Cell, protocol
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.site import RANGES
from wbench.errors import InvalidValueError, UnknownNameError

TWO = ("access/n8-c3-load0.15-l48", "access/n8-c3-load0.15-l64")
HELD_OUT = RANGES["held-out"]
SMALL = protocol("lite", variants=TWO, sites=HELD_OUT[:3])  # frozen, and of one family: a hash of it takes no time


def test_sizes():
    quick, lite, full = map(protocol, SIZES)
    sizes = [(len(one.variants), len(one.sites), one.shots, one.episodes) for one in (quick, lite, full)]
    everything = sum(len(get_family(name).variants) for name in FAMILIES)
    assert sizes[:2] == [(3, 2, (0, 5), 8), (6, 5, (0, 1, 5, 20), 20)]
    assert sizes[2] == (everything, 10, (0, 1, 2, 5, 10, 20, 50), 32)
    assert len(full.cells()) == everything * 10 * 7 == len(set(full.cells()))
    for one in (quick, lite, full):
        assert one.sites == tuple(HELD_OUT[: len(one.sites)]) and one.support == "site" and not one.referee
    splits = [get_variant(name)[1].split for name in lite.variants]
    assert splits == ["train", "held-out"] * 3


def test_a_cell_says_where_it_is():
    assert str(Cell("access", TWO[0], HELD_OUT[3], 5)) == f"{TWO[0]}, site held-out:3, 5 shots"


CHANGED = (
    {"shots": (0, 1, 5)},
    {"sites": tuple(HELD_OUT[:2])},
    {"sites": tuple(HELD_OUT[1:4])},
    {"sites": tuple(RANGES["dev"][:3])},
    {"episodes": 21},
    {"variants": TWO[:1]},
    {"variants": TWO[::-1]},
    {"support": "wrong"},
    {"support": "shifted"},
)


def test_every_field_changes_the_hash():
    hashes = [SMALL.hash(), *(dataclasses.replace(SMALL, **changed).hash() for changed in CHANGED)]
    order = json.dumps(dataclasses.replace(SMALL, variants=TWO[::-1]).contract(), sort_keys=True)
    assert order == json.dumps(SMALL.contract(), sort_keys=True)  # the order of variants scores nothing
    assert len(set(hashes)) == len(CHANGED) and SMALL.hash() == hashes[0]
    assert dataclasses.replace(SMALL, name="custom", referee=True).hash() == hashes[0]  # a name scores nothing either


def change_variant(name, **fields):
    """What `get_variant` says where one variant, or its family, has other fields."""

    def look_up(asked):
        family, variant = get_variant(asked)
        of_family = {key: value for key, value in fields.items() if key == "version"}
        of_variant = {key: value for key, value in fields.items() if key not in of_family}
        if asked != name:
            return family, variant
        return dataclasses.replace(family, **of_family), dataclasses.replace(variant, **of_variant)

    return look_up


def change_reference(field):
    """The same at the second site only."""

    def look_up(name, site):
        found = references(name, site)
        return dataclasses.replace(found, **{field: getattr(found, field) + 1e-6}) if site == HELD_OUT[1] else found

    return look_up


FIRST = TWO[0]
CHANGES = {
    "version": [(module, "VERSION", "fewshot-v3")],
    "variants": [
        (module, "get_variant", change_variant(FIRST, load=0.51)),
        (module, "get_variant", change_variant(FIRST, horizon=127)),
        (module, "get_variant", change_variant(FIRST, version="3")),
        (module, "references", change_reference("random")),
        (module, "references", change_reference("genie")),
    ],
    "support": [
        (module, "SUPPORT_SEEDS", 1),
        (module, "get_family", lambda name: dataclasses.replace(get_family(name), support=(("random", 0.5),))),
        (module, "digest", lambda name, sites: "0" * 64),
    ],
    "query": [(module, "QUERY_SEEDS", 1)],
    "messages": [(module, "BITS_PER_FLOAT", 16), (module, "MESSAGES", "at once")],
    "metric": [(module, "METRIC", "R")],
    "aggregation": [(module, "AGGREGATION", "mean")]
    + [(statistics, name, 3.5) for name in ("TRIM", "RESAMPLES", "CONFIDENCE", "MIN_SITES", "GAMMA")],
}


@pytest.mark.parametrize(("section", "change"), [(name, change) for name, several in CHANGES.items() for change in several])
def test_every_part_of_the_contract_changes_the_hash(monkeypatch, section, change):
    before, contract = SMALL.hash(), SMALL.contract()
    monkeypatch.setattr(*change)
    assert SMALL.hash() != before and SMALL.contract()[section] != contract[section]


def test_the_contract_has_no_other_parts():
    assert SMALL.contract().keys() == {*CHANGES, "sites", "shots", "episodes"}
    assert json.loads(json.dumps(SMALL.contract())) == SMALL.contract()


@pytest.mark.parametrize("size", SIZES)
def test_references_and_support_of_every_cell_are_frozen(size):
    found = protocol(size)
    assert len(found.sites) <= support_manifest.SITES and max(found.shots) <= support_manifest.EPISODES
    known = json.loads(PATH.read_text(encoding="utf-8"))
    for name in found.variants:
        assert {*map(str, found.sites)} <= {*known[name]}, name
        frame = references(name, found.sites[0])
        least = 12 if size == "full" else EPISODES  # what full alone plays still rests on fewer episodes
        assert frame.episodes >= least and frame.genie - frame.random > 3 * max(frame.errors), name
    digests = [support_manifest.digest(name, found.sites) for name in found.variants]
    assert len(set(digests)) == len(digests) and all(len(digest or "") == 64 for digest in digests)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_frozen_is_what_this_machine_plays(name):
    family = get_family(name)
    variant = next(iter(family.variants.values()))
    frozen, here = support_manifest.frozen(variant.name, HELD_OUT[3]), support_manifest.measure(family, variant, HELD_OUT[3])
    assert frozen.keys() == here.keys()
    for column, numbers in frozen.items():
        assert here[column] == pytest.approx(numbers, abs=TOLERANCE * numbers[0]), column


def test_references_are_frozen_or_measured_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("WBENCH_HOME", str(tmp_path))
    family, variant = get_variant(FIRST)
    frozen = references(FIRST, HELD_OUT[0])
    assert frames.measure(family, variant, HELD_OUT[0]).genie == pytest.approx(frozen.genie, rel=1e-3)
    measured = references(FIRST, RANGES["dev"][0])
    assert measured == frames.measure(family, variant, RANGES["dev"][0]) != frozen
    (kept,) = (tmp_path / "references").glob("*.json")
    assert json.loads(kept.read_text())[FIRST].keys() == {str(RANGES["dev"][0])}
    monkeypatch.setattr(frames, "measure", lambda *_: pytest.fail("what is known is measured again"))
    frames._read.cache_clear()
    assert references(FIRST, RANGES["dev"][0]) == measured and references(FIRST, HELD_OUT[0]) == frozen
    assert str(RANGES["dev"][0]) not in json.loads(frames.PATH.read_text())[FIRST]  # the package stays as it is


def test_other_support_data_is_another_protocol(monkeypatch, tmp_path):
    fewer = dataclasses.replace(SMALL, sites=SMALL.sites[:2])
    before = [SMALL.hash(), fewer.hash()]
    table = {name: {site: support_manifest.frozen(name, site) for site in SMALL.sites} for name in TWO}
    monkeypatch.setattr(support_manifest, "PATH", tmp_path / "support.json")
    for name, prints in table.items():
        support_manifest.freeze(name, prints)
    assert [SMALL.hash(), fewer.hash()] == before
    third = dict(table[FIRST][SMALL.sites[2]])
    third["reward"] = [third["reward"][0], third["reward"][1] + 0.001]
    support_manifest.freeze(FIRST, {**table[FIRST], SMALL.sites[2]: third})
    assert SMALL.hash() != before[0] and fewer.hash() == before[1]  # it has two sites only


def test_other_sites_have_no_frozen_support():
    dev = protocol("quick", variants=[FIRST], sites=RANGES["dev"][:1], shots=[0])
    assert dev.contract()["support"] == SMALL.contract()["support"] | {"manifest": {FIRST: None}}


def test_train_support_query_and_reference_scenarios_are_disjoint():
    """In the largest protocol that can be asked for; practice in the online tracks has the scenarios of the support."""
    uses = {
        "query": ranges.query_seeds(module.MAX_EPISODES),
        "support": ranges.support_seeds(1000),
        "reference": range(ranges.REFERENCE_SEEDS, ranges.REFERENCE_SEEDS + EPISODES),
        "train": [seed for index in range(len(TRAIN_FILES)) for seed in ranges.train_seeds(index, 2000)],
    }
    taken = [seed for seeds in uses.values() for seed in seeds]
    assert len(taken) == len(set(taken)) and module.MAX_SHOTS <= 1000


def test_a_changed_protocol_is_called_custom():
    assert protocol("quick").name == protocol("quick", shots=[0, 5]).name == "quick"
    assert (
        protocol("quick", shots=[0]).name
        == protocol("quick", families=["access"]).name
        == protocol("lite", sites=HELD_OUT[:2]).name
        == protocol("lite", support="wrong").name
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
        ({"sites": []}, InvalidValueError, "--sites is 0, but must be 1 to 1000 sites"),
        ({"sites": range(1001)}, InvalidValueError, "--sites is 1001"),
        ({"sites": [-1]}, InvalidValueError, "site is -1"),
        ({"support": "wrnog"}, UnknownNameError, "Did you mean 'wrong'"),
        ({"episodes": 0}, InvalidValueError, "--episodes is 0"),
        ({"families": ["power!"]}, UnknownNameError, "unknown family"),
        ({"variants": ["access/none"]}, UnknownNameError, "unknown variant"),
    ],
)
def test_bad_settings_are_named(fields, error, message):
    with pytest.raises(error, match=message):
        protocol(**{"name": "quick", **fields})


OWN = """
from dataclasses import replace
from pathlib import Path
from own_family import FAMILY as WHOLE

NAME = "beacon/n4-load0.6"
FAMILY = replace(WHOLE, variants={NAME: WHOLE.variants[NAME]}, references=REFERENCES)
"""


@pytest.mark.parametrize("names_a_file", [True, False])
def test_a_family_of_ones_own_is_frozen_beside_its_file_or_in_the_cache(names_a_file, command, monkeypatch, tmp_path):
    monkeypatch.setenv("WBENCH_FAMILIES", "")
    monkeypatch.setenv("WBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(support_manifest, "SITES", 1)
    monkeypatch.setattr(support_manifest, "EPISODES", 2)
    shutil.copy(Path(__file__).parents[2] / "docs" / "examples" / "own_family.py", tmp_path)
    named = 'Path(__file__).with_name("references.json")' if names_a_file else "None"
    (tmp_path / "own.py").write_text(OWN.replace("REFERENCES", named))
    packaged = [path.read_bytes() for path in (frames.PATH, support_manifest.PATH)]
    assert command("protocol", "freeze", "--family", str(tmp_path / "own.py")).code == 0
    get_family.cache_clear()
    assert [path.read_bytes() for path in (frames.PATH, support_manifest.PATH)] == packaged
    home = tmp_path / "home"
    cached = [home / "references" / "beacon-1.json", home / "support" / "beacon-1.json"]
    beside = [tmp_path / "references.json", tmp_path / "support.json"]
    for path, other in zip(*((beside, cached) if names_a_file else (cached, beside)), strict=True):
        assert not other.exists() and json.loads(path.read_text())["beacon/n4-load0.6"].keys() == {str(HELD_OUT[0])}
