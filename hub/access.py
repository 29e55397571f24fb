"""What a request asks for and who asks.

Tokens are a stand-in for accounts, so that clients meet the Hub's refusals. They protect nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Request
from pydantic import AfterValidator

from .objects import RefusedError
from .store import Hub, Repo

API = "/api/{kind}/{namespace}/{name}"
Part = Annotated[str, AfterValidator(unquote)]  # a part of the path, which was routed as it was sent
_TOKEN = re.compile(r"hf_(test|read)(?:_([A-Za-z0-9-]+))?")


@dataclass(frozen=True)
class User:
    """Whom a token belongs to: `hf_test` and `hf_test_ANNA` may write everywhere, `hf_read` and `hf_read_BEN` nowhere."""

    name: str
    can_write: bool


async def _body(request: Request) -> bytes:
    return await request.body()


async def _json(request: Request) -> dict[str, Any]:
    return await request.json() if await request.body() else {}


def hub_of(request: Request) -> Hub:
    """The Hub that was asked."""
    return request.app.state.hub


def web_address(request: Request, repo: Repo) -> str:
    """The address of a repository's page, which the client takes apart again."""
    return f"{request.base_url}{'' if repo.kind == 'models' else repo.kind + '/'}{repo.id}"


def current_user(request: Request) -> User | None:
    """The user of a request; None without a token."""
    given = request.headers.get("authorization")
    if not given:
        return None
    token = _TOKEN.fullmatch(given.removeprefix("Bearer ").strip())
    if not token:
        raise RefusedError(401, "Invalid credentials in Authorization header")
    return User(token[2] or token[1], can_write=token[1] == "test")


def signed_in(request: Request) -> User:
    """The user of a request that needs one."""
    user = current_user(request)
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    return user


def writer(request: Request) -> User:
    """The user of a request that needs the right to write."""
    user = signed_in(request)
    if not user.can_write:
        raise RefusedError(403, "this token may only read; writing takes one such as hf_test")
    return user


def find_repo(request: Request, kind: str, namespace: str, name: str) -> Repo:
    """A repository that the user may see; to others it does not exist, and strangers may sign in first."""
    repo, user = hub_of(request).repo(kind, namespace, name), current_user(request)
    if repo.exists and (not repo.settings["private"] or (user and (user.can_write or user.name == namespace))):
        return repo
    raise RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")


def _readable(request: Request) -> Repo:
    part = request.path_params
    return find_repo(request, part.get("kind", "models"), part["namespace"], part["name"])


def _writable(request: Request) -> Repo:
    repo = _readable(request)
    writer(request)
    return repo


Body = Annotated[bytes, Depends(_body)]
Json = Annotated[dict[str, Any], Depends(_json)]
SignedIn = Annotated[User, Depends(signed_in)]
Writer = Annotated[User, Depends(writer)]
Readable = Annotated[Repo, Depends(_readable)]
Writable = Annotated[Repo, Depends(_writable)]
