"""The files of a release that are on this disk, and whether they can be trusted.

Beside the data lies `.receipts.json`: for every file what was verified when it came, and where it came from. It lets a killed
build go on, lets a part of a release be used without the rest, and remembers which revision a download was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ...errors import DataError
from ..family import Family
from ..protocol.fields import adapter, record, told
from ..protocol.strict import loads, require_bounded
from . import shards
from .manifest import CITATION, LARGEST, LICENCE, MOST_FILES, NAME, Agreement, FileEntry, Manifest, shipped, worst
from .paths import inside, read_text, sealed, sha256, write_text
from .release import Release, Shard, contents, dataset_folder, identity, manifest_of

RECEIPTS = ".receipts.json"
MAPS = ".windows"  # folder of the memory maps that learners read, made from the train files
Check = Literal["sha256", "numbers", "recorded"]


@record
class Receipt:
    """What is known of a file that is in place.

    Attributes:
        entry: size, SHA-256 and numbers of the file as it is here.
        source: the mirror it came from.
        revision: commit of the Hub, where it came from there.
        verified: `sha256` (the bytes of the release), `numbers` (its numbers, rounded on another platform), or
            `recorded` (made here from its seeds; no published manifest is known to compare with).
    """

    entry: FileEntry
    source: str
    revision: str | None
    verified: Check


class Cache:
    """The folder of one release of one family.

    Args:
        family: the family.
        release: the release.
        root: folder of the datasets; default: wbench's.
        pinned: whether files must agree with the manifest in the package; off only to make a new one.

    Raises:
        DataError: the manifest on disk is damaged or of something else, or this wbench has other dynamics.
    """

    def __init__(self, family: Family, release: Release, root: Path | None = None, *, pinned: bool = True) -> None:
        self.family, self.release, self.root = family, release, root
        self.folder = dataset_folder(family, release, root)
        self.pinned = shipped(family.name, release.id) if pinned else None
        if self.pinned and self.pinned.identity != identity(family, release):
            raise DataError(
                f"{release.id} of {family.name} was recorded with dynamics {self.pinned.dynamics} and format "
                f"{self.pinned.format}; this wbench has dynamics {family.version}. A change needs a new version of the release."
            )
        self._pinning = pinned
        self._checked: dict[str, tuple[tuple[int, int], Receipt]] = {}  # (size, time) of a file when it was found to be good
        self.reread()

    def reread(self) -> None:
        """Read manifest and receipts anew: another process may have brought files."""
        there = self._pinning and (self.folder / NAME).exists()
        self.local = Manifest.read(self.folder / NAME) if there else None
        if self.local and self.local.identity != identity(self.family, self.release):
            raise DataError(f"{self.folder / NAME} is the manifest of {self.local.identity}. Move the folder away.")
        self.stale = bool(self.local and self.pinned and self.local.compare(self.pinned) == "different")
        if self.stale:  # of another build; replaced when the release is complete
            self.local = None
        known = self.pinned or self.local
        self._truth = known.entries() if known else None
        self._receipts = self._read_receipts()

    def path(self, shard: Shard) -> Path:
        """Where a file is, or will be; raises `DataError` where a symlink would lead out of the folder."""
        return inside(self.folder, shard.path)

    def truth(self, path: str) -> FileEntry | None:
        """What the release says of a file, where a manifest of it is known."""
        return (self._truth or {}).get(path)

    def trust(self, manifest: Manifest) -> None:
        """Accept the manifest of a mirror, if it is of this release and agrees with what is known.

        Where no manifest is pinned it becomes the truth; where one is, it only says what the mirror's bytes are.

        Raises:
            DataError: it is of something else, lacks files, or differs from the manifest known here.
        """
        if manifest.identity != identity(self.family, self.release):
            raise DataError(f"the mirror's manifest is of {manifest.identity}, not of {identity(self.family, self.release)}.")
        wanted = {shard.path for shard in contents(self.family, self.release)}
        if wanted != set(manifest.entries()):
            odd = sorted(wanted ^ set(manifest.entries()))
            raise DataError(f"the mirror's manifest lacks or adds {len(odd)} files, such as {odd[0]}.")
        for shard in contents(self.family, self.release):
            entry, rows = manifest.entries()[shard.path], shard.rows(self.family)
            most = 2 * rows * shards.row_bytes(self.family, self.family.variant(shard.variant)) + (1 << 20)
            if entry.rows != rows or entry.bytes > most:
                raise DataError(f"the mirror's manifest lists {shard.path} with other rows or more bytes than it can have.")
        known = self.pinned or self.local
        if known and known.compare(manifest) == "different":
            raise DataError(
                f"the mirror's manifest differs from the one known here for {self.release.id} of {self.family.name}. A release "
                "never changes: that mirror is wrong."
            )
        if not known:
            self.local = replace(manifest, licence=LICENCE, citation=CITATION)
        if not self.pinned:
            self._truth = manifest.entries()
            self._checked.clear()

    def check(self, shard: Shard) -> Receipt | None:
        """What is known of a file; None where it is missing. It is hashed once, unless it changes meanwhile.

        Raises:
            DataError: it is there, but damaged, of another build, or somebody else's.
        """
        path = self.path(shard)
        if not path.is_file():
            return None
        stamp, known = _stamp(path), self._checked.get(shard.path)
        if known is None or known[0] != stamp:
            known = self._checked[shard.path] = (stamp, self._examine(shard, path))
        return known[1]

    def _examine(self, shard: Shard, path: Path) -> Receipt:
        found, receipt, truth = sha256(path), self._receipts.get(shard.path), self.truth(shard.path)
        if truth and truth.sha256 == found:
            known = receipt if receipt and receipt.entry.sha256 == found else None
            return replace(known, verified="sha256") if known else Receipt(truth, "found here", None, "sha256")
        if receipt and receipt.entry.sha256 == found:
            return self._agreeing(receipt)
        self.require_ours(shard)
        if receipt is None and shards.about(path) == shard.about(self.family):  # in place, but killed before the receipt
            return self._agreeing(Receipt(self._describe(shard), "found here", None, "recorded"))
        raise DataError(f"{path} is damaged: its SHA-256 is not the release's.")

    def require_ours(self, shard: Shard) -> None:
        """Raise `DataError` where a healthy file has other columns than the schema's: it is somebody else's."""
        path = self.path(shard)
        shards.require_columns(path, self.family, self.family.variant(shard.variant), str(path))

    def witness(self, shard: Shard, entry: FileEntry) -> FileEntry:
        """The entry of a file that came from a mirror: the pinned one if its bytes are those, else what is read of it here.

        Raises:
            DataError: it is not what such a file can be.
        """
        pinned = self.pinned.entries()[shard.path] if self.pinned else None
        return pinned if pinned and pinned.sha256 == entry.sha256 else self._describe(shard)

    def _describe(self, shard: Shard) -> FileEntry:
        variant = self.family.variant(shard.variant)
        return shards.inspect(self.path(shard), shard.path, self.family, variant, shard.places)

    def agreement(self, entry: FileEntry) -> Check:
        """How a file agrees with the release; raises `DataError` where it differs."""
        truth = self.truth(entry.path)
        if truth is None:
            return "recorded"
        agreement = truth.compare(entry)
        if agreement == "different":
            raise DataError(f"{self.folder / entry.path} differs from {self.release.id} of {self.family.name} as published.")
        return "sha256" if agreement == "same bytes" else "numbers"

    def learn(self, found: Mapping[str, Receipt]) -> None:
        """Remember what `check` said, without writing it down."""
        self._receipts |= found

    def keep(self, receipts: Mapping[str, Receipt]) -> None:
        """Write down new receipts, and the manifest of a mirror where there is none yet."""
        self._receipts |= receipts
        self._checked |= {path: (_stamp(self.folder / path), receipt) for path, receipt in receipts.items()}
        text = json.dumps({path: asdict(receipt) for path, receipt in sorted(self._receipts.items())})
        write_text(self.folder / RECEIPTS, text)
        if self.local and not (self.folder / NAME).exists():
            write_text(self.folder / NAME, self.local.to_json())

    def complete(self) -> Manifest | None:
        """The manifest, once every file is in place. Where there is none yet it is written: of the files as they are here."""
        wanted = [shard.path for shard in contents(self.family, self.release)]
        if not all(path in self._receipts and (self.folder / path).is_file() for path in wanted):
            return None
        if self.local is None:
            made = manifest_of(self.family, self.release, {path: self._receipts[path].entry for path in wanted})
            same = self.pinned is not None and self.pinned.compare(made) == "same bytes"
            self.local = self.pinned if same else made
            assert self.local is not None
            write_text(self.folder / NAME, self.local.to_json())
        return self.local

    def damaged_maps(self) -> list[Path]:
        """Folders of memory maps that are not as they were made; a learner makes them again."""
        return [folder for folder in sorted((self.folder / MAPS).glob("[!.]*")) if folder.is_dir() and sealed(folder) is None]

    def _agreeing(self, receipt: Receipt) -> Receipt:
        return replace(receipt, verified=self.agreement(receipt.entry))

    def _read_receipts(self) -> dict[str, Receipt]:
        path = self.folder / RECEIPTS
        if not path.exists():
            return {}
        try:
            found = loads(read_text(path, LARGEST).encode())
            require_bounded(found, {"": MOST_FILES})
            return {name: adapter(Receipt).validate_json(json.dumps(one)) for name, one in dict(found).items()}
        except (OSError, ValueError) as error:
            reason = told(error) if isinstance(error, ValidationError) else error
            raise DataError(f"{path} is damaged ({reason}). Delete it: files are then verified anew.") from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


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


_SAID = {"sha256": "same bytes", "numbers": "same numbers", "recorded": "unpublished"}


def verify(
    family: Family, release: Release, root: Path | None = None, on_file: Callable[[Shard], None] = lambda _: None
) -> Verdict:
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
    problems += [f"the memory maps in {folder} are damaged, or of an older wbench." for folder in cache.damaged_maps()]
    if all(what == "missing" for what in files.values()):
        hint = f"wbench download {family.name} --release {release.name}"
        raise DataError(f"nothing of {release.name} of {family.name} is in {cache.folder}. Get it with: {hint}")
    return Verdict(family.name, release.name, cache.folder, files, tuple(problems))
