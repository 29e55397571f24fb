"""What a `config.json` may say."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import pytest
from wbench.benchmark.checkpoint import CheckpointConfig
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError


@dataclass(frozen=True)
class Config(CheckpointConfig):
    """With tuples at several depths, which JSON does not have."""

    OWNER: ClassVar[str] = "Tester"

    values: dict[str, tuple[float, float]]
    sampled: tuple[str, ...] = ()
    temperatures: dict[str, float] = field(default_factory=dict)


CONFIG = Config({name: FamilyShape.of(get_family(name)) for name in ("access", "offload")}, {"access": (0.0, 2.0)}, ("access",))


def test_a_config_survives_json():
    assert Config.from_dict(json.loads(json.dumps(asdict(CONFIG)))) == CONFIG == Config.from_dict(asdict(CONFIG))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "not Tester's: unknown fields depth; allowed families, sampled, temperatures, values"),
        ({"values": None}, "not Tester's: no values"),
        ({"families": {"access": {"obs_size": 3}}}, "not Tester's: bad family shape"),
        ({"families": [1]}, "not Tester's: bad family shape"),
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
