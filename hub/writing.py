"""Requests that write: repositories, uploads by LFS, commits, refs, pull requests."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from . import pulls
from .access import API, Body, Json, Part, Writable, Writer, find_repo, hub_of, receive, web_address
from .objects import Given, RefusedError, parse
from .tree import is_lfs

router = APIRouter()


@router.post("/api/validate-yaml")
def validate_yaml() -> dict[str, Any]:
    """Every card is fine here."""
    return {"errors": [], "warnings": []}


@router.post("/api/repos/create")
def create_repo(request: Request, data: Json, user: Writer) -> Response:
    """Make a repository."""
    repo = hub_of(request).repo(
        str(data.get("type", "model")) + "s", str(data.get("organization") or user.name), data.need("name", str)
    )
    answer = {"url": web_address(request, repo), "name": repo.id, "id": repo.id}
    try:
        repo.create(user.name, private=data.get("visibility") == "private" or bool(data.get("private")))
    except RefusedError as error:
        return JSONResponse(answer | {"error": error.message}, error.status)
    return JSONResponse(answer)


@router.delete("/api/repos/delete")
def delete_repo(request: Request, data: Json, user: Writer) -> dict[str, Any]:
    """Remove a repository."""
    find_repo(
        request, str(data.get("type", "model")) + "s", str(data.get("organization") or user.name), data.need("name", str)
    ).delete()
    return {}


@router.put(API + "/settings")
def settings(repo: Writable, data: Json) -> dict[str, Any]:
    """Make a repository private or public, if that is among the settings asked for."""
    if "visibility" in data or "private" in data:
        repo.set(private=data.get("visibility") == "private" or bool(data.get("private")))
    return {"private": repo.settings["private"]}


@router.post(API + "/tag/{revision}")
def create_tag(repo: Writable, revision: Part, data: Json) -> dict[str, Any]:
    """Name a commit for good."""
    repo.set_ref(f"tags/{data.need('tag', str)}", repo.resolve(revision).sha, new=True)
    return {}


@router.delete(API + "/tag/{tag}")
def delete_tag(repo: Writable, tag: Part) -> dict[str, Any]:
    """Forget a name."""
    repo.delete_ref(f"tags/{tag}")
    return {}


@router.post(API + "/branch/{branch}")
def create_branch(repo: Writable, branch: Part, data: Json) -> dict[str, Any]:
    """Start a branch."""
    repo.set_ref(f"heads/{branch}", repo.resolve(str(data.get("startingPoint", "main"))).sha, new=True)
    return {}


@router.delete(API + "/branch/{branch}")
def delete_branch(repo: Writable, branch: Part) -> dict[str, Any]:
    """Drop a branch."""
    repo.delete_ref(f"heads/{branch}")
    return {}


@router.post(API + "/preupload/{revision}")
def preupload(repo: Writable, revision: Part, data: Json) -> dict[str, Any]:
    """How each file is to be sent, and what is there now."""
    known = repo.resolve(revision).files
    return {
        "files": [
            {
                "path": (path := file.need("path", str)),
                "uploadMode": "lfs" if is_lfs(path, file.need("size", int), file.need("sample", str)) else "regular",
                "shouldIgnore": False,
                **({"oid": known[path].etag} if path in known else {}),
            }
            for file in data.objects("files")
        ]
    }


@router.post("/{namespace}/{name}.git/info/lfs/objects/batch")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/objects/batch")
def lfs_batch(request: Request, repo: Writable, data: Json) -> dict[str, Any]:
    """Where to send LFS files; those that are here already get no action."""

    def answer(oid: str, size: int) -> dict[str, Any]:
        if repo.hub.blob(oid).exists():
            return {"oid": oid, "size": size}
        upload = {"href": f"{request.base_url}lfs/{oid}?size={size}&key={_key(request, oid, size)}"}
        verify = {"href": f"{web_address(request, repo)}.git/info/lfs/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    return {"transfer": "basic", "objects": [answer(o.need("oid", str), o.need("size", int)) for o in data.objects("objects")]}


def _key(request: Request, oid: str, size: int) -> str:
    """What lets a client put one object without its token, as a signed address of a real storage does."""
    return hmac.new(request.app.state.secret, f"{oid} {size}".encode(), "sha256").hexdigest()


@router.put("/lfs/{oid}")
async def lfs_put(request: Request, oid: str, size: int = 0, key: str = "") -> Response:
    """Receive an LFS file."""
    if not hmac.compare_digest(key.encode(), _key(request, oid, size).encode()):
        raise RefusedError(403, "the address of this upload is not valid (any more)")
    hub = hub_of(request)
    scratch = hub.scratch()
    try:
        with scratch.open("wb") as file:
            async for chunk in receive(request, size):
                file.write(chunk)
        await run_in_threadpool(hub.accept, scratch, oid)
    finally:
        scratch.unlink(missing_ok=True)
    return Response(status_code=200)


@router.post("/{namespace}/{name}.git/info/lfs/verify")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/verify")
def lfs_verify(repo: Writable, data: Json) -> dict[str, Any]:
    """Whether an LFS file has arrived."""
    if repo.hub.uploaded(oid := data.need("oid", str)).size != data.need("size", int):
        raise RefusedError(400, f"the LFS object {oid} has another size")
    return {}


@router.post(API + "/commit/{revision}")
def commit(
    request: Request, repo: Writable, user: Writer, revision: Part, body: Body, create_pr: bool = False
) -> dict[str, Any]:
    """Add a commit: a header and one line for each change."""
    lines = [(line.need("key", str), line.need("value", Given)) for line in map(parse, filter(bytes.strip, body.split(b"\n")))]
    header = next((value for key, value in lines if key == "header"), Given())
    title, text = header.need("summary", str), str(header.get("description", ""))
    ref = repo.branch(revision)
    edits = [repo.edit(key, value) for key, value in lines if key != "header"]
    answer: dict[str, Any] = {"success": True}
    with repo.hub.lock:
        repo.check_parent(ref, str(header.get("parentCommit") or ""))
        files = repo.edited(ref, edits)
        if create_pr:
            number = pulls.open_pull(repo, user.name, title, text, is_pull=True)
            ref = f"pr/{number}"
            answer["pullRequestUrl"] = f"{web_address(request, repo)}/discussions/{number}"
        made = repo.add_commit(ref, files, user.name, title, text)
        pulls.note_commit(repo, ref, made)
    return answer | {"commitOid": made.sha, "commitUrl": f"{web_address(request, repo)}/commit/{made.sha}"}


@router.post(API + "/discussions")
def open_discussion(repo: Writable, user: Writer, data: Json) -> dict[str, Any]:
    """Open a discussion, or a pull request to commit to."""
    is_pull, text = bool(data.get("pullRequest")), str(data.get("description", ""))
    return {"num": pulls.open_pull(repo, user.name, data.need("title", str), text, is_pull, draft=is_pull)}


@router.post(API + "/discussions/{number}/comment")
def comment(repo: Writable, user: Writer, number: int, data: Json) -> dict[str, Any]:
    """Say something."""
    return {"newMessage": pulls.comment(repo, number, user.name, data.need("comment", str))}


@router.post(API + "/discussions/{number}/status")
def status(repo: Writable, user: Writer, number: int, data: Json) -> dict[str, Any]:
    """Open or close."""
    return {"newStatus": pulls.set_status(repo, number, user.name, data.need("status", str))}


@router.post(API + "/discussions/{number}/merge")
def merge(repo: Writable, user: Writer, number: int) -> dict[str, Any]:
    """Merge into the main branch."""
    return {"mergeCommitId": pulls.merge(repo, number, user.name).sha}
