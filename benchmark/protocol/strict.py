"""JSON that a stranger wrote: counted before it is unfolded, and again before anything in it is checked.

A parser takes fifty bytes for a `{}`, and a validator that is handed a whole file collects every error in it, a gigabyte of
them if somebody likes. So both are asked for no more than an honest file can hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .fields import no_repeats

DEEPEST = 16  # levels of nesting
ITEMS = 1000  # of any list or object, unless more are allowed by its name
_MARKS = {b"[": 100_000, b"{": 100_000, b",": 3_000_000, b'"': 2_000_000}  # what takes memory; `full` has a tenth of it
_CONTAINERS = frozenset((dict, list))  # of JSON
TOO_DEEP = f"nested deeper than {DEEPEST} levels"


def loads(content: bytes) -> Any:
    """JSON without what no file needs: NaN and infinity, repeated keys, endless nesting or lists; raises `ValueError`."""
    for mark, most in _MARKS.items():
        if content.count(mark) > most:
            raise ValueError(f"more than {most} times {mark.decode()!r}")
    try:
        return json.loads(content, object_pairs_hook=no_repeats, parse_constant=_refused)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def _refused(text: str) -> float:
    raise ValueError(f"{text} is no finite number")


def require_bounded(data: Any, most: Mapping[str, int], usual: int = ITEMS) -> None:
    """Raise `ValueError` where some list or object holds too much, or lies too deep.

    Args:
        data: what `loads` gave.
        most: how much a list or object may hold, by the name of the field that it is in; the file itself is in none, "".
        usual: how much any other may hold.
    """
    left: list[tuple[Any, tuple[Any, ...], int]] = [(data, (), 1)] if type(data) in _CONTAINERS else []
    while left:  # (container, (names above, name), level)
        inside, names, level = left.pop()
        if level > DEEPEST:
            raise ValueError(TOO_DEEP)
        allowed = most.get(names[1] if names else "", usual)
        if len(inside) > allowed:
            raise ValueError(f"{_dotted(names) or 'the file'} holds {len(inside)}, {allowed} are the most")
        listed = isinstance(inside, list)
        if _CONTAINERS.isdisjoint(map(type, inside if listed else inside.values())):
            continue  # as most: a list of numbers
        each = ((names, value) for value in inside) if listed else (((names, name), value) for name, value in inside.items())
        left += [(value, within, level + 1) for within, value in each if type(value) in _CONTAINERS]


def _dotted(names: tuple[Any, ...]) -> str:
    """The names on the way to a container, e.g. `cells.qos`."""
    found: list[str] = []
    while names:
        names, name = names
        found.append(f"{name:.64}")
    return ".".join(reversed(found))
