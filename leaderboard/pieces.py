"""Makes a result out of plain data that a stranger wrote, piece by piece: bounds first, and no further than the first error.

A validator that is handed a whole file collects every error in it. So containers are counted before anything is checked, see
`benchmark.protocol.strict`, and each cell, variant and summary is checked alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from ..benchmark.protocol.fields import adapter, short, told
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.spec import Contract, FramedVariant
from ..benchmark.protocol.statistics import Interval, Summary
from ..benchmark.protocol.strict import require_bounded
from ..errors import ResultError
from .result import Result
from .schema import MOST_CELLS, Rival

T = TypeVar("T")
_MOST = {"cells": MOST_CELLS, "spec": 64, "adaptation": 100, "qos": 64, "summary": 100, "gain": 100, "difference": 100}
_MOST |= {"comparison": 100, "releases": 100, "versions": 100, "message_floats": 100, "families": 100, "support": 100}


def printable(text: str, limit: int = 200) -> str:
    """A line that no terminal takes for commands."""
    return "".join(c if c.isprintable() else "?" for c in text)[:limit]


def piecewise(data: dict[str, Any]) -> Result:
    """The result; raises `ResultError` at the first thing that is wrong."""
    try:
        require_bounded(data, _MOST)
    except ValueError as error:
        raise _wrong(str(error)) from error
    _check_contract(data.get("contract"))
    rivals = data.get("comparison")
    if not isinstance(rivals, list):
        raise _wrong("comparison: must be a list")
    rows = tuple(_row(Rival, rival, f"comparison.{place}.", {}) for place, rival in enumerate(rivals))
    return _row(Result, data, "", {"comparison": rows})


def _check_contract(contract: Any) -> None:
    """Raise at the first thing that is wrong in a contract: each variant, then what is around them."""
    variants = contract.get("variants") if isinstance(contract, dict) else None
    if not isinstance(variants, dict) or not variants:
        raise _wrong("contract.variants: must be an object with a variant or more")
    for name, variant in variants.items():
        _made(FramedVariant, variant, f"contract.variants.{name:.64}")
    _made(Contract, contract, "contract")


def _row(kind: type[T], row: Any, place: str, more: Mapping[str, Any]) -> T:
    """A row: its cells and summaries one by one, then all else."""
    if not isinstance(row, dict):
        raise _wrong(f"{place.rstrip('.')}: must be an object, not {short(row)}")
    made = dict(more)
    if (cells := _part(row, "cells", list, place)) is not None:
        made["cells"] = tuple(_made(CellResult, cell, f"{place}cells.{number}") for number, cell in enumerate(cells))
    if (summaries := _part(row, "summary", dict, place)) is not None:
        made["summary"] = {
            shots: None if found is None else _summary(found, f"{place}summary.{shots:.64}")
            for shots, found in summaries.items()
        }
    empty: dict[str, Any] = {name: [] if isinstance(value, tuple) else dict.fromkeys(value) for name, value in made.items()}
    head = _made(kind, {**row, **empty}, place.rstrip("."))
    for name, value in made.items():
        object.__setattr__(head, name, value)  # ours alone as yet
    return head


def _part(row: Mapping[str, Any], name: str, kind: type[Any], place: str) -> Any:
    """A large part of a row; None where it is missing, which the check of the row tells."""
    value = row.get(name)
    if name in row and not isinstance(value, kind):
        raise _wrong(f"{place}{name}: must be {'a list' if kind is list else 'an object'}, not {short(value)}")
    return value


def _summary(found: Any, where: str) -> Summary:
    for name in ("families", "variants"):
        parts = found.get(name) if isinstance(found, dict) else None
        for part, estimate in parts.items() if isinstance(parts, dict) else ():
            _made(Interval, estimate, f"{where}.{name}.{part:.64}")
    return _made(Summary, found, where)


def _made(kind: type[T], data: Any, where: str) -> T:
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError as error:  # such as 1e999
        raise _wrong(f"{where or 'the file'} holds a number that is not finite") from error
    try:
        return adapter(kind).validate_json(text)
    except ValidationError as error:
        raise _wrong(told(error, where)) from error


def _wrong(said: str) -> ResultError:
    return ResultError(printable(f"not a result: {said}.", 400))
