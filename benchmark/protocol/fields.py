"""The types of fields, with their bounds, and what makes a class a record: declared once, in memory as in a file.

A record is a frozen dataclass. What a stranger wrote becomes one through `adapter`, which is strict about types, keeps the
bounds and refuses unknown fields; what wbench makes itself is trusted and costs nothing.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from typing_extensions import dataclass_transform

T = TypeVar("T")

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
Slashed = Annotated[str, Field(pattern=f"^{_NAME}(/{_NAME})?$")]  # a variant, a label with its track, a Hub id
MaybeSlashed = Annotated[str, Field(pattern=f"^({_NAME}(/{_NAME})?)?$")]
Text = Annotated[str, Field(pattern="^[ -~]*$", max_length=4000)]  # one line of printable ASCII: no control characters
Key = Annotated[str, Field(pattern="^[ -~]{1,64}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
MaybeDigest = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
Commit = Annotated[str, Field(pattern="^([0-9a-f]{40})?$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Shots = Annotated[int, Field(ge=0, le=1000)]
ShotsKey = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,3})$")]
Site = Annotated[int, Field(ge=0, lt=4_000_000)]  # see `benchmark.site`
PerEpisode = Annotated[tuple[Number, ...], Field(max_length=1000), FailFast()]  # a number for every query episode
Plain = bool | int | Number | Text | None  # keeps integers integers: the contract is hashed as it is written

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
OPEN = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, use_attribute_docstrings=True)
_SHOWN = 60  # characters of a wrong value that a message repeats
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN
_PATHS = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\":;,)]+){2,}")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(kind: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are checked by their types where `adapter` reads one."""
    kind.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return dataclass(frozen=True)(kind)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """What reads a record from JSON, strictly, and writes it."""
    return cast("TypeAdapter[T]", _adapter(cast("Any", kind)))


def told(error: ValidationError, where: str = "") -> str:
    """The first thing that is wrong with what was read, in a line: where it is, what is wanted, the start of what was given."""
    one = error.errors(include_url=False, include_context=False)[0]
    at = ".".join(map(str, (*filter(None, [where]), *one["loc"])))
    return f"{at or 'the file'}: {one['msg']}" + ("" if one["type"] == "missing" else f", not {short(one['input'])}")


def short(value: object) -> str:
    """The start of a value, without writing out the whole of a large one."""
    return _REPR.repr(value)[:_SHOWN]


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: an object none of whose keys is repeated; raises `ValueError`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        again = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"key {short(again)} is repeated")
    return found


def numbers_of(name: str, value: Any) -> Iterator[tuple[str, int | float]]:
    """The numbers among settings, by their names with dots."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from numbers_of(f"{name}.{key}" if name else str(key), part)
    elif isinstance(value, tuple | list):
        for part in value:
            pair = isinstance(part, tuple | list) and len(part) == 2 and isinstance(part[0], str)
            yield from numbers_of(f"{name}.{part[0]}" if pair else name, part[1] if pair else part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def plain(what: Any) -> dict[str, Any]:
    """A record as plain data, as in a file."""
    return cast("dict[str, Any]", adapter(type(what)).dump_python(what, mode="json"))


def printable(text: str, limit: int = 500) -> str:
    """A line of printable ASCII without paths: what may be told of an agent's exception or a machine."""
    line = _PATHS.sub("PATH", " ".join(text.split()))
    return "".join(c if " " <= c <= "~" else "?" for c in line)[:limit]
