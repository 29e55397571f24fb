"""Where data lies on disk, and how it is written: beside the target and renamed, under a lock, one line for a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import DataError, OutputError, require

Note = Callable[[str], None]
SEAL = "seal.json"
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe is not waited for, on any system
_ELSEWHERE = "Use another folder: WBENCH_HOME=DIR, or --to DIR where the command has it."


def home() -> Path:
    """Where wbench keeps data: `WBENCH_HOME`, else the user's cache folder; raises `InvalidValueError` without a home."""
    from platformdirs import user_cache_path

    given = os.environ.get("WBENCH_HOME")
    folder = os.path.expanduser(given or str(user_cache_path("wbench")))  # noqa: PTH111 - raises nothing without a home
    require(not folder.startswith("~"), "WBENCH_HOME", given or "", "the path of a folder: no home folder is known here")
    return Path(folder)


def datasets_root(root: Path | None = None) -> Path:
    """The folder that holds the dataset folders: `WBENCH_DATASETS`, else a part of `home`."""
    given = os.environ.get("WBENCH_DATASETS")
    return root or (Path(given) if given else home() / "datasets")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the target and rename, so that a killed run never leaves half a file under the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(temporary))
        Path(temporary).chmod(shared_mode())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def shared_mode() -> int:
    """The permissions that the user's umask gives to a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_rows(path: Path, rows: Mapping[str, object]) -> None:
    """Write a JSON object, a line an entry, sorted by name: a table that people compare by line."""
    lines = [f" {json.dumps(name)}: {json.dumps(rows[name])}" for name in sorted(rows)]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_text(path: Path, most: int = 64 << 20) -> str:
    """The text of a regular file.

    Raises:
        OSError: it cannot be read, has more than so many bytes, or is a pipe or a device, which is not waited for.
        UnicodeDecodeError: it is no UTF-8.
    """
    return read_bytes(path, most).decode()


def read_bytes(path: Path, most: int) -> bytes:
    """The same as bytes."""
    with open(os.open(path, _READ_ONLY), "rb") as stream:  # noqa: PTH123 - by its descriptor
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
    return content


def require_ours(path: Path, marks: Sequence[bytes], hint: str) -> None:
    """Raise `OutputError` where a path is taken by what does not begin with something that bears one of wbench's marks.

    Args:
        path: where something will be written.
        marks: one of which a file of wbench has in its first 64 kB; none = nothing may be there at all.
        hint: what to do about it.
    """
    if not os.path.lexists(path):
        return
    if marks and path.is_file() and not path.is_symlink():
        with path.open("rb") as stream:
            begin = stream.read(1 << 16)
            if not begin or any(mark in begin for mark in marks):  # an empty one is what a killed process left
                return
    raise OutputError(f"{str(path)!r} exists already, and was left as it is. {hint}")


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left beside the files of a folder; only under its lock."""
    for path in folder.glob("*/*/.*.parquet.*"):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path, about: object) -> None:
    """Write down what a folder was made from, and the SHA-256 of every file in it."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
    write_text(folder / SEAL, json.dumps({"about": about, "files": files}))


def sealed(folder: Path) -> object | None:
    """What a folder was made from; None where it has no seal, or where its files are not those that were sealed."""
    try:
        written = json.loads(read_text(folder / SEAL))
        files, about = dict(written["files"]), written["about"]
        there = {path.name for path in folder.iterdir()} - {SEAL}
        return about if there == set(files) and all(sha256(folder / name) == files[name] for name in files) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may not exist yet."""
    there = nearest(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def inside(folder: Path, relative: str) -> Path:
    """The file of this relative path; raises `DataError` where a symlink would lead out of the folder, or it is no file."""
    path = folder / relative
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise DataError(f"{path} leads out of {folder} by a symlink. Nothing was read or written there.")
    if os.path.lexists(path) and not path.is_file():  # a pipe, a folder, a symlink to itself
        raise DataError(f"{path} is no file, and was left as it is. Move it away.")
    return path


def require_space(folder: Path, size: int) -> None:
    """Raise `OutputError` unless the disk of a folder, which may not exist yet, has room for so many bytes."""
    free = shutil.disk_usage(nearest(folder)).free
    if free < size:
        raise OutputError(f"no space: {size / 1e6:.1f} MB are needed in {folder}, {free / 1e6:.1f} MB are free. {_ELSEWHERE}")


@contextmanager
def possible(what: str, hint: str) -> Iterator[None]:
    """Turn an error of the system into one `OutputError`: `cannot WHAT (its reason). HINT`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot {what} ({error.strerror}). {hint}") from error


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock for one process; one that is killed lets go.

    Raises:
        OutputError: with the text of `busy`: another process holds it.
        OSError: no file can be made there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not path.exists():  # some file systems take no new file, and do not say so
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
        raise OutputError(busy) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk, a read-only one or missing rights into one `OutputError`."""
    try:
        yield
    except OSError as error:
        full = re.search(r"No space left|\d+ requested and \d+ written", str(error))  # Arrow's, NumPy's
        reason = errno.ENOSPC if full else error.errno
        if reason in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"no space left in {folder}; finished files are kept. Make room. {_ELSEWHERE}") from error
        if reason in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT):
            where = error.filename or folder
            raise OutputError(f"cannot write in {folder} ({os.strerror(reason)}: {where}). {_ELSEWHERE}") from error
        raise


@contextmanager
def locked(folder: Path, note: Note) -> Iterator[None]:
    """Hold a folder alone: of two processes the second waits, then finds what the first one made. A killed one lets go."""
    from filelock import FileLock, Timeout

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            note(f"another process works on {folder}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
