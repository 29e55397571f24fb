"""What repositories are made of: files, commits, refusals, and how names for them are made and checked."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


class RefusedError(Exception):
    """A request that the Hub answers with an error: HTTP status, `X-Error-Code`, message."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class File:
    """A file of a commit; `oid` is what git would call it (of the pointer, if it is in LFS)."""

    sha256: str
    size: int
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the Hub names the content by: SHA-256 in LFS, git's SHA-1 otherwise."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """An immutable state of a repository."""

    sha: str
    parents: tuple[str, ...]
    author: str
    date: str
    title: str
    message: str
    files: dict[str, File]


def now() -> str:
    """The time as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def pointer(sha256: str, size: int) -> str:
    """The text that git keeps in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


def git_oid(data: bytes) -> str:
    """What git calls a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def write(path: Path, text: str) -> None:
    """Write a file so that readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def safe_path(path: str) -> str:
    """A path inside a repository, or a refusal: clients write these paths to their own disks."""
    parts = path.split("/")
    if any(part in ("", ".", "..", ".git") for part in parts) or "\\" in path or not path.isprintable() or len(path) > 1024:
        raise RefusedError(400, f"{path!r} is no path inside a repository")
    return path
