"""Malformed submissions: a well-formed one, spoilt in every way that a stranger may think of."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from functools import cache
from typing import Any

from wbench.benchmark.protocol.spec import hash_of, protocol

from . import samples

HUGE = 10**400
NAMES = (
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "C:\\x",
    "a/b/c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "name\u202ereversed",
    "nul\x00",
    "new\nline",
    "",
    " ",
    "-rf",
    "x" * 10_000,
    "\ud800",
    "$(reboot)",
)


@cache
def base() -> str:
    """The text of a small well-formed result with a rival."""
    played = protocol("quick", variants=samples.VARIANTS, shots=[0, 1], sites=[samples.HELD_OUT], episodes=2)
    runs = samples.run("made-up", 0.5, played), samples.run("other", 0.4, played)
    return json.dumps(samples.composed(played, *runs).document())


def corpus() -> Iterator[tuple[str, bytes]]:
    """(what is wrong, bytes of the file)."""
    yield from ((f"bytes: {what}", content) for what, content in _bytes())
    yield from ((f"name: {what}", _text(data)) for what, data in _names())
    yield from ((f"type: {what}", _text(data)) for what, data in _types())
    yield from ((f"parts: {what}", _text(data)) for what, data in _parts())


def _text(data: Any) -> bytes:
    return json.dumps(data).encode()


def _bytes() -> Iterator[tuple[str, bytes]]:
    whole = base().encode()
    yield from ((f"cut at {i}/20", whole[: len(whole) * i // 20]) for i in range(20))
    yield from ((what, content) for what, content in {
        "a list": b"[" + whole + b"]",
        "a number": b"7",
        "null": b"null",
        "a text": b'"wbench-result/4"',
        "text behind it": whole + b"x",
        "twice": whole + whole,
        "a comment": b"// result\n" + whole,
        "single quotes": whole.replace(b'"', b"'"),
        "UTF-16 cut": base().encode("utf-16")[:-1],
        "Latin-1": base().replace("Some CPU", "CPU \xe9").encode("latin-1"),
        "binary": bytes(range(256)) * 40,
        "zeros": bytes(4096),
        "a pickle": pickle.dumps({"schema": "wbench-result/4"}),
        "repeated key": whole.replace(b'"agent": ', b'"agent": "networld", "agent": ', 1),
        "repeated key inside": whole.replace(b'"site": 2000000', b'"site": 2000001, "site": 2000000', 1),
        "repeated escaped key": whole.replace(b'"agent": ', b'"\\u0061gent": "networld", "agent": ', 1),
        "trailing comma": whole[:-1] + b",}",
    }.items())  # fmt: skip
    for number in (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"1" * 5000,
        b"1" * 400,
        b"1e30",
        b"0x10",
        b"01",
        b"1_000",
    ):
        yield f"score {number[:12]!r}", whole.replace(b'"score": ', b'"score": ' + number + b', "old": ', 1)
        yield f"a return {number[:12]!r}", whole.replace(b'"returns": [', b'"returns": [' + number + b", ", 1)
    for depth in (17, 100, 1000, 100_000):
        yield f"list {depth} deep", whole.replace(b'"complete": true', b'"complete": ' + b"[" * depth + b"]" * depth, 1)
        yield (
            f"object {depth} deep",
            whole.replace(b'"command": ', b'"command": ' + b'{"a":' * depth + b"1" + b"}" * depth + b', "old": ', 1),
        )


def _names() -> Iterator[tuple[str, dict]]:
    for name in NAMES:
        for where in (
            ("agent",),
            ("label",),
            ("track",),
            ("protocol",),
            ("package", "name"),
            ("cells", 0, "family"),
            ("cells", 0, "variant"),
        ):
            yield f"{'.'.join(map(str, where))} {name[:20]!r}", _with(where, name)
    for name in NAMES[:12]:
        yield f"qos {name[:20]!r}", _renamed(("cells", 0, "qos"), "goodput", name)
        yield f"variant of the contract {name[:20]!r}", _rehashed(_renamed(("contract", "variants"), samples.VARIANTS[0], name))
        yield f"package {name[:20]!r}", _renamed(("versions",), "torch", name)
        yield f"summary of family {name[:20]!r}", _renamed(("summary", "0", "families"), "access", name)
    for text in ("\x1b[31m", "a\nb", "a\x00", "\u202e", "x" * 5000, "\ud800", "caf\xe9"):
        for where in (("command",), ("hardware", "cpu"), ("versions", "torch")):
            yield f"{where[-1]} {text[:9]!r}", _with(where, text)


def _types() -> Iterator[tuple[str, dict]]:
    wrong: dict[tuple[Any, ...], tuple[Any, ...]] = {
        ("schema",): (None, 2, "wbench-result/3", "wbench-result/0", "wbench-result/4 ", ["wbench-result/4"], {}),
        ("protocol_hash",): (None, 0, "", "0" * 64, "A" * 64, "g" * 64, ["0"]),
        ("checkpoint",): (None, 1, "abc", "../x", "A" * 64),
        ("parameters",): (None, -1, 1.5, "12", True, [], 2**60, HUGE),
        ("message_floats",): (None, 2, [2], {"access": -1, "offload": 2}, {"access": 2.0, "offload": 2}, {"access": 2}, {}),
        ("privileged",): (None, 0, "false", []),
        ("complete",): (None, 1, "true", False),
        ("source_steps",): (None, -5, "0", 0.5),
        ("latency",): (-0.1, "fast", [], HUGE),
        ("cells",): (None, {}, "cells", [[]], [None], 3),
        ("gain",): (None, [], {}, {"0": None, "1": None}, {"1": None}, {"1": 3.0}),
        ("summary",): (None, [], {}, {"0": None, "1": None}, {"zero": None}),
        ("ledger",): (None, [], 3, {"query_steps": -1}, {"bribes": 1}),
        ("contract",): (None, [], {}, "contract"),
        ("comparison",): (None, {}, [{}], [None]),
        ("releases",): (None, {}, [{}], "standard"),
        ("versions",): (None, [], {"torch": 2}),
        ("hardware",): (None, [], {}, "fast", {"cpu": "x", "cores": -1, "threads": 1, "device": "cpu"}),
        ("origin",): (None, {}, {"kind": "no", "name": "", "revision": ""}, {"kind": "hub", "name": "../x", "revision": ""}),
        ("origin", "kind"): ("none", "hub", "packaged", "unknown"),
        ("origin", "revision"): ("main", "0" * 40, None),
        ("package",): (None, "wbench", {"name": "wbench"}),
        ("cells", 0, "shots"): (None, -1, 3, "0", 0.0, True),
        ("cells", 0, "site"): (None, -1, 0, 2_000_001, 4_000_000, "2000000"),
        ("cells", 0, "returns"): (None, [], [1.0], [1.0, 2.0, 3.0], {}, ["1", "2"], [None, 1.0], [[1.0], [2.0]], [1e13, 1.0]),
        ("cells", 0, "return_mean"): (None, "1", [1]),
        ("cells", 0, "score"): (None, "1", 1e13, {}),
        ("cells", 0, "qos"): (None, [], {"goodput": [1.0]}, {"goodput": 1.0}, {"goodput": [None, 1.0]}),
        ("cells", 0, "adaptation"): (None, [], {"note": [1]}, {"note": {"a": 1}}, {"a\x1bb": 1}, {"note": "\x07"}),
        ("cells", 0, "failure"): (None, "it failed", 1, "\x1b[2J"),
        ("cells", 0, "ledger"): (None, {"message_bits": 1.5}, {"seconds": -1.0}, {"seconds": "1"}, {"query_steps": 2**54}),
        ("contract", "shots"): ([], [1, 0], [0, 0, 1], [-1, 1], ["0", "1"], 3, [0, 1.5]),
        ("contract", "sites"): (1, [], [-1], [2_000_001], [2_000_000] * 2, [4_000_000], ["2000000"], None, [2e6], [HUGE]),
        ("contract", "episodes"): (0, 3, 1001, None),
        ("contract", "variants", samples.VARIANTS[0], "genie"): (None, 1.0, [], ["1"], [-1e9], [HUGE], [9.0, 9.0]),
        ("contract", "variants", samples.VARIANTS[0], "spec"): (None, [], {}, {"agents": 0, "horizon": 1}),
        ("contract", "version"): ("\x1b[31m", "a\nb"),
        ("settings",): (None, "f" * 63, "F" * 64),
    }  # fmt: skip
    for where, values in wrong.items():
        for value in values:
            data = _with(where, value)
            yield f"{'.'.join(map(str, where))} = {value!r:.40}", _rehashed(data) if where[0] == "contract" else data


def _parts() -> Iterator[tuple[str, dict]]:
    data = json.loads(base())
    for name in data.keys() - {"recipe"}:  # which files of an earlier wbench lack
        yield f"without {name}", {key: value for key, value in data.items() if key != name}
    for name in data["cells"][0]:
        yield f"a cell without {name}", _with(("cells", 0), {k: v for k, v in data["cells"][0].items() if k != name})
    for where in (
        (),
        ("cells", 0),
        ("cells", 0, "ledger"),
        ("ledger",),
        ("summary", "0"),
        ("origin",),
        ("hardware",),
        ("comparison", 0),
    ):
        yield f"unknown field in {where}", _with((*where, "extra"), 1)
    cells = data["cells"]
    yield "a cell missing", _with(("cells",), cells[1:])
    yield "no cells", _with(("cells",), [])
    yield "a cell twice", _with(("cells",), [*cells, cells[0]])
    yield "a cell of another variant", _with(("cells", 0, "variant"), "access/n8-c3-load0.15-l64")
    yield "a cell of another family", _with(("cells", 0, "family"), "power")
    yield "no qos in one cell", _with(("cells", 0, "qos"), {})
    yield "no qos at all", _with(("cells",), [{**cell, "qos": {}} for cell in cells])
    yield "the rival's difference missing", _with(("comparison", 0, "difference"), {})
    yield "100,001 cells", _with(("cells",), cells[:1] * 100_001)
    yield (
        "a million cells wanted",
        _rehashed(_with(("contract", "sites"), list(range(1000)), _with(("contract", "shots"), list(range(100))))),
    )
    deep: list = []
    for _ in range(40):
        deep = [deep]
    for value in (float("nan"), float("inf"), deep, "\x1b[31m", {"\n": 1}):  # the contract is open to further fields
        yield f"the contract's {value!r:.20}", _rehashed(_with(("contract", "more"), value))
    yield "headline raised", _with(("summary", "0", "iqm"), 99.0)
    yield "gain raised", _with(("gain", "1", "iqm"), 99.0)
    yield "summary missing", _with(("summary", "0"), None)
    yield "bits forged", _with(("cells", 0, "ledger", "message_bits"), 0)
    yield "references of one's own", _rehashed(_with(("contract", "variants", samples.VARIANTS[0], "genie"), [1e6]))
    yield "sealed sites", _rehashed(_moved(json.loads(base()), 3_000_000))
    yield "a protocol's name on other contents", _with(("protocol",), "lite")


def _with(where: tuple[Any, ...], value: Any, data: dict | None = None) -> dict:
    data = json.loads(base()) if data is None else data
    inside: Any = data
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    return data


def _renamed(where: tuple[Any, ...], old: str, new: str) -> dict:
    data = json.loads(base())
    inside: Any = data
    for key in where:
        inside = inside[key]
    inside[new] = inside.pop(old)
    return data


def _moved(data: dict, site: int) -> dict:
    """The same cells, at another site."""
    data["contract"]["sites"] = [site]
    for row in (data, *data["comparison"]):
        for cell in row["cells"]:
            cell["site"] = site
    return data


def _rehashed(data: dict) -> dict:
    """The hash adjusted, so that it is not what gives the file away."""
    data["protocol_hash"] = hash_of(data["contract"])
    return data
