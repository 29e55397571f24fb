"""The leaderboard as a page: one file that needs no server and loads nothing, and the front matter of a static Space.

The sources are in `page/`: a template, style sheets and scripts, put into one file as they are. What a result says reaches the
page as JSON that cannot end its script element, becomes text nodes there, and a Content-Security-Policy lets nothing run but
the scripts of this package and nothing load at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ...benchmark.data.paths import possible, write_text
from ...errors import OutputError
from ..index.entry import Entry
from .model import model

_SOURCES = Path(__file__).parent
_STYLES = ("page.css", "table.css", "figures.css")
_SCRIPTS = ("dom.js", "table.js", "details.js", "figures.js", "spread.js", "heat.js", "app.js")
_MARK = "Made by wbench"
_SPACE = """\
---
title: wbench leaderboard
sdk: static
app_file: index.html
pinned: false
license: apache-2.0
short_description: Multi-agent RL for wireless networks, few-shot
---

The leaderboard of wbench: multi-agent reinforcement learning for wireless networks, from offline data and few shots. The
page is one file, made by `wbench leaderboard --html DIR` from result files that anyone can verify with `wbench results verify`.
"""


def write(entries: Sequence[Entry], folder: Path) -> Path:
    """Write the page of these entries: `index.html`, and the `README.md` that makes the folder a static Space.

    Args:
        entries: rows, ranked and not.
        folder: made where it does not exist; other files in it are left alone.

    Returns:
        The page, one self-contained file.

    Raises:
        OutputError: the folder cannot be written, or holds a page or README.md that is somebody else's.
    """
    page = folder / "index.html"
    with possible(f"write the page into {str(folder)!r}", "Give a folder you may write to."):
        for path, mark in ((page, _MARK), (folder / "README.md", _SPACE[:40])):
            _require_ours(path, mark)
        write_text(page, render(entries))
        write_text(folder / "README.md", _SPACE)
    return page


def _require_ours(path: Path, mark: str) -> None:
    """Raise an error where a path is taken by something that this module did not write; the mark may stand at a page's end."""
    taken = path.exists() or path.is_symlink()
    if taken and (path.is_symlink() or not path.is_file() or mark not in path.read_text(encoding="utf-8", errors="replace")):
        raise OutputError(f"{str(path)!r} is not of wbench, and was left as it is. Give another folder.")


def render(entries: Sequence[Entry]) -> str:
    """The page's HTML."""
    style = "\n".join(_source(name) for name in _STYLES)
    script = "\n".join(['"use strict";', *map(_source, _SCRIPTS)])
    parts = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": embedded(model(entries)),
        "made": html.escape(f"{_MARK} {version('wbench')} from {len(entries)} result files."),
    }
    # One pass over the template alone: what is put in is never searched for marks.
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _source("template.html"))


def embedded(data: object) -> str:
    """JSON that is safe inside a script element, whatever the strings in it are."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: no line separators that scripts trip over
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which these two run and nothing else does or loads."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")
