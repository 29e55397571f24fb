"""Older schemas, read as the newest: one step a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import ResultError
from .consistency import MOST_CELLS
from .schema import VERSION, Contract
from .summary import Grid, plain_score, summarise


def upgrade(data: dict[str, Any]) -> dict[str, Any]:
    """The same result in the newest schema; raises `ResultError` where the version is unknown or a field is missing."""
    given = data.get("schema")
    if given == VERSION:
        return data
    if not isinstance(given, str) or given not in _STEPS:
        raise ResultError(f"not a result: schema is {given!r:.60}, but must be {VERSION} or {', '.join(_STEPS)}.")
    try:
        return _STEPS[given](data)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        said = f"{type(error).__name__}: {error!s:.60}"
        raise ResultError(f"not a result of schema {given}: a field is missing or of the wrong type ({said!r}).") from error


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew no tracks, failures, origins or hardware, and summed up per number of shots only."""
    if set(data) - _FIELDS_1:
        raise ValueError(f"unknown field {min(set(data) - _FIELDS_1)!r:.40}")
    own = {name: value for name, value in data.items() if name in _ROW_1}
    rest = {name: value for name, value in data.items() if name not in _ROW_1}
    return {
        **rest,
        **_row_from_1(own, data),
        "schema": "wbench-result/2",
        "comparison": [_row_from_1(rival, data) for rival in data["comparison"]],
        "releases": [],
        "command": "",
        "hardware": None,
    }


_ROW_1 = {"agent", "checkpoint", "parameters", "privileged", "complete", "cells", "summary", "ledger"}
_FIELDS_1 = _ROW_1 | {"schema", "protocol", "protocol_hash", "contract", "comparison", "versions"}


def _row_from_1(row: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    from .result import message_floats  # newer files do not need what it imports

    contract, cells = data["contract"], [{**cell, "failure": ""} for cell in row["cells"]]
    asked = Contract.model_validate_json(json.dumps(contract))  # its bounds, before anything of its size is made
    if len(asked.variants) * len(asked.shots) * asked.seeds > MOST_CELLS:
        raise ValueError(f"contract asks for more than {MOST_CELLS} cells")
    scores = {(cell["variant"], cell["shots"], cell["seed"]): plain_score(contract, cell) for cell in cells}
    found = summarise(Grid.of(contract), scores)
    claimed = row["summary"]
    return {
        **row,
        "label": row["agent"],
        "track": "offline",
        "package": {"name": "wbench", "version": data["versions"]["wbench"]},
        "origin": {"kind": "unknown", "name": "", "revision": ""},
        "privileged_training": False,
        "source_transitions": 0,
        "source_steps": 0,
        "message_floats": message_floats(contract, cells),
        "cells": cells,
        "summary": {k: claimed[k] and {**(found[k] or {}), **claimed[k]} for k in claimed},
        "latency": None,
    }


_STEPS = {"wbench-result/1": _from_1}
