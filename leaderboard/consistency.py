"""What the fields of a result must say about each other. Needs the file alone: no family, no package, nothing to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ResultError
from .schema import CellRecord, Contract, Player, Result, Row

MOST_CELLS = 100_000


def check(result: Result, contract: Mapping[str, Any]) -> None:
    """Raise `ResultError` at the first thing that does not fit.

    Args:
        result: the result.
        contract: its contract as it stands in the file, every field of it: that is what is hashed.
    """
    if hash_of(contract) != result.protocol_hash:
        raise ResultError(f"protocol_hash {result.protocol_hash[:12]}... is not the SHA-256 of the contract in the file.")
    _require_all(_about_contract(result.contract, contract))
    for place, row in {"": result, **{f"comparison[{i}].": rival for i, rival in enumerate(result.comparison)}}.items():
        _require_all(_about_player(row), place)
        _require_all(_about_cells(result.contract, row), place)
        _require_all(_about_summary(result.contract, row), place)
    wanted = list(map(str, result.contract.shots))
    for i, rival in enumerate(result.comparison):
        _require_all([(list(rival.difference) == wanted, "difference has other shots than the contract")], f"comparison[{i}].")


def hash_of(contract: Mapping[str, Any]) -> str:
    """The hash of a contract, as `Protocol.hash` makes it."""
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


Checks = Iterator[tuple[bool, str]]


def _require_all(checks: Any, place: str = "") -> None:
    for holds, complaint in checks:
        if not holds:
            raise ResultError(f"{place}{complaint}.")


def _about_contract(contract: Contract, whole: Mapping[str, Any]) -> Checks:
    yield all(text.isprintable() for text in _texts(whole)), "contract holds unprintable text"
    yield sorted(set(contract.shots)) == list(contract.shots), "contract.shots do not increase"
    cells = len(contract.variants) * len(contract.shots) * contract.seeds
    yield cells <= MOST_CELLS, f"contract asks for {cells} cells; {MOST_CELLS} are the most"
    for name, variant in contract.variants.items():
        yield "/" in name, f"contract.variants: {name!r} is not of the form family/label"
        for size in ("agents", "horizon"):
            value = variant.spec.get(size)
            fine = type(value) is int and 1 <= value <= 1_000_000
            yield fine, f"contract.variants.{name}.spec.{size} is {value!r:.40}, but must be a whole number from 1 on"
        yield variant.reference > variant.random, f"contract.variants.{name}: reference is not above random"


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


def _about_player(player: Player) -> Checks:
    labels = (player.agent, f"{player.agent}/{player.track}")
    yield player.label in labels, f"label is {player.label!r}, but must be {labels[0]!r} or {labels[1]!r}"
    kind, name = player.origin.kind, player.origin.name
    yield kind == "unknown" or (kind == "none") == (not player.checkpoint), f"origin is {kind!r}, which contradicts checkpoint"
    yield bool(name) == (kind in ("packaged", "hub")), f"origin of kind {kind!r} has the name {name!r}"
    yield kind != "packaged" or "/" not in name, f"origin of kind {kind!r} has the name {name!r}"
    yield kind == "hub" or not player.origin.revision, f"origin of kind {kind!r} has a revision"


def _about_cells(contract: Contract, row: Row) -> Checks:
    seen: set[tuple[str, int, int]] = set()
    qos: dict[str, set[str]] = {}
    for i, cell in enumerate(row.cells):
        key, where = (cell.variant, cell.shots, cell.seed), f"cells[{i}]"
        known = cell.variant in contract.variants and cell.shots in contract.shots and cell.seed < contract.seeds
        yield known, f"{where} ({cell.variant}, {cell.shots} shots, seed {cell.seed}) is not of the contract"
        yield key not in seen, f"{where} repeats {cell.variant}, {cell.shots} shots, seed {cell.seed}"
        yield cell.variant.startswith(f"{cell.family}/"), f"{where}: {cell.variant} is not of family {cell.family}"
        seen.add(key)
        yield from _about_episodes(cell, contract.episodes, where)
        if not cell.failure:
            yield bool(cell.qos), f"{where}.qos is empty, but every played episode has a quality of service"
            names = qos.setdefault(cell.family, set(cell.qos))
            yield set(cell.qos) == names, f"{where}.qos has other names than the first cell of {cell.family}"
    wanted = len(contract.variants) * len(contract.shots) * contract.seeds
    whole = len(seen) == wanted and not any(cell.failure for cell in row.cells)
    yield row.complete == whole, f"complete is {row.complete}, with {len(seen)} of {wanted} cells"
    played = {cell.family for cell in row.cells if cell.ledger.query_steps}
    yield set(row.message_floats) == played, "message_floats has other families than cells"


def _about_episodes(cell: CellRecord, episodes: int, where: str) -> Checks:
    wanted = 0 if cell.failure else episodes
    yield len(cell.returns) == wanted, f"{where} has {len(cell.returns)} returns, but must have {wanted}"
    for name, values in cell.qos.items():
        yield len(values) == wanted, f"{where}.qos.{name} has {len(values)} values, but must have {wanted}"
    for name in ("return_mean", "score"):
        yield (getattr(cell, name) is None) == bool(cell.failure), f"{where}.{name} contradicts failure"


def _about_summary(contract: Contract, row: Row) -> Checks:
    yield list(row.summary) == list(map(str, contract.shots)), "summary has other shots than the contract"
    played = {shots: sum(cell.shots == shots and not cell.failure for cell in row.cells) for shots in contract.shots}
    for shots, count in played.items():
        summary, whole = row.summary[str(shots)], count == len(contract.variants) * contract.seeds
        yield (
            (summary is not None) == whole,
            f"summary.{shots} must be there if, and only if, no cell at {shots} shots is missing",
        )
        if summary is not None:
            yield list(summary.variants) == list(contract.variants), f"summary.{shots}.variants are not those of the contract"
            families = list(dict.fromkeys(name.partition("/")[0] for name in contract.variants))
            yield list(summary.families) == families, f"summary.{shots}.families are not those of the contract"
