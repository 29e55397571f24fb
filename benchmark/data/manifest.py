"""The manifest of a release: every file with its size, SHA-256 and a summary of its numbers. Read strictly or not at all.

The SHA-256 says *same bytes*. Another processor or another version of a library may round the last bit elsewhere, so each
column also carries its norm and a random projection: two files whose columns agree in both to `TOLERANCE` of the norm hold
*the same numbers*. Under random signs a difference d projects to about |d|: rounding (1e-6 of a value) stays far below the
tolerance, and one typical value changed among millions is above it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, ValidationError

from ...errors import DataError
from ..protocol.fields import Count, Digest, adapter, record, told
from ..protocol.strict import loads, require_bounded
from .paths import read_text, write_text

LICENCE = "CC-BY-4.0"
CITATION = (
    "wbench: offline multi-agent reinforcement learning for wireless networks, version 0.1, 2026. Cite release and version."
)
NAME = "manifest.json"
TOLERANCE = 3e-5
Agreement = Literal["same bytes", "same numbers", "different"]

_SHIPPED = Path(__file__).with_name("manifests")
LARGEST, MOST_FILES = 16 << 20, 10_000
_NAME = "[A-Za-z0-9_+=-][A-Za-z0-9._+=-]*"
FilePath = Annotated[str, Field(pattern=rf"^(data|support)/{_NAME}/{_NAME}\.parquet$")]
Figure = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Line = Annotated[str, Field(pattern="^[ -~]{0,300}$")]


@record
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

    episodes: Count
    sites: Count
    mean: Figure
    spread: Figure
    least: Figure
    most: Figure

    @property
    def error(self) -> float:
        """Standard error of the mean over sites."""
        return self.spread / max(self.sites, 1) ** 0.5


@record
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

    path: FilePath
    bytes: Count
    rows: Count
    sha256: Digest
    columns: dict[str, tuple[Figure, Figure]]
    returns: Returns

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


@record
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

    release: Line
    version: Line
    family: Line
    dynamics: Line
    format: Line
    licence: Line
    citation: Line
    generator: dict[Line, Line]
    files: Annotated[tuple[FileEntry, ...], FailFast()]
    schema: Literal["wbench-manifest/2"] = field(default="wbench-manifest/2", kw_only=True)

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
        text = json.dumps({"schema": self.schema, **head}, indent=1)
        files = ",\n  ".join(json.dumps(asdict(entry)) for entry in self.files)
        return f'{text[:-2]},\n "files": [\n  {files}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Inverse of `to_json`; anything missing, unknown, repeated or out of place is a `DataError` that names `where`."""
        try:
            require_bounded(loads(text.encode()), {"files": MOST_FILES})
            found = adapter(cls).validate_json(text)
            if len(found.entries()) < len(found.files):
                raise ValueError("a path is listed twice")
            return found
        except ValueError as error:
            reason = told(error) if isinstance(error, ValidationError) else str(error)
            raise DataError(f"{where} is no valid manifest: {reason}. Nothing was taken from it.") from error

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
