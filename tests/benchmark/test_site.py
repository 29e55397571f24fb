"""Sites: ranges that cannot meet, how they are named, and who may play sealed ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from wbench.benchmark import site as sites
from wbench.benchmark.protocol.spec import Protocol, protocol
from wbench.benchmark.registry import get_family, get_variant, list_families
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES, open_sealed, parse_sites, place, range_of, site_generator, spans, text_of
from wbench.errors import InvalidValueError

SEALED = RANGES["sealed"].start
NAME = "access/n8-c3-load0.15-l48"


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Sealed sites are closed before each test, and closed again after it."""
    monkeypatch.setattr(sites, "_sealed_open", False)


def test_the_ranges_cannot_meet():
    assert list(RANGES) == ["train", "dev", "held-out", "sealed"]
    assert all(a.stop == b.start for a, b in pairwise(RANGES.values()))
    for name, numbers in RANGES.items():
        assert range_of(numbers.start) == range_of(numbers[-1]) == name
    for number in (-1, RANGES["sealed"].stop):
        with pytest.raises(InvalidValueError, match=f"site is {number}, but must be a whole number in"):
            range_of(number)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", [2_000_003]),
        ("0-2", [2_000_000, 2_000_001, 2_000_002]),
        ("held-out:0", [2_000_000]),
        ("dev:1-2", [1_000_001, 1_000_002]),
        ("train:0,train:7, 4", [0, 7, 2_000_004]),
        ("1,0-2", [2_000_001, 2_000_000, 2_000_002]),
        ("999999", [2_999_999]),
    ],
)
def test_a_text_names_sites(text, numbers):
    assert list(parse_sites(text)) == numbers


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "0-", "3-1", "0-1000", "1000000", "test:0", "dev:", "1.5", "0:0", "dev:0-dev:2", "0,,1"]
)
def test_a_text_that_names_none_is_one_line(text):
    with pytest.raises(InvalidValueError, match="--sites is ") as caught:
        parse_sites(text)
    assert "\n" not in str(caught.value)


def test_sites_have_names_that_lead_back_to_them():
    numbers = [2_000_000, 2_000_001, 2_000_003, 1_000_000, 1_000_001, 0]
    assert spans(numbers) == ["held-out:0-1", "held-out:3", "dev:0-1", "train:0"]
    assert [number for text in spans(numbers) for number in parse_sites(text)] == numbers
    assert spans([999_999, 1_000_000]) == ["train:999999", "dev:0"]  # a span never leaves its range
    assert (text_of(2_000_003), place(5)) == ("held-out:3", "site train:5")


@pytest.mark.parametrize("name", list_families())
def test_a_sealed_site_is_refused_wherever_it_is_named(name):
    family = get_family(name)
    variant = next(iter(family.variants.values()))
    refused = (
        lambda: get_family(variant.family).make(variant, "cpu").reset([SEALED], [0]),
        lambda: family.hidden(variant, SEALED),
        lambda: play(family, variant, family.policies["random"](), [0, SEALED], [0, 0]),
        lambda: parse_sites("sealed:0"),
        lambda: protocol("quick", sites=[SEALED]),
        lambda: Protocol("custom", (variant.name,), (SEALED,), (0,), 2),
    )
    for attempt in refused:
        with pytest.raises(InvalidValueError, match="sealed") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_the_referee_plays_sealed_sites():
    family, variant = get_variant(NAME)
    assert parse_sites("sealed:0-1", referee=True) == (SEALED, SEALED + 1)
    chosen = protocol("quick", variants=[NAME], sites=[SEALED], referee=True)
    assert chosen.sites == (SEALED,) and chosen.name == "custom"
    assert play(family, variant, family.policies["random"](), [SEALED], [0]).returns.shape == (1,)


def test_a_protocol_is_played_at_one_range_and_at_each_site_once():
    for chosen, said in (((0, 2_000_000), "of one range"), ((), "1 to 1000 sites"), ((5, 5), "each site once")):
        with pytest.raises(InvalidValueError, match=said):
            Protocol("custom", (NAME,), chosen, (0,), 2)


def test_a_site_is_drawn_from_variant_and_number_alone():
    draws = {(name, number): site_generator(name, number).random(4).tolist() for name in ("a/x", "a/y") for number in (0, 1)}
    assert len({tuple(drawn) for drawn in draws.values()}) == 4
    assert (
        site_generator("a/x", 1).random(4).tolist() == draws["a/x", 1] == site_generator("a/x", np.int64(1)).random(4).tolist()
    )
    with pytest.raises(InvalidValueError, match="sealed sites are the referee's"):
        site_generator("a/x", SEALED)
    open_sealed()
    assert site_generator("a/x", SEALED).random() not in draws["a/x", 0]
