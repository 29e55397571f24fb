"""Repositories in a folder: blobs named by their SHA-256, immutable commits, refs that move under one lock.

    blobs/ab/abcdef...                    the bytes of every file, once
    datasets/NAMESPACE/NAME/repo.json     {"private": false, "created": "..."}
    datasets/NAMESPACE/NAME/commits/SHA   a commit as JSON: parents, author, date, title, and path -> blob of *every* file
    datasets/NAMESPACE/NAME/refs/*/NAME   heads, tags and pr: the SHA that a name stands for
    datasets/NAMESPACE/NAME/pulls/N       a discussion or pull request as JSON (see pulls.py)

Files are written beside and renamed, so that a killed server leaves either the old state or the new one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from .objects import Commit, File, Given, RefusedError, git_oid, now, pointer, safe_path, write

KINDS = ("models", "datasets", "spaces")
_NAME = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REF = re.compile(r"(?!.*(\.\.|//|@\{))[A-Za-z0-9_][\w./+@-]{0,127}", re.ASCII)
_LONGEST_REF = 200  # bytes of a ref's file, which a disk takes also with what is written beside it
_SHA, _SHORT_SHA = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{7,40}")
_ATTRIBUTES = "".join(f"*.{end} filter=lfs diff=lfs merge=lfs -text\n" for end in ("parquet", "safetensors", "arrow", "npz"))


class Hub:
    """All repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()  # one server a folder; every change of a ref happens under it

    def blob(self, sha256: str) -> Path:
        """Where the content with this SHA-256 is or would be."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise RefusedError(400, f"{sha256!r} is no SHA-256")
        return self.folder / "blobs" / sha256[:2] / sha256

    def scratch(self) -> Path:
        """A place to receive content at."""
        return self.folder / "tmp" / secrets.token_hex(8)

    def accept(self, scratch: Path, sha256: str) -> None:
        """Make what was received a blob if its SHA-256 is the promised one; refuse and drop it otherwise."""
        blob = self.blob(sha256)
        try:
            with scratch.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise RefusedError(400, f"the content received has SHA-256 {found}, not {sha256}")
            blob.parent.mkdir(parents=True, exist_ok=True)
            scratch.replace(blob)
        finally:
            scratch.unlink(missing_ok=True)

    def keep(self, data: bytes) -> File:
        """Store the content of a regular file."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.blob(sha256).exists():
            scratch = self.scratch()
            scratch.write_bytes(data)
            self.accept(scratch, sha256)
        return File(sha256, len(data), git_oid(data), lfs=False)

    def uploaded(self, sha256: str) -> File:
        """An LFS file that was uploaded before."""
        if not self.blob(sha256).exists():
            raise RefusedError(400, f"the LFS object {sha256} was never uploaded")
        size = self.blob(sha256).stat().st_size
        return File(sha256, size, git_oid(pointer(sha256, size).encode()), lfs=True)

    def repo(self, kind: str, namespace: str, name: str) -> Repo:
        """A repository by name, whether it exists or not."""
        if kind not in KINDS or not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise RefusedError(400, f"'{kind}/{namespace}/{name}' is no name of a repository")
        return Repo(self, kind, f"{namespace}/{name}")

    def repos(self, kind: str) -> list[Repo]:
        """All repositories of a kind."""
        found = sorted((self.folder / kind).glob("*/*/repo.json"))
        return [self.repo(kind, path.parts[-3], path.parts[-2]) for path in found]


