"""Requests that read: repositories, revisions, trees, files, discussions."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from . import pulls
from .access import API, Body, Part, Readable, SignedIn, hub_of
from .objects import Commit, RefusedError
from .store import KINDS, Repo
from .tree import file_entry, folder_entries

router = APIRouter()


@router.get("/api/whoami-v2")
def whoami(user: SignedIn) -> dict[str, Any]:
    """Who a token belongs to."""
    token = {"displayName": "lab", "role": "write" if user.can_write else "read"}
    return {
        "type": "user",
        "id": user.name,
        "name": user.name,
        "fullname": user.name,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": token},
    }


@router.get("/api/{kind}")
def list_repos(request: Request, kind: str, author: str = "", search: str = "") -> list[dict[str, Any]]:
    """Public repositories."""
    if kind not in KINDS:
        raise RefusedError(404, f"there is no /api/{kind} here")
    public = (repo for repo in hub_of(request).repos(kind) if not repo.settings["private"])
    found = (repo for repo in public if search in repo.id and author in ("", repo.id.split("/")[0]))
    return [_info(repo, repo.resolve("main")) for repo in found]


@router.get(API)
@router.get(API + "/revision/{revision}")
def repo_info(repo: Readable, revision: Part = "main") -> dict[str, Any]:
    """A repository at a revision."""
    return _info(repo, repo.resolve(revision))


def _info(repo: Repo, commit: Commit) -> dict[str, Any]:
    entries = (file_entry(path, file) for path, file in commit.files.items())
    siblings = [{"rfilename": e["path"], "size": e["size"], "blobId": e["oid"], "lfs": _sibling_lfs(e)} for e in entries]
    settings = repo.settings
    return {
        "_id": hashlib.sha1(repo.id.encode(), usedforsecurity=False).hexdigest()[:24],
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.sha,
        "private": settings["private"],
        "createdAt": settings["created"],
        "lastModified": commit.date,
        "siblings": siblings,
        "tags": [],
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
    }


def _sibling_lfs(entry: dict[str, Any]) -> dict[str, Any] | None:
    lfs = entry.get("lfs")
    return lfs and {"size": lfs["size"], "sha256": lfs["oid"], "pointerSize": lfs["pointerSize"]}


@router.get(API + "/auth-check")
def auth_check(repo: Readable) -> dict[str, Any]:
    """Whether a repository may be read."""
    return {}


# refs and history


@router.get(API + "/refs")
def refs(repo: Readable) -> dict[str, Any]:
    """Branches, tags and pull requests."""
    spaces = {"branches": ("heads", ""), "tags": ("tags", ""), "pullRequests": ("pr", "refs/pr/")}
    return {"converts": []} | {
        key: [
            {"name": prefix + name, "ref": f"refs/{space}/{name}", "targetCommit": sha}
            for name, sha in repo.refs(space).items()
        ]
        for key, (space, prefix) in spaces.items()
    }


@router.get(API + "/commits/{revision}")
def commits(repo: Readable, revision: Part) -> list[dict[str, Any]]:
    """History of a revision, newest first."""
    log = repo.log(repo.resolve(revision).sha)
    return [{"id": c.sha, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date} for c in log]


@router.get(API + "/tree/{revision}")
@router.get(API + "/tree/{revision}/{path:path}")
def tree(repo: Readable, revision: Part, path: Part = "", recursive: bool = False) -> list[dict[str, Any]]:
    """What lies in a folder."""
    return folder_entries(repo.resolve(revision), path.strip("/"), recursive)


@router.post(API + "/paths-info/{revision}")
def paths_info(repo: Readable, revision: Part, form: Body) -> list[dict[str, Any]]:
    """Entries of some paths; those that do not exist are left out."""
    commit = repo.resolve(revision)
    wanted = set(parse_qs(form.decode("utf-8", "replace")).get("paths", []))
    return [entry for entry in folder_entries(commit, "", recursive=True) if entry["path"] in wanted]


@router.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route("/{kind}/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
def resolve(repo: Readable, revision: Part, path: Part) -> FileResponse:
    """A file, whole or in ranges."""
    commit = repo.resolve(revision)
    file = commit.files.get(path)
    if file is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
    headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": commit.sha}
    if file.lfs:
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    blob = repo.hub.blob(file.sha256)
    return FileResponse(blob, headers=headers, media_type="application/octet-stream", filename=path.split("/")[-1])


@router.get(API + "/discussions")
def discussions(repo: Readable, p: int = 0) -> dict[str, Any]:
    """Discussions and pull requests, newest first."""
    numbers = pulls.numbers(repo)[::-1] if p == 0 else []
    return {"discussions": [pulls.summary(repo, number) for number in numbers], "count": len(numbers), "start": 0}


@router.get(API + "/discussions/{number}")
def discussion(repo: Readable, number: int) -> dict[str, Any]:
    """A discussion with its events, a pull request with its diff."""
    return pulls.details(repo, number)
