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
from typing import BinaryIO, NoReturn, Protocol, TypeVar

from ...errors import DataError, InvalidValueError, NetworkError
from ..family import Family
from .manifest import LARGEST, NAME, FileEntry, Manifest
from .paths import Note, inside, sha256, write_atomically
from .release import Release, dataset_folder

ATTEMPTS, PATIENCE = 4, 0.5  # tries a file; seconds before the second one, doubled each time
TIMEOUT = 30.0
_BLOCK = 1 << 20
T = TypeVar("T")
Arrived = Callable[[FileEntry], None]


class AbsentError(DataError):
    """A mirror that is well, but lacks what was asked for."""


class CorruptError(DataError):
    """Bytes that are not those of the manifest."""


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
    """A folder or URL that holds dataset folders, or is one: files are streams."""

    named = True
    revision: str | None = None

    def __init__(self, source: str, family: Family, release: Release) -> None:
        self.name = source
        self._inner = dataset_folder(family, release, Path()).name
        self._base = ""  # "" or the dataset folder's name and a slash

    def manifest(self) -> Manifest:
        """From SOURCE/FAMILY-RELEASE-vVERSION/, else from SOURCE itself."""
        for base in (f"{self._inner}/", ""):
            try:
                with self._open(base + NAME) as stream:
                    text = stream.read(LARGEST + 1)
            except AbsentError:
                continue
            except (OSError, http.client.HTTPException) as error:
                raise NetworkError(f"{self.name}: {error!r:.200}") from error
            if len(text) > LARGEST:
                raise DataError(f"{self.name}/{base}{NAME} is no valid manifest: larger than {LARGEST >> 20} MB.")
            self._base = base
            return Manifest.from_json(text.decode("utf-8", "replace"), f"{self.name}/{base}{NAME}")
        raise AbsentError(f"{self.name} holds neither {self._inner}/{NAME} nor {NAME}.")

    def fetch(self, wanted: Sequence[FileEntry], folder: Path, arrived: Arrived, note: Note) -> None:
        """File by file; what is verified is in place before the next one."""
        for entry in wanted:
            try:
                self._transfer(entry, inside(folder, entry.path), note)
            except AbsentError as error:
                note(str(error))
                continue
            arrived(entry)

    def _open(self, path: str) -> BinaryIO:
        """A stream of a file."""
        raise NotImplementedError

    def _transfer(self, entry: FileEntry, target: Path, note: Note) -> None:
        patiently(lambda: write_atomically(target, lambda beside: self._receive(entry, beside)), note)

    def _receive(self, entry: FileEntry, path: Path) -> None:
        """Write a file, and raise unless it is the promised one; stops one byte past the promised size."""
        digest = hashlib.sha256()
        with self._open(self._base + entry.path) as stream, path.open("wb") as out:
            for block in _blocks(stream, entry.bytes + 1, f"{self.name} broke off in {entry.path}"):
                out.write(block)
                digest.update(block)
        if digest.hexdigest() != entry.sha256:
            raise CorruptError(f"{entry.path} from {self.name} is corrupt: its SHA-256 is not the manifest's.")


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


def pauses() -> Iterator[float]:
    """Seconds to wait before each attempt: none, then doubling with some jitter."""
    yield 0.0
    for attempt in range(ATTEMPTS - 1):
        yield PATIENCE * 2**attempt * (1 + random.random() / 4)


def patiently(ask: Callable[[], T], note: Note = lambda _: None, hopeless: Callable[[], bool] = lambda: False) -> T:
    """What is asked of a mirror; again after a pause where it cannot be reached, or sends what is corrupt, which is noted."""
    failure: NetworkError | DataError = NetworkError("a mirror gave nothing.")
    for pause in pauses():
        time.sleep(pause)
        try:
            return ask()
        except CorruptError as error:
            failure = error
            note(f"{failure} It is asked for again.")
        except NetworkError as error:
            failure = error
            if hopeless():
                break
    raise failure


def verified(path: Path, entry: FileEntry) -> bool:
    """Whether a file has the size and SHA-256 of its entry."""
    return path.stat().st_size == entry.bytes and sha256(path) == entry.sha256


class FolderMirror(StreamMirror):
    """A folder, such as a mounted share or another machine's cache."""

    def _open(self, path: str) -> BinaryIO:
        try:
            return inside(Path(self.name).expanduser(), path).open("rb")  # never a pipe, which would be waited for
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AbsentError(f"{path} is not in {self.name}.") from error
        except OSError as error:
            raise DataError(f"cannot read {path} in {self.name} ({error.strerror}).") from error


class UrlMirror(StreamMirror):
    """A web server with plain files."""

    def _open(self, path: str) -> BinaryIO:
        url = f"{self.name.rstrip('/')}/{urllib.parse.quote(path)}"
        try:
            return urllib.request.urlopen(url, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            _refused(error, url)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError: no route, no name, refused, timed out
            raise NetworkError(f"cannot reach {self.name} ({getattr(error, 'reason', error)}).") from error
        except ValueError as error:
            raise InvalidValueError("--from", self.name, f"a URL ({error})") from error


def _refused(error: urllib.error.HTTPError, url: str) -> NoReturn:
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
