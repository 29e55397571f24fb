"""A maintainer's check of a pull request that adds results: `python -P -m wbench.leaderboard.gate BASE..HEAD`.

It is run in a checkout of the base branch, with the base branch's code, and refuses to run elsewhere: else the pull request
would judge itself. `-P` keeps Python from importing what lies in the current folder. It reads the proposed files as git
objects: nothing is checked out, nothing of the pull request runs, no symlink is followed. It passes if all that changed since
the branches parted are additions of plain files under `leaderboard/results`, each in canonical form, named after its content,
valid to the tier `arithmetic`, and no play that is there already.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..console import note
from ..errors import InvalidValueError, ResultError, WbenchError, require
from .index.index import Index
from .reading import LARGEST, parse
from .store import Submission
from .verification.recompute import complaints

FOLDER = "leaderboard/results"
_RANGE = re.compile(r"([A-Za-z0-9][\w./@^~-]*?)\.\.\.?([A-Za-z0-9][\w./@^~-]*)")
_PLAIN = "100644"
_COMMAND = "python -P -m wbench.leaderboard.gate BASE..HEAD"
_MOST = 100  # files of one pull request


@dataclass(frozen=True)
class Change:
    """A path that a pull request touches: what happens to it (git's letter), its new mode, and its new content's id."""

    status: str
    mode: str
    blob: str
    path: str


def changes(base: str, head: str, folder: Path) -> list[Change]:
    """What changed in `head` since it left `base`; renames count as a deletion and an addition."""
    raw = _git(folder, "diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff", f"{base}...{head}", "--")
    parts = raw.decode("utf-8", errors="replace").split("\0")[:-1]
    found = []
    for about, path in zip(parts[::2], parts[1::2], strict=True):
        _, mode, _, blob, status = about.lstrip(":").split(" ")
        found.append(Change(status, mode, blob, path))
    return found


def complaint(change: Change, folder: Path, known: Callable[[str, str], str | None]) -> str | None:
    """Why a change may not be merged by this gate; None where it may.

    Args:
        change: what a pull request does.
        folder: the checkout.
        known: which other file has a play of this digest (`Submission.played`), asked for a file of this path.
    """
    name = change.path.removeprefix(f"{FOLDER}/")
    if change.status != "A":
        return f"is changed or deleted ({change.status}); results are only ever added"
    if name == change.path or "/" in name:
        return f"is not directly in {FOLDER}; a pull request adds results and nothing else"
    if change.mode != _PLAIN:
        return f"has mode {change.mode}, but must be a plain file ({_PLAIN}): no link, nothing executable"
    if int(_git(folder, "cat-file", "-s", change.blob)) > LARGEST:
        return f"is larger than {LARGEST >> 20} MB"
    content = _git(folder, "cat-file", "blob", change.blob)
    try:
        result = parse(content)
    except ResultError as error:
        return str(error)
    problem = next(complaints(result), None)
    if problem:
        return f"does not hold up: {problem}"
    wanted = Submission.of(result)
    if same := known(wanted.played, change.path):
        return f"is the play of {same} once more"
    if (name, content) != (wanted.name, wanted.content):
        return f"is not what wbench submit writes, which would be {wanted.name}"
    return None


def gate(span: str, folder: Path = Path()) -> list[str]:
    """Names of the results that a pull request adds.

    Args:
        span: `BASE..HEAD`.
        folder: the checkout.

    Raises:
        InvalidValueError: this is no range of commits.
        ResultError: it does not pass; the message names the first file and counts the others.
    """
    given = _RANGE.fullmatch(span)
    if given is None:
        raise InvalidValueError("the range", span, "BASE..HEAD, two branches, tags or commits")
    base, here = (_git(folder, "rev-parse", "--verify", f"{name}^{{commit}}") for name in (given[1], "HEAD"))
    if base != here:
        raise ResultError(f"the checkout is not at {given[1]}, so its code is not the base's. First: git checkout {given[1]}")
    found = changes(given[1], given[2], folder)
    if not 1 <= len(found) <= _MOST:
        raise ResultError(f"{len(found)} files changed in {span}; a pull request adds 1 to {_MOST} results.")
    plays: dict[str, str] = {}
    with Index(folder / FOLDER) as index:

        def known(played: str, path: str) -> str | None:
            """Of the store, or of the files before it in this pull request."""
            before = plays.setdefault(played, path)
            return index.same(played) or (None if before == path else before)

        refused = [f"{change.path!r} {why}" for change in found if (why := complaint(change, folder, known))]
    if refused:
        more = f" And {len(refused) - 1} more." if len(refused) > 1 else ""
        raise ResultError(f"{refused[0]}.{more}")
    return [change.path for change in found]


def _git(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        raise ResultError(f"git {arguments[0]} failed: {said[0] if said else done.returncode}")
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 and the accepted files, or 2 and the reason in one line."""
    try:
        require(len(arguments) == 1, "the range", " ".join(arguments), f"BASE..HEAD: {_COMMAND}")
        require(bool(sys.flags.safe_path), "the way it is run", "python", f"python -P: {_COMMAND}")
        accepted = gate(arguments[0])
    except WbenchError as error:
        note(str(error))
        return error.exit_code
    print("\n".join(accepted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
