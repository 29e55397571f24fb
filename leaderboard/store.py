"""A results store: a folder of immutable files, each named after its content; files are only ever added."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import shared_mode
from ..errors import OutputError, ResultError
from .index.line import played
from .reading import load_result
from .result import Result
from .verification.recompute import complaints

SHIPPED = Path(__file__).with_name("results")  # the board that the package came with
_HERE = Path("leaderboard", "results")
_TEMPORARY, _STALE = ".submission.", 3600.0  # seconds
_ON_HUB = "results"  # folder of the repository NAMESPACE/wbench-results


@dataclass(frozen=True)
class Submission:
    """What a store takes: a name and the content that it is named after.

    Attributes:
        name: `AGENT-PROTOCOL-HASH.json`.
        content: bytes of the file.
        played: digest of who played what; the same for a replay with other timings.
    """

    name: str
    content: bytes
    played: str

    @classmethod
    def of(cls, result: Result) -> Submission:
        """A result without its rivals, in one canonical form: the same run gives the same file."""
        document = replace(result, comparison=()).document()
        content = (json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()
        return cls(name_of(result, content), content, played(result))

    @classmethod
    def read(cls, path: Path) -> Submission:
        """The submission that a result file makes.

        Raises:
            ResultError: it is malformed, or its arithmetic does not hold up.
        """
        result = load_result(path)
        problem = next(complaints(result), None)
        if problem:
            raise ResultError(f"{path.name} does not hold up: {problem}. All that is wrong: wbench results verify FILE")
        return cls.of(result)


def name_of(result: Result, content: bytes) -> str:
    """The name of a file with this content: `AGENT-PROTOCOL-HASH.json`."""
    slug = re.sub(r"[^a-z0-9]+", "-", result.label.lower()).strip("-")
    return f"{slug}-{result.protocol.lower()}-{hashlib.sha256(content).hexdigest()[:16]}.json"


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes:
        name: the file.
        where: the store: a folder or a Hub repository.
        status: `added`, `known` (the same content is there), or `dry run`.
        url: of the pull request, on the Hub.
    """

    name: str
    where: str
    status: str
    url: str | None = None


def default_store() -> Path | None:
    """`leaderboard/results` of the checkout that the current folder is in, if it is in one."""
    here = Path.cwd()
    return next((folder / _HERE for folder in (here, *here.parents) if (folder / _HERE).is_dir() and _is_ours(folder)), None)


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a checkout of wbench; another project may keep results under the same names."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == "wbench"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def submit(submission: Submission, store: Path, dry_run: bool = False, same: str | None = None) -> Submitted:
    """Add a file to a folder. Safe beside any number of others: each has a name of its own, and none is written over.

    Args:
        submission: what is added.
        store: the folder.
        dry_run: only say what would be done.
        same: a file of the store that holds the very same play; see `index.Index.same`.

    Raises:
        OutputError: the folder cannot be written, or holds other content under this name.
    """
    if same is not None and same != submission.name:
        return Submitted(same, str(store), "known")
    target = store / submission.name
    if target.exists() or target.is_symlink():
        return _known(target, submission)
    if dry_run:
        return Submitted(submission.name, str(store), "dry run")
    try:
        _add(target, submission.content)
    except FileExistsError:
        return _known(target, submission)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename or store}"
        raise OutputError(f"cannot write in the store {store} ({reason}). Give another --store DIR.") from error
    return Submitted(submission.name, str(store), "added")


def _add(target: Path, content: bytes) -> None:
    """Write a file under a name of its own and link it into place: whole or not at all, and never over another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(shared_mode())
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without links; whoever writes this name meanwhile writes this content
            Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _sweep(store: Path) -> None:
    """Delete what submissions that were killed left behind; a living one takes no hour."""
    for path in store.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # of somebody else, or gone
            if time.time() - path.lstat().st_mtime > _STALE:
                path.unlink()


def _known(target: Path, submission: Submission) -> Submitted:
    if target.is_symlink() or not target.is_file() or target.read_bytes() != submission.content:
        raise OutputError(f"{target} holds something else. A store never changes: nothing was written.")
    return Submitted(submission.name, str(target.parent), "known")


def result_files(store: Path) -> Iterator[Path]:
    """The result files of a store in order of name; not its sidecars, hidden files or symlinks.

    Raises:
        OutputError: there is no such folder.
    """
    if not store.is_dir():
        raise OutputError(f"no results store at {store}. Give --store DIR, a folder that wbench submit has filled.")
    for path in sorted(store.glob("*.json")):
        if not path.name.startswith(".") and not path.name.endswith(".verified.json") and not path.is_symlink():
            yield path


def propose(submission: Submission, namespace: str, dry_run: bool = False) -> Submitted:
    """Open a pull request on `NAMESPACE/wbench-results`, unless the file is there or already proposed.

    The repository is made on first use, by whoever owns the namespace.

    Raises:
        InvalidValueError: that cannot be a namespace.
        DataError: the repository does not exist and may not be made, or there are no rights to it.
        NetworkError: the Hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from ..benchmark.data.hub_mirror import hub_errors, repository

    repo, path = repository(namespace, _ON_HUB), f"{_ON_HUB}/{submission.name}"
    if dry_run:
        return Submitted(submission.name, repo, "dry run")
    api = HfApi()
    with hub_errors(repo):
        if not api.repo_exists(repo, repo_type="dataset"):
            api.create_repo(repo, repo_type="dataset", exist_ok=True)
        if api.file_exists(repo, path, repo_type="dataset"):
            return Submitted(submission.name, repo, "known")
        title = f"Add {submission.name}"
        proposed = _proposed(api, repo, title)
        if proposed is not None:
            return Submitted(submission.name, repo, "known", proposed)
        done = api.create_commit(
            repo,
            [CommitOperationAdd(path, submission.content)],
            commit_message=title,
            commit_description="Check it with: wbench results verify FILE --tier rerun",
            repo_type="dataset",
            create_pr=True,
        )
    return Submitted(submission.name, repo, "added", done.pr_url)


def _proposed(api: Any, repo: str, title: str) -> str | None:
    """Address of an open pull request that adds the same content."""
    found = api.get_repo_discussions(repo, repo_type="dataset", discussion_type="pull_request", discussion_status="open")
    return next((pull.url for pull in found if pull.title == title and pull.status == "open"), None)
