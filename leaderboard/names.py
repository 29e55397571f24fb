"""Names that a reader may take for another: what is refused, and how a board tells two rows of one name apart."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

from ..benchmark.registry import OWN_AGENTS
from .provenance import UNREGISTERED
from .schema import AgentRecord, Package

WBENCH = "wbench"  # the distribution of the agents that the package brings
_ALIKE = str.maketrans("0123456789i|!$@", "olzeasbtbglllsa")  # digits and signs that stand for letters, and i for l
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_FOREIGN = str.maketrans("абеорсухіјѕԁԛԝαοερντικ", "abeopcyxijsdqwaoepvtik")  # Cyrillic and Greek; NFKC leaves them


def skeleton(name: str) -> str:
    """What is left of a name for the eye: equal for names that look alike (case, digits for letters, signs, scripts)."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_FOREIGN).translate(_ALIKE)
    plain = re.sub(r"[^a-z0-9]", "", plain)
    for pair, one in _PAIRS:
        plain = plain.replace(pair, one)
    return plain


_TAKEN = {skeleton(name): name for name in (*OWN_AGENTS, WBENCH, UNREGISTERED)}


def imitated(name: str) -> str | None:
    """The name of wbench that another one looks like; None where it is that very name, or like none."""
    found = _TAKEN.get(skeleton(name))
    return None if found == name else found


def told_apart(rows: Mapping[str, AgentRecord]) -> dict[str, str]:
    """What a board calls its rows, by file: the label, with more where another row's looks like it but is no other run of it.

    Args:
        rows: by file.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for file, row in rows.items():
        alike[skeleton(row.label)].append(file)
    return {file: name for files in alike.values() for file, name in _named({file: rows[file] for file in files}).items()}


def _named(group: Mapping[str, AgentRecord]) -> dict[str, str]:
    """Names of rows that look alike: with their code where it differs, with their weights where those of one code differ."""
    codes: dict[tuple[str, Package], set[tuple[str, str]]] = defaultdict(set)
    for row in group.values():
        codes[row.label, row.package].add((row.checkpoint, row.settings))
    shown = {}
    for file, row in group.items():
        told = [f"[{code(row)}]"] if len(codes) > 1 else []
        if len(codes[row.label, row.package]) > 1:
            told.append(f"[weights {row.checkpoint[:8] or 'none'}, settings {row.settings[:8] or 'none'}]")
        shown[file] = " ".join([row.label, *told])
    return shown


def code(row: AgentRecord) -> str:
    """Where a row's code comes from: the distribution and its version, or the SHA-256 of the file."""
    name, version = row.package.name, row.package.version
    return f"file {version[:12]}" if name == UNREGISTERED else f"{name} {version}"


def link(row: AgentRecord) -> str:
    """Where a reader finds the weights, else the code, of a row that is not wbench's; empty where nobody knows."""
    if row.origin.kind == "hub":
        return f"https://huggingface.co/{row.origin.name}/tree/{row.origin.revision or 'main'}"
    known = row.package.name in (WBENCH, UNREGISTERED)
    return "" if known else f"https://pypi.org/project/{row.package.name}/{row.package.version}/"
