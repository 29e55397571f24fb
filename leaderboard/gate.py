"""A maintainer's check of a pull request that adds results: `python -m wbench.leaderboard.gate BASE..HEAD`, in the checkout.

It reads the proposed files as git objects: nothing is checked out, nothing of the pull request runs, no symlink is followed. It
passes if all that changed since the branches parted are additions of plain files under `leaderboard/results`, each in canonical
form, named after its content, and valid to the tier `arithmetic`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidValueError, ResultError, WbenchError
from .reading import LARGEST, parse
from .store import Submission
from .verification.recompute import complaints

FOLDER = "leaderboard/results"
_RANGE = re.compile(r"([A-Za-z0-9][\w./@^~-]*?)\.\.\.?([A-Za-z0-9][\w./@^~-]*)")
_PLAIN = "100644"
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


def complaint(change: Change, folder: Path) -> str | None:
    """Why a change may not be merged by this gate; None where it may."""
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
    found = changes(given[1], given[2], folder)
    if not 1 <= len(found) <= _MOST:
        raise ResultError(f"{len(found)} files changed in {span}; a pull request adds 1 to {_MOST} results.")
    refused = [f"{change.path!r} {why}" for change in found if (why := complaint(change, folder))]
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
        if len(arguments) != 1:
            raise InvalidValueError(
                "the range", " ".join(arguments), "BASE..HEAD: python -m wbench.leaderboard.gate BASE..HEAD"
            )
        accepted = gate(arguments[0])
    except WbenchError as error:
        print(f"wbench: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    print("\n".join(accepted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
