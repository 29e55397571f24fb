"""A Hugging Face Hub in a folder: the app, and how to run it.

It answers the requests that huggingface_hub 2.4 and datasets 5.2 make. It is a reading of these clients, not of the real
Hub: README.md says what is missing.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from . import reading, writing
from .objects import RefusedError
from .store import Hub

Wrap = Callable[[ASGIApp], ASGIApp]
IDLE = 60.0  # seconds after which a connection is closed that has not sent what it owes: a request, or the rest of its body


class _RawPath:
    """Routes on the path as it was sent, since a revision such as `refs%2Fpr%2F1` is one part of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
        await self.app(scope, receive, send)


class _Patient(AutoHTTPProtocol):  # type: ignore[valid-type,misc]
    """uvicorn's protocol, which alone would keep a connection for ever on which no request comes, or half of one."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch = self.loop.call_later(IDLE, self._close)

    def data_received(self, data: bytes) -> None:
        self._watch.cancel()
        self._watch = self.loop.call_later(IDLE, self._close)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def _close(self) -> None:
        """Close a connection that was silent; one that is being answered is asked again later."""
        answered = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if answered:
            self._watch = self.loop.call_later(IDLE, self._close)
        else:
            self.transport.close()


def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    message = quote(error.message, safe=" '\"/:;,.!?()[]{}<>=+-_@#$&*~")  # a header holds no line breaks and only latin-1
    headers = {"X-Error-Message": message} | ({"X-Error-Code": error.code} if error.code else {}) | error.headers
    return JSONResponse({"error": error.message}, error.status, headers)


def create_app(folder: Path) -> FastAPI:
    """The Hub as an ASGI application; the folder holds its repositories, and is made if need be."""
    app = FastAPI(title="hub", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.hub, app.state.secret = Hub(folder), secrets.token_bytes(32)
    app.include_router(reading.router)
    app.include_router(writing.router)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_middleware(_RawPath)
    return app


def serve(folder: Path, host: str, port: int, announce: Callable[[str], None] = print, wrap: Wrap = lambda app: app) -> None:
    """Run a Hub until it is interrupted.

    Args:
        folder: where its repositories are kept.
        host: the address to listen on; "127.0.0.1" or "::1" for this machine only, "0.0.0.0" or "::" for the network.
        port: 0 picks a free one.
        announce: gets the line that clients put into their shell, once the port is open.
        wrap: puts something around the application, such as a test's faults.

    Raises:
        OSError: the port is taken.
    """
    app = wrap(create_app(folder))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener, suppress(KeyboardInterrupt):
        shown = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        announce(f"export HF_HUB_DISABLE_XET=1 HF_ENDPOINT=http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(app, http=_Patient, log_level="error", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
