"""Discussions and pull requests: a JSON file each, a ref `pr/N` for what one proposes, three-way merges by file."""

from __future__ import annotations

import difflib
import json
import secrets
from typing import Any

from .objects import Commit, File, RefusedError, now, pointer, write
from .store import Repo

_MOST = 10**9  # discussions of a repository


def _load(repo: Repo, number: int) -> dict[str, Any]:
    path = repo.folder / "pulls" / str(number)
    if number > _MOST or not path.is_file():
        raise RefusedError(404, f"no discussion {min(number, _MOST)} in {repo.id}", "EntryNotFound")
    return json.loads(path.read_text(encoding="utf-8"))


def _save(repo: Repo, pull: dict[str, Any]) -> None:
    write(repo.folder / "pulls" / str(pull["num"]), json.dumps(pull))


def _event(pull: dict[str, Any], kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    event = {"id": secrets.token_hex(12), "type": kind, "createdAt": now(), "author": {"name": author}, "data": data}
    pull["events"].append(event)
    return event


def _comment(text: str) -> dict[str, Any]:
    return {"edited": False, "hidden": False, "latest": {"raw": text, "html": text, "updatedAt": now()}, "history": []}


def numbers(repo: Repo) -> list[int]:
    """The discussions and pull requests of a repository, oldest first."""
    return sorted(int(path.name) for path in (repo.folder / "pulls").glob("*") if path.name.isdigit())


def open_pull(repo: Repo, author: str, title: str, description: str, is_pull: bool, draft: bool = False) -> int:
    """Open one and return its number; a pull request starts where the main branch is."""
    with repo.hub.lock:
        number = max(numbers(repo), default=0) + 1
        status = "draft" if is_pull and draft else "open"
        pull = {"num": number, "title": title, "author": {"name": author}, "createdAt": now(), "status": status}
        pull |= {"isPullRequest": is_pull, "repo": {"name": repo.id, "type": repo.kind.removesuffix("s")}, "events": []}
        _event(pull, "comment", author, _comment(description))
        if is_pull:
            repo.set_ref(f"pr/{number}", repo.ref("heads/main") or "")  # a Hub that was killed here left one behind
        _save(repo, pull)
    return number


def note_commit(repo: Repo, ref: str, commit: Commit) -> None:
    """Add a commit to the story of its pull request."""
    space, number = ref.split("/", 1)
    if space == "pr":
        with repo.hub.lock:
            pull = _load(repo, int(number))
            _event(pull, "commit", commit.author, {"subject": commit.title, "oid": commit.sha})
            _save(repo, pull)


def comment(repo: Repo, number: int, author: str, text: str) -> dict[str, Any]:
    """Add a comment."""
    with repo.hub.lock:
        pull = _load(repo, number)
        event = _event(pull, "comment", author, _comment(text))
        _save(repo, pull)
    return event


def set_status(repo: Repo, number: int, author: str, status: str) -> dict[str, Any]:
    """Open or close."""
    if status not in ("open", "closed"):
        raise RefusedError(400, f"status is {status!r}, but must be 'open' or 'closed'")
    with repo.hub.lock:
        pull = _load(repo, number)
        pull["status"] = status
        event = _event(pull, "status-change", author, {"status": status})
        _save(repo, pull)
    return event


def summary(repo: Repo, number: int) -> dict[str, Any]:
    """What a list of discussions shows."""
    return {key: value for key, value in _load(repo, number).items() if key not in ("events", "merged")}


def details(repo: Repo, number: int) -> dict[str, Any]:
    """A discussion with its events; a pull request with its diff and conflicts too."""
    pull = _load(repo, number)
    if not pull["isPullRequest"]:
        return pull
    merged = pull.pop("merged", None)  # base, head and merge commit, once it is merged
    base, head = (repo.commit(sha) for sha in merged[:2]) if merged else _sides(repo, number)
    main = repo.resolve("main")
    pull["changes"] = {"base": "refs/heads/main"} | ({"mergeCommitId": merged[2]} if merged else {})
    pull["filesWithConflicts"] = [] if merged else _merge(base.files, main.files, head.files)[1]
    pull["diff"] = diff(repo, base, head)
    return pull


def merge(repo: Repo, number: int, author: str) -> Commit:
    """Merge a pull request into the main branch."""
    with repo.hub.lock:
        pull = _load(repo, number)
        if not pull["isPullRequest"] or pull["status"] not in ("open", "draft"):
            raise RefusedError(400, f"discussion {number} is no open pull request")
        base, head = _sides(repo, number)
        files, conflicts = _merge(base.files, repo.resolve("main").files, head.files)
        if conflicts:
            raise RefusedError(409, f"pull request {number} conflicts with main in {', '.join(conflicts)}")
        title = f"{pull['title']} (#{number})"
        commit = repo.add_commit("heads/main", files, author, title, merged=head.sha)
        pull |= {"status": "merged", "merged": [base.sha, head.sha, commit.sha]}
        _event(pull, "status-change", author, {"status": "merged"})
        _save(repo, pull)
    return commit


def _sides(repo: Repo, number: int) -> tuple[Commit, Commit]:
    """The newest commit that a pull request shares with main, and its head."""
    head = repo.resolve(f"refs/pr/{number}")
    known, waiting = set(), [repo.resolve("main").sha]
    while waiting:
        sha = waiting.pop()
        if sha not in known:
            known.add(sha)
            waiting.extend(repo.commit(sha).parents)
    base = next(commit for commit in repo.log(head.sha) if commit.sha in known)
    return base, head


def _merge(base: dict[str, File], ours: dict[str, File], theirs: dict[str, File]) -> tuple[dict[str, File], list[str]]:
    """Take from each side what it alone has changed; also the paths that both changed, differently."""
    merged, conflicts = dict(ours), []
    for path in sorted({*base, *theirs}):
        before, mine, other = base.get(path), ours.get(path), theirs.get(path)
        if other == before or other == mine:
            continue
        if mine != before:
            conflicts.append(path)
        elif other is None:
            del merged[path]
        else:
            merged[path] = other
    return merged, conflicts


def diff(repo: Repo, old: Commit, new: Commit) -> str:
    """What changed, as git prints it; an LFS file shows as its pointer."""
    text = []
    for path in sorted({*old.files, *new.files}):
        before, after = old.files.get(path), new.files.get(path)
        if before == after:
            continue
        text.append(f"diff --git a/{path} b/{path}\n")
        if before is None:
            text.append("new file mode 100644\n")
        if after is None:
            text.append("deleted file mode 100644\n")
        text.append(f"index {before.oid[:7] if before else '0' * 7}..{after.oid[:7] if after else '0' * 7}\n")
        names = f"a/{path}" if before else "/dev/null", f"b/{path}" if after else "/dev/null"
        lines = [_lines(repo, file) for file in (before, after)]
        if lines[0] is None or lines[1] is None:
            text.append(f"Binary files {names[0]} and {names[1]} differ\n")
        else:
            for line in difflib.unified_diff(lines[0], lines[1], *names):
                text.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(text)


def _lines(repo: Repo, file: File | None) -> list[str] | None:
    """A file as git diffs it; None if it is binary."""
    if file is None:
        return []
    if file.lfs:
        return pointer(file.sha256, file.size).splitlines(keepends=True)
    try:
        return repo.hub.blob(file.sha256).read_text(encoding="utf-8").splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
