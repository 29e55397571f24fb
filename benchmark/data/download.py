"""Brings files of a release onto this disk: what is here and verified is kept, the rest is asked of the mirrors in order.

The order: cache, the Hub (where a namespace is set), a folder or URL, and last the local builder, which records the same files
from their seeds. A mirror that the user named and that fails ends the command; one that is merely configured is passed over
with a note.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import DataError, InvalidValueError, NetworkError, OutputError, WbenchError
from ..family import Family
from .cache import Cache, Receipt
from .manifest import FileEntry, Manifest
from .mirrors import Mirror, mirror_of
from .paths import Note, locked, remove_leftovers, require_space, writable, writing
from .release import Release, Shard, record_all

BUILDER = "built here"
OnFile = Callable[[Shard], None]


@dataclass(frozen=True)
class Obtained:
    """What was done for one file.

    Attributes:
        path: relative to the folder.
        source: `cache`, the mirror it came from, or `built here`.
        revision: commit, where it came from the Hub.
        bytes: size; 0 in a dry run where nobody knows it yet.
        verified: see `Receipt`; `unpinned` where the package holds no manifest of the release: the bytes are what their source
            says; `no` in a dry run.
    """

    path: str
    source: str
    revision: str | None
    bytes: int
    verified: str


@dataclass(frozen=True)
class Report:
    """What a download or build did, exactly.

    Attributes:
        family: name of the family.
        release: name of the release.
        version: of the release.
        folder: where it is.
        manifest: digest of the manifest, once the whole release is here or a mirror gave one.
        files: what was asked for, in order.
        notes: mirrors passed over, files fetched again.
    """

    family: str
    release: str
    version: str
    folder: Path
    manifest: str | None
    files: tuple[Obtained, ...]
    notes: tuple[str, ...] = field(default=())


def mirrors_for(
    family: Family, release: Release, *, source: str | None = None, namespace: str | None = None, revision: str | None = None
) -> list[Mirror]:
    """The mirrors between the cache and the local builder.

    Args:
        family: the family.
        release: the release.
        source: a folder or URL that the user named.
        namespace: of the Hub, named by the user; None = `WBENCH_NAMESPACE`, if that is set.
        revision: of the Hub repository; None = the release's tag.
    """
    from .hub_mirror import HubMirror

    found: list[Mirror] = []
    configured = os.environ.get("WBENCH_NAMESPACE")
    if revision and not (namespace or configured):
        raise InvalidValueError("--revision", revision, "left out, or given with --namespace: only the Hub has revisions")
    if namespace or configured:
        named = bool(namespace or revision)
        found.append(HubMirror(namespace or configured or "", family, release, revision, named))
    if source:
        found.append(mirror_of(source, family, release))
    return found


def obtain(
    cache: Cache,
    wanted: Sequence[Shard],
    *,
    mirrors: Sequence[Mirror] = (),
    jobs: int = 1,
    dry_run: bool = False,
    on_file: OnFile = lambda _: None,
    note: Note = lambda _: None,
) -> Report:
    """Have these files here and verified; what was verified is known to `cache` afterwards.

    Args:
        cache: the folder of a release.
        wanted: files, see `release.select`.
        mirrors: where to ask before recording, see `mirrors_for`.
        jobs: processes that record.
        dry_run: only say what would be done.
        on_file: told each file that is in place.
        note: told what a user should know meanwhile.

    Raises:
        DataError: something differs from the release, or belongs to somebody else.
        NetworkError: a mirror that the user named cannot be reached.
        OutputError: no space, no rights to write.
    """
    run = _Run(cache, wanted, mirrors, jobs, on_file, note)
    if dry_run:
        return run.plan()
    if not writable(cache.folder):
        return run.look()
    with locked(cache.folder, note):
        cache.reread()
        return run.work()


@dataclass
class _Run:
    """One call of `obtain`."""

    cache: Cache
    wanted: Sequence[Shard]
    mirrors: Sequence[Mirror]
    jobs: int
    on_file: OnFile
    tell: Note

    def __post_init__(self) -> None:
        self.done: dict[str, Obtained] = {}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Tell the user now, and again in the report."""
        self.notes.append(text)
        self.tell(text)

    def work(self) -> Report:
        """Cache, mirrors, builder; under the folder's lock."""
        remove_leftovers(self.cache.folder)
        self._look()
        with writing(self.cache.folder):
            for folder in self.cache.damaged_maps():
                self.note(f"the memory maps in {folder} are damaged or old. They are made again when they are needed.")
                shutil.rmtree(folder)
            for mirror in self.mirrors:
                if self._left():
                    self._ask(mirror)
            self._record()
            manifest = self.cache.complete()
        return self._report(manifest)

    def look(self) -> Report:
        """What `work` would find in a folder that may not be written; raises `OutputError` where something is to be done."""
        self._look()
        if self._left():
            raise OutputError(f"{self.cache.folder} may not be written, and {len(self._left())} files are missing or damaged.")
        return self._report(self.cache.pinned or self.cache.local)

    def plan(self) -> Report:
        """What `work` would do; mirrors are asked for their manifest alone, and nothing is written here."""
        self._look()
        for mirror in self.mirrors:
            if self._left() and (manifest := self._manifest(mirror)):
                for entry in self._offered(manifest):
                    self.done[entry.path] = Obtained(entry.path, mirror.name, mirror.revision, entry.bytes, "no")
        for shard in self._left():
            truth = self.cache.truth(shard.path)
            self.done[shard.path] = Obtained(shard.path, BUILDER, None, truth.bytes if truth else 0, "no")
        return self._report(self.cache.pinned or self.cache.local)

    def _left(self) -> list[Shard]:
        return [shard for shard in self.wanted if shard.path not in self.done]

    def _offered(self, manifest: Manifest) -> list[FileEntry]:
        entries = manifest.entries()
        return [entries[shard.path] for shard in self._left() if shard.path in entries]

    def _look(self) -> None:
        """Keep what is here and verified; a damaged file is named and replaced later, a file of somebody else stops us."""
        found: dict[str, Receipt] = {}
        for shard in self.wanted:
            try:
                receipt = self.cache.check(shard)
            except DataError as error:
                self.cache.require_ours(shard)
                self.note(f"{error} It is replaced.")
                continue
            if receipt:
                found[shard.path] = receipt
                verified = "recorded" if receipt.source == BUILDER and self.cache.pinned is None else receipt.verified
                self._finish(shard, Obtained(shard.path, "cache", receipt.revision, receipt.entry.bytes, verified))
        self.cache.learn(found)

    def _finish(self, shard: Shard, what: Obtained) -> None:
        unpinned = self.cache.pinned is None and what.verified in ("sha256", "numbers")
        self.done[shard.path] = replace(what, verified="unpinned") if unpinned else what
        self.on_file(shard)

    def _manifest(self, mirror: Mirror) -> Manifest | None:
        """The mirror's manifest, if it can be trusted; None where a mirror that nobody named fails."""
        try:
            manifest = mirror.manifest()
            self.cache.trust(manifest)
            return manifest
        except WbenchError as error:
            if mirror.named:
                raise
            self.note(f"{mirror.name} passed over: {error}")
            return None

    def _ask(self, mirror: Mirror) -> None:
        cache, manifest = self.cache, self._manifest(mirror)
        if manifest is None:
            return
        offered = self._offered(manifest)
        require_space(cache.folder, sum(entry.bytes for entry in offered))
        by_path = {shard.path: shard for shard in self.wanted}

        def arrived(entry: FileEntry) -> None:
            shard = by_path[entry.path]
            try:
                cache.require_ours(shard)
                entry = cache.witness(shard, entry)
                verified = cache.agreement(entry)
            except DataError:
                cache.path(shard).unlink()  # it was just brought here
                raise
            cache.keep({entry.path: Receipt(entry, mirror.name, mirror.revision, verified)})
            self._finish(shard, Obtained(entry.path, mirror.name, mirror.revision, entry.bytes, verified))

        try:
            mirror.fetch(offered, cache.folder, arrived, self.note)
        except (NetworkError, DataError) as error:
            if mirror.named:
                raise
            self.note(f"{mirror.name} passed over: {error}")

    def _record(self) -> None:
        cache = self.cache
        for shard, entry in record_all(cache.family, self._left(), cache.folder, self.jobs):
            agreed = cache.agreement(entry)
            verified = agreed if cache.pinned else "recorded"
            cache.keep({entry.path: Receipt(entry, BUILDER, None, verified)})
            self._finish(shard, Obtained(entry.path, BUILDER, None, entry.bytes, verified))

    def _report(self, manifest: Manifest | None) -> Report:
        digest = manifest.digest() if manifest else None
        files = tuple(self.done[shard.path] for shard in self.wanted)
        family, release = self.cache.family.name, self.cache.release
        return Report(family, release.name, release.version, self.cache.folder, digest, files, tuple(self.notes))
