"""What repositories are made of: files, commits, refusals, and how names for them are made and checked."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class RefusedError(Exception):
    """A request that the Hub answers with an error: HTTP status, `X-Error-Code`, message."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Given(dict[str, Any]):
    """A JSON object that a client sent: what it must hold is asked for by name and kind."""

    def need(self, name: str, kind: type[T]) -> T:
        """The value of a field; refused where it is missing or of another kind."""
        value = self.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RefusedError(400, f"{name!r} must be there and of type {kind.__name__}")
        return value

    def objects(self, name: str) -> list[Given]:
        """The value of a field that must be a list of objects."""
        found = self.need(name, list)
        if not all(isinstance(item, Given) for item in found):
            raise RefusedError(400, f"{name!r} must be a list of objects")
        return found


def parse(text: bytes) -> Given:
    """A JSON object, or a refusal."""
    try:
        found = json.loads(text, object_hook=Given)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON ({str(error)[:80]})") from error
    if not isinstance(found, Given):
        raise RefusedError(400, "the body is no JSON object")
    return found


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
