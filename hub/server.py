"""A Hugging Face Hub in a folder: the app, and how to run it.

It answers the requests that huggingface_hub 2.4, datasets 5.2 and hf_xet 1.8 make. It is a reading of these clients,
not of the real Hub: docs/hub.md says what is missing.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from . import reading, writing
from .faults import Application, Faults, Faulty, Message, Receive, Send
from .objects import RefusedError
from .store import Hub


class _RawPath:
    """Routes on the path as it was sent, since a revision such as `refs%2Fpr%2F1` is one part of it."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
        await self.app(scope, receive, send)


def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    message = quote(error.message, safe=" '\"/:;,.!?()[]{}<>=+-_@#$&*~")  # a header holds no line breaks and only latin-1
    headers = {"X-Error-Message": message} | ({"X-Error-Code": error.code} if error.code else {}) | error.headers
    return JSONResponse({"error": error.message}, error.status, headers)


def create_app(folder: Path, faults: Faults | None = None) -> FastAPI:
    """The Hub as an application.

    Args:
        folder: where its repositories are kept; made if need be.
        faults: with this, tests may let things go wrong (see `faults.py`), also over HTTP at `/_faults`.
    """
    app = FastAPI(title="wbench hub", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.hub, app.state.faults, app.state.secret = Hub(folder), faults, secrets.token_bytes(32)
    app.include_router(reading.router)
    app.include_router(writing.router)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_middleware(_RawPath)
    if faults is not None:
        app.add_middleware(Faulty, faults=faults)
    return app


def serve(folder: Path, host: str, port: int, announce: Callable[[str], None] = print, faults: Faults | None = None) -> None:
    """Run a Hub until it is interrupted.

    Args:
        folder: where its repositories are kept.
        host: the address to listen on; "127.0.0.1" for this machine only.
        port: 0 picks a free one.
        announce: gets the line that clients put into their shell, once the port is open.
        faults: for tests, as in `create_app`.

    Raises:
        OSError: the port is taken.
    """
    app = create_app(folder, faults)
    with socket.create_server((host, port)) as listener, suppress(KeyboardInterrupt):
        shown = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
        announce(f"export HF_ENDPOINT=http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
