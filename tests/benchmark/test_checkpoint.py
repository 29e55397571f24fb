"""What a `config.json` may say."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import pytest
from wbench.benchmark.data.paths import write_text
from wbench.benchmark.family import FamilyShape, Quality
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError
from wbench.learning.checkpoint import CheckpointConfig


@dataclass(frozen=True)
class Config(CheckpointConfig):
    """With tuples at several depths, which JSON does not have."""

    OWNER: ClassVar[str] = "Tester"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("values",)

    values: dict[str, tuple[float, float]]
    depth: int = 1
    aim: Quality = "expert"
    sampled: tuple[str, ...] = ()
    temperatures: dict[str, float] = field(default_factory=dict)


SHAPES = {name: FamilyShape.of(get_family(name)) for name in ("access", "offload")}
CONFIG = Config(SHAPES, {"access": (0.0, 2.0), "offload": (-1.0, 0.0)}, sampled=("access",))


def test_a_config_survives_json():
    assert Config.from_dict(json.loads(json.dumps(asdict(CONFIG)))) == CONFIG == Config.from_dict(asdict(CONFIG))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 3}, "not Tester's: unknown fields width; allowed aim, depth, families, sampled, temperatures, values"),
        ({"values": None}, "not Tester's: no values"),
        ({"families": {"access": {"obs_size": 3}}}, r"families.access.descriptor_size is {'obs_size': 3}; Field required"),
        ({"families": [1]}, r"not Tester's: families is \[1\]; Input should be a valid dictionary"),
        ({"depth": "3x"}, "not Tester's: depth is '3x'; Input should be a valid integer"),
        ({"aim": "exprt"}, "not Tester's: aim is 'exprt'; Input should be 'random', 'medium', 'expert' or 'mixed'"),
        ({"values": {"access": (0.0, 2.0)}}, "not Tester's: values says nothing of offload"),
    ],
)
def test_a_config_of_something_else_is_refused(change, message):
    data = {name: value for name, value in {**asdict(CONFIG), **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        Config.from_dict(data)


def test_an_unknown_family_is_named_with_the_known_ones():
    CONFIG.require("access")
    with pytest.raises(CheckpointError, match=r"Tester was not trained on family .power., only on access, offload\. Try me"):
        CONFIG.require("power", hint=" Try me.")


def test_a_network_of_an_older_family_is_refused_in_one_line():
    family = get_family("access")
    CONFIG.require_shape(family)
    older = replace(CONFIG, families={**SHAPES, "access": replace(SHAPES["access"], obs_size=61)})
    with pytest.raises(CheckpointError, match=r"of an older access, not of version 2 of access\. Train it again"):
        older.require_shape(family)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_have_the_permissions_of_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "new.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == mode
