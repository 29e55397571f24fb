"""Names that a reader may take for another: what is refused, and how a board tells two rows of one name apart."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..benchmark.registry import OWN_AGENTS
from .provenance import UNREGISTERED
from .schema import AgentRecord

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
    shown: dict[str, str] = {}
    for files in alike.values():
        group = [rows[file] for file in files]
        for file, row in zip(files, group, strict=True):
            shown[file] = " ".join([row.label, *_more(row, group)])
    return shown


def _more(row: AgentRecord, group: Sequence[AgentRecord]) -> list[str]:
    """What tells a row from those that look like it: its code, then its weights and settings."""
    others = [one for one in group if one is not row]
    same_code = [one for one in others if (one.label, one.package) == (row.label, row.package)]
    told = [f"[{code(row)}]"] if len(same_code) < len(others) else []
    if any((one.checkpoint, one.settings) != (row.checkpoint, row.settings) for one in same_code):
        told.append(f"[weights {row.checkpoint[:8] or 'none'}, settings {row.settings[:8] or 'none'}]")
    return told


def code(row: AgentRecord) -> str:
    """Where a row's code comes from: the distribution and its version, or the SHA-256 of the file."""
    name, version = row.package.name, row.package.version
    return f"file {version[:12]}" if name == UNREGISTERED else f"{name} {version}"
