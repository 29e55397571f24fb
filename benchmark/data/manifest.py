"""The manifest of a release: every file with its size, SHA-256 and a summary of its numbers. Read strictly or not at all.

The SHA-256 says *same bytes*. Another processor or another version of a library may round the last bit elsewhere, so each
column also carries its norm and a random projection: two files whose columns agree in both to `TOLERANCE` of the norm hold
*the same numbers*. Under random signs a difference d projects to about |d|: rounding (1e-6 of a value) stays far below the
tolerance, and one typical value changed among millions is above it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from ...errors import DataError
from .paths import read_text, write_text

SCHEMA = "wbench-manifest/2"
LICENCE = "CC-BY-4.0"
CITATION = (
    "wbench: offline multi-agent reinforcement learning for wireless networks, version 0.1, 2026. Cite release and version."
)
NAME = "manifest.json"
TOLERANCE = 3e-5
Agreement = Literal["same bytes", "same numbers", "different"]

_SHIPPED = Path(__file__).with_name("manifests")
_PATH = re.compile(r"(data|support)/(?!\.)[A-Za-z0-9._+=-]+/(?!\.)[A-Za-z0-9._+=-]+\.parquet")
LARGEST = 16 << 20
_GREATEST = 1e18  # a figure of a file
_LONGEST = 300  # characters of a text


@dataclass(frozen=True)
class Returns:
    """Returns of the episodes of a file: sums of all rewards.

    Attributes:
        episodes: how many.
        sites: how many sites they were played at.
        mean: mean return of an episode.
        spread: standard deviation of the sites' mean returns.
        least: mean return of the worst site.
        most: mean return of the best site.
    """

    episodes: int
    sites: int
    mean: float
    spread: float
    least: float
    most: float

    @property
    def error(self) -> float:
        """Standard error of the mean over sites."""
        return self.spread / max(self.sites, 1) ** 0.5


@dataclass(frozen=True)
class FileEntry:
    """One file.

    Attributes:
        path: relative, `data/LABEL/QUALITY.parquet` or `support/LABEL/held-out.parquet`.
        bytes: size.
        rows: slots, and one more an episode.
        sha256: of its bytes.
        columns: (norm, projection) of every column.
        returns: of its episodes and sites.
    """

    path: str
    bytes: int
    rows: int
    sha256: str
    columns: Mapping[str, tuple[float, float]]
    returns: Returns

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path) or ".." in self.path:
            raise ValueError(f"path {self.path!r} is not of the form data/LABEL/NAME.parquet or support/LABEL/NAME.parquet")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.path}: sha256 {self.sha256!r} is not 64 hexadecimal digits")
        figures = [*asdict(self.returns).values(), *(figure for pair in self.columns.values() for figure in pair)]
        if not all(isinstance(value, int | float) and abs(value) <= _GREATEST for value in figures):
            raise ValueError(f"{self.path}: its figures are not numbers, or huge")
        for field in ("bytes", "rows"):
            if type(value := getattr(self, field)) is not int or value < 0:
                raise ValueError(f"{self.path}: {field} {value!r} is not a whole number")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`; raises `ValueError`, `TypeError` or `KeyError`."""
        columns = {str(name): (float(norm), float(projection)) for name, (norm, projection) in data["columns"].items()}
        return cls(**{**data, "columns": columns, "returns": Returns(**data["returns"])})

    def compare(self, other: FileEntry) -> Agreement:
        """Whether two files of the same path hold the same bytes, the same numbers, or something else."""
        if self.sha256 == other.sha256:
            return "same bytes"
        if self.rows != other.rows or self.columns.keys() != other.columns.keys():
            return "different"
        for name, ours in self.columns.items():
            room = TOLERANCE * max(ours[0], 1e-12)
            if not all(abs(a - b) <= room for a, b in zip(ours, other.columns[name], strict=True)):  # false for NaN too
                return "different"
        return "same numbers"


