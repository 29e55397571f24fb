"""Files as the Hub lists them, and which of them go to LFS."""

from __future__ import annotations

import base64
import codecs
import hashlib
from pathlib import PurePosixPath
from typing import Any

from .objects import Commit, File, RefusedError, pointer

LFS_ENDINGS = {
    *(".parquet", ".safetensors", ".arrow", ".npz", ".npy", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx"),
    *(".zip", ".gz", ".tar", ".xz", ".zst", ".7z", ".mdb"),
}
LFS_SIZE = 10_000_000  # bytes above which every file goes to LFS


def is_lfs(path: str, size: int, sample: str) -> bool:
    """Whether a file goes to LFS: by its ending, its size, or because its first 512 bytes (in base64) are no text."""
    if PurePosixPath(path).suffix.lower() in LFS_ENDINGS or size > LFS_SIZE:
        return True
    try:
        head = base64.b64decode(sample)
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return True
    except ValueError as error:
        raise RefusedError(400, f"the sample of {path!r} is no base64 ({error})") from error
    return b"\0" in head


def file_entry(path: str, file: File) -> dict[str, Any]:
    """A file in a listing."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.lfs:
        size = len(pointer(file.sha256, file.size))
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": size}
    return entry


def folder_entries(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """What lies in a folder ("" for the root), folders first."""
    prefix = f"{folder}/" if folder else ""
    below = {path: file for path, file in commit.files.items() if path.startswith(prefix)}
    if not below and folder:
        raise RefusedError(404, f"{folder!r} does not exist", "EntryNotFound", X_Repo_Commit=commit.sha)
    oids: dict[str, str] = {}  # folder -> hash over what it holds
    for path, file in sorted(below.items()):
        for parent in list(PurePosixPath(path).parents)[:-1]:
            if len(str(parent)) > len(folder):
                text = f"{oids.get(str(parent), '')} {path} {file.oid}"
                oids[str(parent)] = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    folders = [{"type": "directory", "path": path, "size": 0, "oid": oid} for path, oid in sorted(oids.items())]
    entries = folders + [file_entry(path, file) for path, file in below.items()]
    return [entry for entry in entries if recursive or "/" not in entry["path"][len(prefix) :]]
