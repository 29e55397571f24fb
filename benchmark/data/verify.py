"""Compares the data files that are here with the manifest of their release."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..family import Family
from .cache import Cache
from .download import OnFile
from .manifest import NAME, Agreement, worst
from .release import Release, contents


@dataclass(frozen=True)
class Verdict:
    """What `wbench data verify` found in one folder.

    Attributes:
        family: name of the family.
        release: name of the release.
        folder: where it looked.
        files: path -> agreement with the release, `missing`, or `unpublished` where nothing is known to compare with.
        problems: one line for every file that differs.
    """

    family: str
    release: str
    folder: Path
    files: dict[str, str]
    problems: tuple[str, ...]

    def count(self, what: str) -> int:
        """Number of files of a kind."""
        return list(self.files.values()).count(what)

    @property
    def worst(self) -> Agreement:
        """The least agreement of the files that are there and known."""
        known: tuple[Agreement, ...] = ("same bytes", "same numbers", "different")
        return worst(kind for kind in known if self.count(kind))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "folder": str(self.folder), "worst": self.worst}


_SAID = {"sha256": "same bytes", "numbers": "same numbers", "recorded": "unpublished"}


def verify(family: Family, release: Release, root: Path | None = None, on_file: OnFile = lambda _: None) -> Verdict:
    """Read every file of a release that is here and say how it agrees with the manifest; nothing is changed.

    Raises:
        DataError: nothing of the release is here, or its manifest is damaged.
    """
    cache = Cache(family, release, root)
    files: dict[str, str] = {}
    problems: list[str] = []
    if cache.stale:
        problems.append(f"{cache.folder / NAME} differs from the manifest of {release.id} in this wbench.")
    for shard in contents(family, release):
        try:
            receipt = cache.check(shard)
            files[shard.path] = _SAID[receipt.verified] if receipt else "missing"
        except DataError as error:
            files[shard.path] = "different"
            problems.append(str(error))
        on_file(shard)
    if all(what == "missing" for what in files.values()):
        hint = f"wbench download {family.name} --release {release.name}"
        raise DataError(f"nothing of {release.name} of {family.name} is in {cache.folder}. Get it with: {hint}")
    return Verdict(family.name, release.name, cache.folder, files, tuple(problems))