@dataclass(frozen=True)
class Manifest:
    """A release of a family.

    Attributes:
        release: `mini` or `standard`.
        version: of the release, x.y.z; a published version never changes.
        family: name of the family.
        dynamics: version of the family's dynamics.
        format: version of the columns.
        licence: SPDX name of the data's licence.
        citation: how to cite.
        generator: versions of what recorded it.
        files: every file, in order.
    """

    release: str
    version: str
    family: str
    dynamics: str
    format: str
    licence: str
    citation: str
    generator: Mapping[str, str]
    files: tuple[FileEntry, ...]

    @property
    def identity(self) -> dict[str, str]:
        """What two manifests of the same release have in common."""
        return {name: getattr(self, name) for name in ("release", "version", "family", "dynamics", "format")}

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files)

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(entry.rows for entry in self.files)

    def entries(self) -> dict[str, FileEntry]:
        """Files by path."""
        return {entry.path: entry for entry in self.files}

    def digest(self) -> str:
        """SHA-256 over release and files: what a protocol names to say on which data it stands."""
        files = [[entry.path, entry.bytes, entry.rows, entry.sha256] for entry in self.files]
        return hashlib.sha256(json.dumps([self.identity, files], sort_keys=True).encode()).hexdigest()

    def compare(self, other: Manifest) -> Agreement:
        """The worst agreement of any file; `different` too where one has files that the other lacks."""
        ours, theirs = self.entries(), other.entries()
        if self.identity != other.identity or ours.keys() != theirs.keys():
            return "different"
        return worst(entry.compare(theirs[path]) for path, entry in ours.items())

    def to_json(self) -> str:
        """As text: one line a file."""
        head = {name: value for name, value in asdict(self).items() if name != "files"}
        text = json.dumps({"schema": SCHEMA, **head}, indent=1)
        files = ",\n  ".join(json.dumps(asdict(entry)) for entry in self.files)
        return f'{text[:-2]},\n "files": [\n  {files}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Inverse of `to_json`; anything missing, unknown, repeated or out of place is a `DataError` that names `where`."""
        try:
            data = json.loads(text, object_pairs_hook=_no_repeats)
            if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            unknown = set(data) ^ {field.name for field in fields(cls)}
            if unknown:
                raise ValueError(f"unknown or missing fields {', '.join(sorted(unknown))}")
            files = tuple(FileEntry.from_dict(entry) for entry in data["files"])
            if len({entry.path for entry in files}) < len(files):
                raise ValueError("a path is listed twice")
            texts = {name: value for name, value in data.items() if name not in ("generator", "files")}
            if not all(isinstance(value, str) for value in [*texts.values(), *data["generator"].values()]):
                raise ValueError("a field that must be text is not")
            if not all(text.isprintable() and len(text) <= _LONGEST for text in [*texts.values(), *data["generator"].values()]):
                raise ValueError(f"a text is longer than {_LONGEST} characters, or not printable")
            return cls(**texts, generator=data["generator"], files=files)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError) as error:
            raise DataError(f"{where} is no valid manifest: {str(error)[:_LONGEST]}. Nothing was taken from it.") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """A manifest on disk."""
        try:
            return cls.from_json(read_text(path, LARGEST), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path} ({error}). Move it away.") from error


def worst(found: Iterable[Agreement]) -> Agreement:
    """The least agreement of several."""
    order: tuple[Agreement, ...] = ("same bytes", "same numbers", "different")
    return max(found, key=order.index, default="same bytes")


def shipped_path(family: str, release_id: str) -> Path:
    """Where the package keeps the manifest of a release that it knows."""
    return _SHIPPED / f"{family}-{release_id}.json"


@cache
def _read_shipped(path: Path) -> Manifest | None:
    return Manifest.read(path) if path.exists() else None


def shipped(family: str, release_id: str) -> Manifest | None:
    """The manifest in the package, where this wbench knows the release; downloads and local builds must agree with it."""
    return _read_shipped(shipped_path(family, release_id))


def freeze(manifest: Manifest, release_id: str) -> Path:
    """Put a manifest into the package, for the developer who makes a release."""
    path = shipped_path(manifest.family, release_id)
    write_text(path, manifest.to_json())
    _read_shipped.cache_clear()
    return path


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key is repeated among {[name for name, _ in pairs][:20]}")
    return found
