"""The build backend: setuptools, but an editable install puts a folder with one link to the checkout on the path.

setuptools would map the checkout to the name wbench by an import hook. A folder called wbench in the current one hides what a
hook finds, and type checkers and editors follow paths, not hooks.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - all other hooks are setuptools' own

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".editable"


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable install; where links cannot be made, as setuptools does."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    link = FOLDER / "wbench"
    try:
        FOLDER.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to("..", target_is_directory=True)
    except OSError:
        return name
    wheel = Path(wheel_directory, name)
    with zipfile.ZipFile(wheel) as old:
        files = {info: old.read(info) for info in old.namelist() if not info.startswith("__editable__")}
    files["wbench-editable.pth"] = f"{FOLDER}\n".encode()
    record = next(path for path in files if path.endswith(".dist-info/RECORD"))
    files[record] = b""
    lines = [f"{path},{_digest(content)},{len(content)}" for path, content in files.items() if path != record]
    files[record] = "\n".join([*lines, f"{record},,\n"]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for path, content in files.items():
            new.writestr(path, content)
    return name


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
