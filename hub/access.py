"""What a request asks for and who asks.

Tokens are a stand-in for accounts, so that clients meet the Hub's refusals. They protect nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from pydantic import AfterValidator

from .objects import Given, RefusedError, parse
from .store import Hub, Repo

API = "/api/{kind}/{namespace}/{name}"
LARGEST_BODY = 256 << 20  # bytes of a request that is held in memory: a commit brings its regular files along
Part = Annotated[str, AfterValidator(unquote)]  # a part of the path, which was routed as it was sent
_TOKEN = re.compile(r"hf_(test|read)(?:_([A-Za-z0-9-]+))?")


@dataclass(frozen=True)
class User:
    """Whom a token belongs to: `hf_test` and `hf_test_ANNA` may write everywhere, `hf_read` and `hf_read_BEN` nowhere."""

    name: str
    can_write: bool


async def receive(request: Request, limit: int) -> AsyncIterator[bytes]:
    """What a request brings, piece by piece; refused as soon as it is, or says that it will be, larger than the limit."""
    promised = request.headers.get("content-length", "0")
    left = limit if promised.isdigit() and int(promised) <= limit else -1
    if left >= 0:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left < 0:
        raise RefusedError(413, f"at most {limit} bytes are taken here")


async def _body(request: Request) -> bytes:
    return b"".join([chunk async for chunk in receive(request, LARGEST_BODY)])


async def _json(body: Annotated[bytes, Depends(_body)]) -> Given:
    return parse(body or b"{}")


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
Json = Annotated[Given, Depends(_json)]
SignedIn = Annotated[User, Depends(signed_in)]
Writer = Annotated[User, Depends(writer)]
Readable = Annotated[Repo, Depends(_readable)]
Writable = Annotated[Repo, Depends(_writable)]
