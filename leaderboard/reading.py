"""Reads a result file that a stranger wrote: strictly, within bounds, and without running anything."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import ResultError
from . import conversion
from .consistency import check
from .schema import Result

LARGEST = 32 << 20  # bytes of a file
DEEPEST = 16  # levels of nesting
_SHOWN = 60  # characters of a wrong value that a message repeats


def read(path: Path) -> Result:
    """The result in a file, of this or an older schema.

    Raises:
        ResultError: it cannot be read, is too large, malformed, or its parts do not belong together.
    """
    content = read_bytes(path)
    try:
        return parse(content)
    except ResultError as error:
        raise ResultError(f"{_printable(path.name)}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of no more than `LARGEST`; a pipe or a device is not waited for."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - by its descriptor
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ResultError(f"{_printable(str(path))} is no file. Give a result file of: wbench eval --out FILE")
            content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ResultError(
            f"cannot read {_printable(str(path))} ({reason}). Give a result file of: wbench eval --out FILE"
        ) from error
    if len(content) > LARGEST:
        raise ResultError(f"{_printable(str(path))} is no result: larger than {LARGEST >> 20} MB.")
    return content


def parse(content: bytes) -> Result:
    """The result in the bytes of a file; raises `ResultError`."""
    data = _strict_json(content)
    data = conversion.upgrade(data)
    try:
        result = Result.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ResultError(_first(error)) from error
    check(result, data["contract"])
    return result


def _strict_json(content: bytes) -> dict[str, Any]:
    """JSON without what no result needs: NaN and infinity, repeated keys, depth."""
    try:
        data = json.loads(content, object_pairs_hook=_no_repeats, parse_constant=_finite, parse_float=_finite)
        depth = _depth(data)
    except RecursionError:
        depth = DEEPEST + 1
    except ValueError as error:
        raise ResultError(f"not a result: {_printable(str(error))}.") from error
    if depth > DEEPEST:
        raise ResultError(f"not a result: nested deeper than {DEEPEST} levels.")
    if not isinstance(data, dict):
        raise ResultError(f"not a result: {type(data).__name__} at its top, where an object is wanted.")
    return data


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_SHOWN]} is no finite number")
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} is repeated")
    return found


def _depth(data: Any) -> int:
    """Levels of nesting, counted level by level as far as `DEEPEST` and one more."""
    level, depth = [data], 0
    while level and depth <= DEEPEST:
        inside = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [child for children in inside for child in children if isinstance(child, dict | list)]
        depth += 1
    return depth


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, where, and how many more there are."""
    found = error.errors(include_url=False, include_context=False)
    one = found[0]
    where = ".".join(str(part) for part in one["loc"])
    given = "" if one["type"] == "missing" else f", not {one['input']!r:.{_SHOWN}}"
    more = f" And {len(found) - 1} more." if len(found) > 1 else ""
    return _printable(f"not a result: {where or 'the file'}: {one['msg']}{given}.", 400) + more


def _printable(text: str, limit: int = 200) -> str:
    """A line that no terminal takes for commands."""
    return "".join(c if c.isprintable() else "?" for c in text)[:limit]
