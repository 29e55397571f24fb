"""Requests that write: repositories, uploads by LFS and xet, commits, refs, pull requests."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from . import pulls
from .access import API, Body, Json, Part, Writable, Writer, find_repo, hub_of, web_address
from .objects import RefusedError
from .tree import is_lfs
from .xet import LIFETIME

router = APIRouter()


@router.post("/api/validate-yaml")
def validate_yaml() -> dict[str, Any]:
    """Every card is fine here."""
    return {"errors": [], "warnings": []}


@router.post("/api/repos/create")
def create_repo(request: Request, data: Json, user: Writer) -> Response:
    """Make a repository."""
    repo = hub_of(request).repo(data.get("type", "model") + "s", data.get("organization") or user.name, data["name"])
    answer = {"url": web_address(request, repo), "name": repo.id, "id": repo.id}
    try:
        repo.create(user.name, private=data.get("visibility") == "private" or bool(data.get("private")))
    except RefusedError as error:
        return JSONResponse(answer | {"error": error.message}, error.status)
    return JSONResponse(answer)


@router.delete("/api/repos/delete")
def delete_repo(request: Request, data: Json, user: Writer) -> dict[str, Any]:
    """Remove a repository."""
    find_repo(request, data.get("type", "model") + "s", data.get("organization") or user.name, data["name"]).delete()
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
    repo.set_ref(f"tags/{data['tag']}", repo.resolve(revision).sha, new=True)
    return {}


@router.delete(API + "/tag/{tag}")
def delete_tag(repo: Writable, tag: Part) -> dict[str, Any]:
    """Forget a name."""
    repo.delete_ref(f"tags/{tag}")
    return {}


@router.post(API + "/branch/{branch}")
def create_branch(repo: Writable, branch: Part, data: Json) -> dict[str, Any]:
    """Start a branch."""
    repo.set_ref(f"heads/{branch}", repo.resolve(data.get("startingPoint", "main")).sha, new=True)
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
                "path": file["path"],
                "uploadMode": "lfs" if is_lfs(file["path"], file["size"], file["sample"]) else "regular",
                "shouldIgnore": False,
                **({"oid": known[file["path"]].etag} if file["path"] in known else {}),
            }
            for file in data["files"]
        ]
    }


@router.post("/{namespace}/{name}.git/info/lfs/objects/batch")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/objects/batch")
def lfs_batch(request: Request, repo: Writable, data: Json) -> dict[str, Any]:
    """Where to send LFS files; those that are here already get no action."""

    def answer(oid: str, size: int) -> dict[str, Any]:
        if repo.hub.blob(oid).exists():
            return {"oid": oid, "size": size}
        upload = {"href": f"{request.base_url}lfs/{oid}?key={_key(request, oid)}"}
        verify = {"href": f"{web_address(request, repo)}.git/info/lfs/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    return {"transfer": "basic", "objects": [answer(item["oid"], item["size"]) for item in data["objects"]]}


def _key(request: Request, oid: str) -> str:
    """What lets a client put one object without its token, as a signed address of a real storage does."""
    return hmac.new(request.app.state.secret, oid.encode(), "sha256").hexdigest()


@router.put("/lfs/{oid}")
async def lfs_put(request: Request, oid: str, key: str = "") -> Response:
    """Receive an LFS file."""
    if not hmac.compare_digest(key, _key(request, oid)):
        raise RefusedError(403, "the address of this upload is not valid (any more)")
    hub = hub_of(request)
    scratch = hub.scratch()
    try:
        with scratch.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        await run_in_threadpool(hub.accept, scratch, oid)
    finally:
        scratch.unlink(missing_ok=True)
    return Response(status_code=200)


@router.post("/{namespace}/{name}.git/info/lfs/verify")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/verify")
def lfs_verify(repo: Writable, data: Json) -> dict[str, Any]:
    """Whether an LFS file has arrived."""
    if repo.hub.uploaded(data["oid"]).size != data["size"]:
        raise RefusedError(400, f"the LFS object {data['oid']} has another size")
    return {}


@router.get(API + "/xet-write-token/{revision}")
def xet_write_token(request: Request, repo: Writable, revision: Part) -> Response:
    """A directory that hf_xet on this machine can write its chunks into."""
    if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
        raise RefusedError(403, "this Hub takes xet uploads from its own machine only: set HF_HUB_DISABLE_XET=1")
    url, expires = f"local://{repo.hub.inbox.new()}", int(time.time()) + LIFETIME
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "unused", "X-Xet-Token-Expiration": str(expires)}
    return JSONResponse({"casUrl": url, "accessToken": "unused", "exp": expires}, headers=headers)


@router.post(API + "/commit/{revision}")
def commit(
    request: Request, repo: Writable, user: Writer, revision: Part, body: Body, create_pr: bool = False
) -> dict[str, Any]:
    """Add a commit: a header and one line for each change."""
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    ref = repo.branch(revision)
    edits = [repo.edit(line["key"], line["value"]) for line in lines if line["key"] != "header"]
    answer: dict[str, Any] = {"success": True}
    with repo.hub.lock:
        repo.check_parent(ref, header.get("parentCommit"))
        files = repo.edited(ref, edits)
        if create_pr:
            number = pulls.open_pull(repo, user.name, header["summary"], header.get("description", ""), is_pull=True)
            ref = f"pr/{number}"
            answer["pullRequestUrl"] = f"{web_address(request, repo)}/discussions/{number}"
        made = repo.add_commit(ref, files, user.name, header["summary"], header.get("description", ""))
        pulls.note_commit(repo, ref, made)
    return answer | {"commitOid": made.sha, "commitUrl": f"{web_address(request, repo)}/commit/{made.sha}"}


@router.post(API + "/discussions")
def open_discussion(repo: Writable, user: Writer, data: Json) -> dict[str, Any]:
    """Open a discussion, or a pull request to commit to."""
    is_pull = bool(data.get("pullRequest"))
    return {"num": pulls.open_pull(repo, user.name, data["title"], data.get("description", ""), is_pull, draft=is_pull)}


@router.post(API + "/discussions/{number}/comment")
def comment(repo: Writable, user: Writer, number: int, data: Json) -> dict[str, Any]:
    """Say something."""
    return {"newMessage": pulls.comment(repo, number, user.name, data["comment"])}


@router.post(API + "/discussions/{number}/status")
def status(repo: Writable, user: Writer, number: int, data: Json) -> dict[str, Any]:
    """Open or close."""
    return {"newStatus": pulls.set_status(repo, number, user.name, data["status"])}


@router.post(API + "/discussions/{number}/merge")
def merge(repo: Writable, user: Writer, number: int) -> dict[str, Any]:
    """Merge into the main branch."""
    return {"mergeCommitId": pulls.merge(repo, number, user.name).sha}
