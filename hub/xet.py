"""Uploads by xet: a directory for each, in the local format of hf_xet, from which files move to the Hub's own blobs.

hf_xet accepts `local:///abs/dir` in place of a storage server and then writes chunks ("xorbs") and an index ("shards")
into that directory itself. It holds a lock on the directory's database for as long as the client lives, hence one
directory an upload and a copy of the database to read from.
"""

from __future__ import annotations

import secrets
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LIFETIME = 24 * 3600  # seconds that an upload may take from its token to its commit


class Found(NamedTuple):
    """A file in the inbox: its directory, its xet hash, its size in bytes."""

    folder: Path
    xet_hash: str
    size: int


class Inbox:
    """Directories that clients upload into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for old in folder.glob("*"):
            if time.time() - old.stat().st_mtime > LIFETIME:
                shutil.rmtree(old, ignore_errors=True)

    def new(self) -> Path:
        """A directory for one upload."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def find(self, sha256: str) -> Found | None:
        """Where a file was uploaded to."""
        for shard in self.folder.glob("*/xet/xorbs/shards/*.mdb"):
            for found_sha256, xet_hash, size in shard_files(shard.read_bytes()):
                if found_sha256 == sha256:
                    return Found(shard.parents[3], xet_hash, size)
        return None

    def fetch(self, found: Found, out: Path) -> None:
        """Put a file together from its chunks."""
        import hf_xet  # starts threads of its own: only when it is needed

        source = found.folder / "xet" / "xorbs"
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="read-") as scratch:
            copy = Path(scratch, "xet", "xorbs")
            copy.mkdir(parents=True)
            for name in ("shards", "xorbs"):
                (copy / name).symlink_to(source / name)
            for database in source.glob("*.redb"):
                shutil.copy(database, copy)
            with hf_xet.XetSession().new_file_download_group(
                endpoint=f"local://{scratch}",
                token="unused",
                token_expiry_unix_secs=int(time.time()) + LIFETIME,
                token_refresh_url="http://localhost/unused",
                token_refresh_headers={},
                custom_headers={},
                progress_callback=None,
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(found.xet_hash, found.size), str(out))


def shard_files(data: bytes) -> Iterator[tuple[str, str, int]]:
    """SHA-256, xet hash and size of every file in a shard.

    Source: the shard format of the xet protocol (huggingface.co/docs/xet/shard), in records of 48 bytes: after the
    header, each file has a head (hash, flags, number of segments), its segments, as many verification records if bit
    31 is set, and its SHA-256 if bit 30 is; a head of 32 bytes 0xff ends the list.
    """
    step, at = 48, 48
    while data[at : at + 32] != b"\xff" * 32 and at + step <= len(data):
        xet_hash, flags, count = struct.unpack_from("<32sII", data, at)
        segments = range(at + step, at + step * (1 + count), step)
        size = sum(struct.unpack_from("<I", data, segment + 36)[0] for segment in segments)
        at += step * (1 + count * (2 if flags >> 31 else 1))
        if flags >> 30 & 1:
            yield _hex(data[at : at + 32]), _hex(xet_hash), size
            at += step


def _hex(data: bytes) -> str:
    """A hash as xet prints it: four little-endian words of 64 bits."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", data))
