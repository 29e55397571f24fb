"""Where two pieces of plain data differ, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_NEAR = 1e-6  # of a number: what another version of NumPy may sum otherwise


def unlike(claimed: Any, found: Any, where: str, absolute: float = 1e-9, exact: bool = False) -> Iterator[str]:
    """Every place where two pieces of plain data differ; floats by more than rounding, unless they must be exact."""
    if isinstance(claimed, Mapping) and isinstance(found, Mapping):
        for name in [*claimed, *(name for name in found if name not in claimed)]:
            if name not in claimed or name not in found:
                yield f"{where}{name} is {'missing' if name in found else 'unknown here'}"
            else:
                dot = "." if isinstance(claimed[name], Mapping) else ""
                yield from unlike(claimed[name], found[name], f"{where}{name}{dot}", absolute, exact)
    elif not _same(claimed, found, absolute, exact):
        yield f"{where} is {claimed!r:.80}, but {found!r:.80} follows"


def _same(a: Any, b: Any, absolute: float, exact: bool) -> bool:
    if exact or not (_is_number(a) and _is_number(b) and isinstance(a + b, float)):
        return bool(a == b)
    return math.isclose(a, b, rel_tol=_NEAR, abs_tol=absolute)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
