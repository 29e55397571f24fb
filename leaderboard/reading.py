"""Reads a result file that a stranger wrote: strictly, within bounds, and without running anything.

A file is checked in three steps: as JSON, field by field, and in what its fields must say about each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import read_bytes
from ..benchmark.protocol.fields import short
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.spec import Contract, hash_of
from ..benchmark.protocol.strict import loads
from ..errors import ResultError
from .pieces import piecewise, printable
from .result import VERSION, Result
from .schema import MOST_CELLS, AgentRecord, Row
from .summary import Grid

LARGEST = 32 << 20  # bytes of a file
SMALL = 4 << 20  # of one of these protocols
_SMALL = ("quick", "lite")


def load_result(path: Path | str) -> Result:
    """The result in a file.

    Raises:
        ResultError: it cannot be read, is too large, malformed, or its parts do not belong together.
    """
    path = Path(path).expanduser()
    content = read_file(path)
    try:
        return parse(content)
    except ResultError as error:
        raise ResultError(f"{printable(path.name)}: {error}") from error


def read_file(path: Path) -> bytes:
    """The bytes of a regular file of no more than `LARGEST`; a pipe or a device is not waited for."""
    try:
        return read_bytes(path, LARGEST)
    except (OSError, ValueError) as error:
        told = f"{printable(str(path))} ({error.strerror if isinstance(error, OSError) else error})"
        raise ResultError(f"cannot read {told}. Give a result file of: wbench eval --out FILE") from error


def parse(content: bytes) -> Result:
    """The result in the bytes of a file; raises `ResultError` at the first thing that is wrong."""
    data = _object(content)
    schema = data.get("schema")
    if schema != VERSION:
        again = "Play it anew: wbench eval --agent NAME --out result.json"
        raise ResultError(f"not a result: schema is {short(schema)}, but must be {VERSION}. {again}")
    if len(content) > SMALL and data.get("protocol") in _SMALL:
        raise ResultError(f"not a result: {len(content) >> 20} MB; a result of {data['protocol']} has {SMALL >> 20} at most.")
    result = piecewise(data)
    _check(result)
    return result


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object in a file; 1e999 is for `piecewise` to find."""
    try:
        data = loads(content)
    except ValueError as error:
        raise ResultError(f"not a result: {printable(str(error))}.") from error
    if not isinstance(data, dict):
        raise ResultError(f"not a result: {type(data).__name__} at its top, where an object is wanted.")
    return data


# What the fields of a result must say about each other. It needs the file alone: no family, no package, nothing to run.

Checks = Iterator[tuple[bool, str]]


def _check(result: Result) -> None:
    """Raise `ResultError` at the first thing that does not fit."""
    contract = result.contract
    if hash_of(contract) != result.protocol_hash:
        raise ResultError(f"protocol_hash {result.protocol_hash[:12]}... is not the SHA-256 of the contract in the file.")
    _require_all(_about_contract(contract))
    for place, row in {"": result, **{f"comparison[{i}].": rival for i, rival in enumerate(result.comparison)}}.items():
        for checks in (_about_agent(row), _about_cells(contract, row), _about_summary(contract, row)):
            _require_all(checks, place)
    wanted = list(map(str, contract["shots"]))
    for i, rival in enumerate(result.comparison):
        _require_all([(list(rival.difference) == wanted, "difference has other shots than the contract")], f"comparison[{i}].")


def _require_all(checks: Iterable[tuple[bool, str]], place: str = "") -> None:
    for holds, complaint in checks:
        if not holds:
            raise ResultError(f"{place}{complaint}.")


def _about_contract(contract: Contract) -> Checks:
    yield all(text.isprintable() for text in _texts(contract)), "contract holds unprintable text"
    yield sorted(set(contract["shots"])) == contract["shots"], "contract.shots do not increase"
    yield len(set(contract["sites"])) == len(contract["sites"]), "contract.sites repeat a site"
    cells = Grid.of(contract).cells
    yield cells <= MOST_CELLS, f"contract asks for {cells} cells; {MOST_CELLS} are the most"
    for name, variant in contract["variants"].items():
        yield "/" in name, f"contract.variants: {name!r} is not of the form family/label"
        for size in ("agents", "horizon"):
            value = variant["spec"].get(size)
            fine = type(value) is int and 1 <= value <= 1_000_000
            yield fine, f"contract.variants.{name}.spec.{size} is {value!r:.40}, but must be a whole number from 1 on"
        framed = len(variant["random"]) == len(variant["genie"]) == len(contract["sites"])
        yield framed, f"contract.variants.{name}: random and genie must have a return for each site"
        above = all(genie > random for genie, random in zip(variant["genie"], variant["random"], strict=framed))
        yield above, f"contract.variants.{name}: genie is not above random at every site"


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        yield from data
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)


