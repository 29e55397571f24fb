"""Where files of a release can come from: a folder, a URL, a Hub repository. What arrives is verified before it gets its name.

A mirror has a manifest and hands over files; it decides nothing. To add one, write a class with the two methods of `Mirror`.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from ...errors import DataError, InvalidValueError, NetworkError
from ..family import Family
from .manifest import NAME, FileEntry, Manifest
from .paths import Note, inside
from .release import Release, dataset_folder

ATTEMPTS, PATIENCE = 4, 0.5  # tries a file; seconds before the second one, doubled each time
TIMEOUT = 30.0
_BLOCK = 1 << 20
Arrived = Callable[[FileEntry], None]


class AbsentError(DataError):
    """A mirror that is well, but lacks what was asked for."""


class Mirror(Protocol):
    """A source of files.

    Attributes:
        name: what reports call it.
        named: whether the user named it: then its failure is the command's, else the next mirror is asked.
        revision: commit of a Hub repository, once known.
    """

    name: str
    named: bool
    revision: str | None

    def manifest(self) -> Manifest:
        """The manifest of the release.

        Raises:
            AbsentError: it has no such release.
            DataError: what it has is damaged, or we have no rights.
            NetworkError: it cannot be reached.
        """

    def fetch(self, wanted: Sequence[FileEntry], folder: Path, arrived: Arrived, note: Note) -> None:
        """Bring files into a folder, and call `arrived` after each is verified and in place. Files it lacks are skipped."""


class StreamMirror:
    """A folder or URL that holds dataset folders, or is one: files are streams, read from any offset."""

    revision: str | None = None

    def __init__(self, source: str, family: Family, release: Release, named: bool = True) -> None:
        self.name, self.named = source, named
        self._inner = dataset_folder(family, release, Path()).name
        self._base = ""  # "" or the dataset folder's name and a slash

    def manifest(self) -> Manifest:
        """From SOURCE/FAMILY-RELEASE-vVERSION/, else from SOURCE itself."""
        for base in (f"{self._inner}/", ""):
            try:
                with self._open(base + NAME, 0)[0] as stream:
                    text = stream.read(64 << 20)
            except AbsentError:
                continue
            except (OSError, http.client.HTTPException) as error:
                raise NetworkError(f"{self.name}: {error!r:.200}") from error
            self._base = base
            return Manifest.from_json(text.decode("utf-8", "replace"), f"{self.name}/{base}{NAME}")
        raise AbsentError(f"{self.name} holds neither {self._inner}/{NAME} nor {NAME}.")

    def fetch(self, wanted: Sequence[FileEntry], folder: Path, arrived: Arrived, note: Note) -> None:
        """File by file; a `.part` beside the target lets an interrupted one go on."""
        for entry in wanted:
            try:
                self._transfer(entry, inside(folder, entry.path), note)
            except AbsentError as error:
                note(str(error))
                continue
            arrived(entry)

    def _open(self, path: str, offset: int) -> tuple[BinaryIO, int]:
        """A stream of a file, and the offset at which it starts (0 where the source cannot skip)."""
        raise NotImplementedError

    def _transfer(self, entry: FileEntry, target: Path, note: Note) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        failure: NetworkError | DataError = NetworkError(f"{self.name} gave nothing of {entry.path}.")
        for pause in pauses():
            time.sleep(pause)
            try:
                self._continue(entry, part)
            except NetworkError as error:
                failure = error
                continue
            except OSError:  # of our own disk
                part.unlink(missing_ok=True)
                raise
            if verified(part, entry):
                part.replace(target)
                return
            part.unlink()
            failure = DataError(f"{entry.path} from {self.name} is corrupt: its SHA-256 is not the manifest's.")
            note(f"{failure} It is fetched again.")
        raise failure

    def _continue(self, entry: FileEntry, part: Path) -> None:
        """Append what is missing to a part file; stops one byte past the promised size."""
        have = part.stat().st_size if part.exists() else 0
        if have >= entry.bytes:
            return
        stream, offset = self._open(self._base + entry.path, have)
        with stream, part.open("r+b" if offset else "wb") as out:
            out.seek(offset)
            for block in _blocks(stream, entry.bytes + 1 - offset, f"{self.name} broke off in {entry.path}"):
                write_block(out, block)


def _blocks(stream: BinaryIO, room: int, failure: str) -> Iterator[bytes]:
    """At most so many bytes; a stream that ends before its announced length is the network's fault, not the file's."""
    while room > 0:
        try:
            block = stream.read1(min(_BLOCK, room))  # type: ignore[attr-defined]
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(f"{failure} ({error!r:.80}).") from error
        if not block:
            if getattr(stream, "length", 0):  # http.client: bytes that were announced and have not come
                raise NetworkError(f"{failure}, {getattr(stream, 'length', 0)} bytes before its end.")
            return
        room -= len(block)
        yield block


def write_block(out: BinaryIO, block: bytes) -> None:
    """One piece of a download to our disk; flushed, so that a killed process loses no piece."""
    out.write(block)
    out.flush()


def pauses() -> Iterator[float]:
    """Seconds to wait before each attempt: none, then doubling with some jitter."""
    yield 0.0
    for attempt in range(ATTEMPTS - 1):
        yield PATIENCE * 2**attempt * (1 + random.random() / 4)


def verified(path: Path, entry: FileEntry) -> bool:
    """Whether a file has the size and SHA-256 of its entry."""
    if path.stat().st_size != entry.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256


class FolderMirror(StreamMirror):
    """A folder, such as a mounted share or another machine's cache."""

    def _open(self, path: str, offset: int) -> tuple[BinaryIO, int]:
        try:
            stream = inside(Path(self.name), path).open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AbsentError(f"{path} is not in {self.name}.") from error
        except OSError as error:
            raise DataError(f"cannot read {path} in {self.name} ({error.strerror}).") from error
        stream.seek(offset)
        return stream, offset


class UrlMirror(StreamMirror):
    """A web server with plain files; ranged requests let it resume."""

    def _open(self, path: str, offset: int) -> tuple[BinaryIO, int]:
        url = f"{self.name.rstrip('/')}/{urllib.parse.quote(path)}"
        try:
            request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
            answer = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            _refused(error, url)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError: no route, no name, refused, timed out
            raise NetworkError(f"cannot reach {self.name} ({getattr(error, 'reason', error)}).") from error
        except ValueError as error:
            raise InvalidValueError("--from", self.name, f"a URL ({error})") from error
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        return answer, offset if answer.status == 206 and begins else 0


def _refused(error: urllib.error.HTTPError, url: str) -> None:
    if error.code in (404, 410):
        raise AbsentError(f"{url} does not exist ({error.code}).") from error
    if error.code in (401, 403):
        raise DataError(f"no rights to read {url} ({error.code}).") from error
    if error.code == 429 or error.code >= 500:
        wait = error.headers.get("Retry-After", "")
        time.sleep(min(float(wait), 30.0) if wait.isdigit() else 0.0)
        raise NetworkError(f"{url} answers {error.code} {error.reason}.") from error
    raise DataError(f"{url} answers {error.code} {error.reason}.") from error


def mirror_of(source: str, family: Family, release: Release) -> Mirror:
    """The mirror that `--from` names: a folder or an http(s) URL."""
    if source.startswith(("http://", "https://")):
        return UrlMirror(source, family, release)
    if not Path(source).is_dir():
        raise InvalidValueError("--from", source, "a folder that exists, or a URL that starts with http:// or https://")
    return FolderMirror(source, family, release)
