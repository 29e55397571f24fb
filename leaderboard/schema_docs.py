"""Generates what documents the schema: the JSON Schema in the package, and the tables of fields in docs/results.md.

Run `python -m wbench.leaderboard.schema_docs` in a checkout after a change of `schema.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import write_text
from .schema import VERSION, Result

SCHEMA_FILE = Path(__file__).parent / "schema" / f"{VERSION.replace('/', '-')}.json"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
START, END = "<!-- generated: fields -->\n", "<!-- end -->\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": VERSION, **Result.model_json_schema()}


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
        inside: dict[str, Any] = about.get("additionalProperties") or next(
            iter(about.get("patternProperties", {}).values()), {}
        )
        return f"{_type(inside)} by name"
    return about.get("type", "any")


def write() -> None:
    """Bring both up to date."""
    write_text(SCHEMA_FILE, json_schema_text())
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    write_text(PAGE, f"{before}{START}{fields()}{END}{after}")


if __name__ == "__main__":
    write()