def _about_agent(record: AgentRecord) -> Checks:
    labels = (record.agent, f"{record.agent}/{record.track}")
    yield record.label in labels, f"label is {record.label!r}, but must be {labels[0]!r} or {labels[1]!r}"
    kind, name = record.origin.kind, record.origin.name
    yield (kind == "none") == (not record.checkpoint), f"origin is {kind!r}, which contradicts checkpoint"
    yield bool(name) == (kind in ("packaged", "hub")), f"origin of kind {kind!r} has the name {name!r}"
    yield kind != "packaged" or "/" not in name, f"origin of kind {kind!r} has the name {name!r}"
    yield kind == "hub" or not record.origin.revision, f"origin of kind {kind!r} has a revision"


def _about_cells(contract: Contract, row: Row) -> Checks:
    seen: set[tuple[str, int, int]] = set()
    sites, numbers = set(contract["sites"]), set(contract["shots"])
    qos: dict[str, set[str]] = {}
    for i, cell in enumerate(row.cells):
        key, where = (cell.variant, cell.site, cell.shots), f"cells[{i}]"
        known = cell.variant in contract["variants"] and cell.site in sites and cell.shots in numbers
        yield known, f"{where} ({cell.cell}) is not of the contract"
        yield key not in seen, f"{where} repeats {cell.cell}"
        yield cell.variant.startswith(f"{cell.family}/"), f"{where}: {cell.variant} is not of family {cell.family}"
        seen.add(key)
        yield from _about_episodes(cell, contract["episodes"], where)
        if not cell.failure:
            yield bool(cell.qos), f"{where}.qos is empty, but every played episode has a quality of service"
            names = qos.setdefault(cell.family, set(cell.qos))
            yield set(cell.qos) == names, f"{where}.qos has other names than the first cell of {cell.family}"
    wanted = Grid.of(contract).cells
    whole = len(seen) == wanted and not any(cell.failure for cell in row.cells)
    yield row.complete == whole, f"complete is {row.complete}, with {len(seen)} of {wanted} cells"
    played = {cell.family for cell in row.cells if cell.ledger.query_steps}
    yield set(row.message_floats) == played, "message_floats has other families than cells"


def _about_episodes(cell: CellResult, episodes: int, where: str) -> Checks:
    wanted = 0 if cell.failure else episodes
    yield len(cell.returns) == wanted, f"{where} has {len(cell.returns)} returns, but must have {wanted}"
    for name, values in cell.qos.items():
        yield len(values) == wanted, f"{where}.qos.{name} has {len(values)} values, but must have {wanted}"
    for name in ("return_mean", "score"):
        yield (getattr(cell, name) is None) == bool(cell.failure), f"{where}.{name} contradicts failure"


def _about_summary(contract: Contract, row: Row) -> Checks:
    grid = Grid.of(contract)
    yield list(row.summary) == list(map(str, grid.shots)), "summary has other shots than the contract"
    for shots in grid.shots:
        count = sum(cell.shots == shots and not cell.failure for cell in row.cells)
        summary, whole = row.summary[str(shots)], count == len(grid.variants) * len(grid.sites)
        yield (
            (summary is not None) == whole,
            f"summary.{shots} must be there if, and only if, no cell at {shots} shots is missing",
        )
        if summary is not None:
            yield list(summary.variants) == list(grid.variants), f"summary.{shots}.variants are not those of the contract"
            yield list(summary.families) == grid.families(), f"summary.{shots}.families are not those of the contract"
    yield list(row.gain) == [str(k) for k in grid.shots if k], "gain has other shots than the contract"
    for k, gain in row.gain.items():
        whole = row.summary[k] is not None and row.summary.get("0") is not None
        yield (gain is not None) == whole, f"gain.{k} must be there if, and only if, no cell at 0 or {k} shots is missing"
