"""Generates what documents the schema: the JSON Schema in the package, and the tables of fields in docs/reference/results.md.

Run `python -m wbench.leaderboard.schema_docs` in a checkout after a change of a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import write_text
from ..benchmark.protocol.fields import adapter
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.statistics import Summary
from .result import VERSION, Result
from .schema import Rival

SCHEMA_FILE = Path(__file__).parent / "schema" / f"{VERSION.replace('/', '-')}.json"
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "results.md"
START, END = "<!-- generated: fields -->\n", "<!-- end -->\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result file."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": VERSION, **adapter(Result).json_schema()}
    for kind in (Result, Rival, Summary, CellResult):
        one = found if kind is Result else found["$defs"][kind.__name__]
        for base in filter(is_dataclass, kind.__mro__[1:]):  # a field is described where it is declared
            for name, about in adapter(base).json_schema()["properties"].items():
                one["properties"][name] = about | one["properties"][name]
    return found


def json_schema_text() -> str:
    """The schema as the package holds it."""
    return json.dumps(json_schema(), indent=1) + "\n"


def fields() -> str:
    """A table of fields for every object of the schema, in Markdown."""
    schema = json_schema()
    objects = {"Result": schema, **schema["$defs"]}
    return "\n".join(line for name, one in objects.items() for line in _table(name, one))


def _table(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", f"{schema['description']}", "", "| field | type | meaning |", "| --- | --- | --- |")
    for field, about in schema["properties"].items():
        yield f"| `{field}` | {_type(about)} | {about.get('description', '')} |"
    yield ""


def _type(about: dict[str, Any]) -> str:
    if "$ref" in about:
        return about["$ref"].rpartition("/")[2]
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(map(_type, about["anyOf"])))
    if "const" in about or "enum" in about:
        return "one of " + ", ".join(f"`{value}`" for value in about.get("enum", [about.get("const")]))
    if about.get("type") == "array":
        return f"list of {_type(about['items'])}"
    if about.get("type") == "object":
        inside: Any = about.get("additionalProperties") or next(iter(about.get("patternProperties", {}).values()), {})
        return f"{_type(inside)} by name" if isinstance(inside, dict) else "object"
    return about.get("type", "any")


def write() -> None:
    """Bring both up to date."""
    write_text(SCHEMA_FILE, json_schema_text())
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    write_text(PAGE, f"{before}{START}{fields()}{END}{after}")


if __name__ == "__main__":
    write()