@dataclass(frozen=True)
class Repo:
    """One repository."""

    hub: Hub
    kind: str
    id: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.hub.folder / self.kind / self.id

    @property
    def exists(self) -> bool:
        """Whether it was created."""
        return (self.folder / "repo.json").exists()

    @property
    def settings(self) -> dict[str, Any]:
        """`private` and `created`."""
        return json.loads((self.folder / "repo.json").read_text(encoding="utf-8"))

    def create(self, author: str, private: bool) -> None:
        """Make it, with a first commit as the Hub does."""
        with self.hub.lock:
            if self.exists:
                raise RefusedError(409, f"You already created this {self.kind.removesuffix('s')} repo: {self.id}")
            files = {".gitattributes": self.hub.keep(_ATTRIBUTES.encode())}
            self.add_commit("heads/main", files, author, "initial commit")
            self.set(private=private, created=now())

    def set(self, **settings: Any) -> None:
        """Change settings."""
        write(self.folder / "repo.json", json.dumps((self.settings if self.exists else {}) | settings))

    def delete(self) -> None:
        """Remove it; its blobs stay, since others may share them."""
        with self.hub.lock:
            shutil.rmtree(self.folder)

    # refs: "heads/main", "tags/v1.0.0", "pr/1"; each a file, its name quoted so that it cannot leave the folder

    def _ref(self, ref: str) -> Path:
        space, name = ref.split("/", 1)
        return self.folder / "refs" / space / quote(name, safe="")

    def ref(self, ref: str) -> str | None:
        """The commit that a ref names."""
        path = self._ref(ref)
        there = len(path.name) <= _LONGEST_REF and path.is_file()
        return path.read_text(encoding="utf-8") if there else None

    def refs(self, space: str) -> dict[str, str]:
        """All refs of `heads`, `tags` or `pr`."""
        paths = (path for path in sorted((self.folder / "refs" / space).glob("*")) if path.suffix != ".tmp")
        return {unquote(path.name): path.read_text(encoding="utf-8") for path in paths}

    def set_ref(self, ref: str, sha: str, new: bool = False) -> None:
        """Point a ref at a commit; `new` refuses to move one."""
        odd = not _REF.fullmatch(ref.split("/", 1)[1]) or ref.endswith((".tmp", ".lock", "/", "."))
        if odd or len(self._ref(ref).name) > _LONGEST_REF:
            raise RefusedError(400, f"{ref!r} is no name of a ref")
        with self.hub.lock:
            if new and self.ref(ref):
                raise RefusedError(409, f"Reference {ref} already exists")
            write(self._ref(ref), sha)

    def delete_ref(self, ref: str) -> None:
        """Remove a branch or tag."""
        with self.hub.lock:
            if not self.ref(ref):
                raise self.no_revision(ref)
            if ref == "heads/main":
                raise RefusedError(403, "the main branch cannot be deleted")
            self._ref(ref).unlink()

    def no_revision(self, revision: str) -> RefusedError:
        """The refusal for an unknown revision."""
        return RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def branch(self, revision: str) -> str:
        """The ref that a commit to this revision moves."""
        for ref in (f"heads/{revision}", revision.removeprefix("refs/")):
            if ref.startswith(("heads/", "pr/")) and self.ref(ref):
                return ref
        raise self.no_revision(revision)

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, tag, `refs/pr/N` or SHA."""
        for ref in (f"heads/{revision}", f"tags/{revision}", revision.removeprefix("refs/")):
            if ref.startswith(("heads/", "tags/", "pr/")) and (sha := self.ref(ref)):
                return self.commit(sha)
        if _SHORT_SHA.fullmatch(revision):
            found = list((self.folder / "commits").glob(f"{revision}*"))
            if len(found) == 1 and _SHA.fullmatch(found[0].name):
                return self.commit(found[0].name)
        raise self.no_revision(revision)

    def commit(self, sha: str) -> Commit:
        """A commit by its full SHA."""
        data = json.loads((self.folder / "commits" / sha).read_text(encoding="utf-8"))
        files = {path: File(**file) for path, file in data.pop("files").items()}
        return Commit(sha=sha, parents=tuple(data.pop("parents")), files=files, **data)

    def log(self, sha: str) -> Iterator[Commit]:
        """A commit and its ancestors, newest first along the first parents."""
        while sha:
            commit = self.commit(sha)
            yield commit
            sha = commit.parents[0] if commit.parents else ""

    def add_commit(
        self, ref: str, files: dict[str, File], author: str, title: str, message: str = "", merged: str = ""
    ) -> Commit:
        """Write a commit and move a ref to it; call it under the lock."""
        head = self.ref(ref)
        parents = [sha for sha in (head, merged) if sha]
        body = {"parents": parents, "author": author, "date": now(), "title": title, "message": message}
        text = json.dumps(body | {"files": {path: asdict(files[path]) for path in sorted(files)}}, indent=0)
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        write(self.folder / "commits" / sha, text)
        self.set_ref(ref, sha)
        return self.commit(sha)

    def check_parent(self, ref: str, parent: str) -> None:
        """Refuse if a ref has moved on from the commit (or start of a SHA) that the client knows."""
        if parent and not (self.ref(ref) or "").startswith(parent.lower()):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")

    def edited(self, ref: str, edits: Iterable[Edit]) -> dict[str, File]:
        """What the files of a ref become by some edits."""
        files = dict(self.resolve(f"refs/{ref}").files)
        for edit in edits:
            edit(files)
        for path in files:
            if any(parent in files for parent in _parents(path)):
                raise RefusedError(400, f"{path!r} lies under a file, not a folder")
        return files

    def edit(self, key: str, value: Given) -> Edit:
        """One line of a commit as a change of path -> file; stores the content, outside the lock."""
        if key in ("file", "lfsFile"):
            path = safe_path(value.need("path", str))
            file = self.hub.keep(_content(value)) if key == "file" else self.hub.uploaded(value.need("oid", str))
            if value.get("size", file.size) != file.size:
                raise RefusedError(400, f"{path!r} has {file.size} bytes, not {value['size']}")
            return lambda files: files.update({path: file})
        if key == "deletedFile":
            gone = value.need("path", str)
            return lambda files: self._delete(files, gone, lambda path: path == gone)
        if key == "deletedFolder":
            folder = value.need("path", str).rstrip("/") + "/"
            return lambda files: self._delete(files, folder, lambda path: path.startswith(folder))
        raise RefusedError(400, f"unknown operation {key!r} in a commit")

    def _delete(self, files: dict[str, File], given: str, matches: Callable[[str], bool]) -> None:
        gone = [path for path in files if matches(path)]
        if not gone:
            raise RefusedError(404, f"A file with this name doesn't exist: {given}", "EntryNotFound")
        for path in gone:
            del files[path]


Edit = Callable[[dict[str, File]], None]


def _content(value: Given) -> bytes:
    try:
        return base64.b64decode(value.need("content", str), validate=True)
    except ValueError as error:
        raise RefusedError(400, f"the content of a file is no base64 ({error})") from error


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))
