"""The tier *arithmetic*: what follows from the episodes does; protocol, agents, names and bounds are those of this package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ...benchmark.protocol import references
from ...benchmark.protocol.runner import CellResult
from ...benchmark.protocol.spec import SIZES, Contract, Protocol, hash_of
from ...benchmark.protocol.spec import protocol as get_protocol
from ...benchmark.rollout import BITS_PER_FLOAT
from ...benchmark.site import place, range_of
from ...errors import WbenchError
from ..provenance import command
from ..result import Result
from ..schema import Row
from ..summary import Grid, agents_of, differences, row_fields, score_of, scores_of
from .own import about_bounds, about_names, about_own
from .unlike import unlike

_PLAY_THEM = "To play them: wbench eval --agent random at these sites"


def complaints(result: Result, sound: set[tuple[str, str]] | None = None) -> Iterator[str]:
    """Whatever does not follow, one line each, what is cheap to find out first.

    Args:
        result: as it was parsed, so that its hash is that of its contract.
        sound: (protocol, hash) of contracts that nothing is said of, which are not looked at again; more are added. None = each
            is looked at.
    """
    contract, which = result.contract, (result.protocol, result.protocol_hash)
    wrong = list(about_protocol(result)) if which not in (sound or ()) else []
    if wrong:  # then nothing is known of what was played
        yield from wrong
        return
    if sound is not None:
        sound.add(which)
    yield from _about_command(result)
    for where, row in _rows(result):
        yield from (where + line for line in (*about_names(row), *about_own(row)))
    for where, row in _rows(result):
        yield from (where + line for line in _about_row(contract, row))
    grid, ours = Grid.of(contract), scores_of(contract, result.cells)
    for i, rival in enumerate(result.comparison):
        found = differences(grid, ours, scores_of(contract, rival.cells))
        yield from unlike(_plain(rival.difference), _plain(found), f"comparison[{i}].difference.")


def _rows(result: Result) -> Iterator[tuple[str, Row]]:
    yield "", result
    yield from ((f"comparison[{i}].", rival) for i, rival in enumerate(result.comparison))


def _about_command(result: Result) -> Iterator[str]:
    """The page offers it to be copied into a shell: it may be nothing but the call that this content implies."""
    wanted = command(result, played(result), result.hardware.device)
    if result.command != wanted:
        yield f"command is {result.command!r:.80}, but {wanted!r} follows from what was played"


def played(result: Result) -> Protocol:
    """What a result says that it played."""
    own = result.contract
    kind = own.get("support", {}).get("kind", "site")
    return Protocol(result.protocol, tuple(own["variants"]), tuple(own["sites"]), tuple(own["shots"]), own["episodes"], kind)


def about_protocol(result: Result) -> Iterator[str]:
    """Which parts of the contract are not those of this package's protocol of the same name."""
    own = result.contract
    if any(range_of(site) == "sealed" for site in own["sites"]):
        yield "contract.sites are sealed: they are the referee's, and what is played there is never submitted"
        return
    try:
        known = played(result)
        sizes = {name: get_protocol(name) for name in SIZES}
        if result.protocol in sizes:
            other = list(unlike(_layout(known), _layout(sizes[result.protocol]), "contract.", exact=True))
            if other:  # another protocol, whatever its references are
                yield from other
                return
        elif size := next((name for name, one in sizes.items() if _layout(one) == _layout(known)), None):
            yield f"protocol is {result.protocol!r}, but {size!r} follows from what it plays"
        for name, site in ((name, site) for name in known.variants for site in known.sites):
            if not references.known(name, site):  # a check plays nothing
                yield f"contract: the references of {name} at {place(site)} are not known here. {_PLAY_THEM}"
                return
        ours = json.loads(json.dumps(known.contract()))
    except WbenchError as error:
        yield f"contract: this wbench cannot play it: {error}"
        return
    if hash_of(ours) != result.protocol_hash:
        found = list(unlike(own, ours, "contract.", exact=True))
        yield from found or ["contract differs from this wbench's in the type of a number"]


def _layout(played: Protocol) -> dict[str, Any]:
    """What a protocol plays, without what it costs to know: its references."""
    names = ("sites", "shots", "episodes", "support")
    return {"variants": sorted(played.variants), **{name: getattr(played, name) for name in names}}


def _about_row(contract: Contract, row: Row) -> Iterator[str]:
    for i, cell in enumerate(row.cells):
        yield from (f"cells[{i}].{line}" for line in (*_about_cell(contract, row, cell), *about_bounds(cell)))
    again = replace(row, **row_fields(contract, row.cells))
    yield from unlike(asdict(row.ledger), asdict(again.ledger), "ledger.", absolute=1e-3)
    yield from unlike({"latency": row.latency}, {"latency": row.ledger.latency}, "", absolute=1e-8)
    yield from unlike(_plain(row.summary), _plain(again.summary), "summary.")
    yield from unlike(_plain(row.gain), _plain(again.gain), "gain.")


def _about_cell(contract: Contract, row: Row, cell: CellResult) -> Iterator[str]:
    if not cell.failure:
        mean = sum(cell.returns) / len(cell.returns)
        for name, value in (("return_mean", mean), ("score", score_of(contract, cell))):
            yield from unlike({name: getattr(cell, name)}, {name: value}, "")
    agents, horizon = agents_of(contract, cell.variant), int(contract["variants"][cell.variant]["spec"]["horizon"] or 0)
    logged = cell.shots * horizon * agents
    played = row.track == "scratch" or (row.track == "online" and cell.ledger.support_transitions == 0)  # the one or the other
    budget = cell.shots * horizon if played else 0
    steps = 0 if cell.failure else contract["episodes"] * horizon
    counted = {
        "query_steps": steps,
        "support_transitions": 0 if played else logged,
        "message_bits": BITS_PER_FLOAT * row.message_floats.get(cell.family, 0) * agents * steps,
    }
    yield from unlike({name: getattr(cell.ledger, name) for name in counted}, counted, "ledger.")
    if cell.ledger.environment_steps > budget:
        yield f"ledger.environment_steps is {cell.ledger.environment_steps}, above the budget of {budget}"


def _plain(by_shots: Mapping[str, Any]) -> dict[str, Any]:
    return {shots: found and asdict(found) for shots, found in by_shots.items()}
