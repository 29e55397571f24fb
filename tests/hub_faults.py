"""What can go wrong between a Hub and its client, on demand."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
CONTROL = "/_faults"  # GET: what was asked and what waits; POST: add one; DELETE: forget all


@dataclass
class Fault:
    """Something that befalls the requests that match; bytes are counted in the body of the answer."""

    match: str  # regular expression, searched for in "METHOD /path?query"
    times: int = 1  # how many requests it befalls; -1: all
    delay: float = 0.0  # seconds before the answer
    status: int | None = None  # answer with this status instead
    headers: dict[str, str] = field(default_factory=dict)  # of the answer, such as {"Retry-After": "1"} or {"ETag": ...}
    cut: int | None = None  # drop the connection after that many bytes
    flip: int | None = None  # flip the lowest bit of that byte
    die: int | None = None  # end the server's process after that many bytes


@dataclass
class Faults:
    """The faults that wait, and the requests that came."""

    waiting: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # "GET /path?query bytes=0-9"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, match: str, **fault: Any) -> None:
        """Let something befall the requests that match; see `Fault`."""
        with self._lock:
            self.waiting.append(Fault(match, **fault))

    def clear(self) -> None:
        """Forget the faults and the requests."""
        with self._lock:
            self.waiting.clear()
            self.requests.clear()

    def take(self, request: str) -> Fault | None:
        """The first fault that waits for a request."""
        with self._lock:
            for fault in self.waiting:
                if fault.times and re.search(fault.match, request):
                    fault.times -= 1
                    return fault
        return None


class _DroppedError(Exception):
    """The connection ends here."""


class Faulty:
    """An ASGI application around another one, which notes requests and lets faults befall them."""

    def __init__(self, app: Application, faults: Faults) -> None:
        self.app, self.faults = app, faults

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["raw_path"].decode("ascii")
        if path == CONTROL:
            return await self._control(scope["method"], receive, send)
        query = scope["query_string"].decode("ascii")
        request = f"{scope['method']} {path}" + (f"?{query}" if query else "")
        wanted = dict(scope["headers"]).get(b"range", b"").decode("latin-1")
        self.faults.requests.append(f"{request} {wanted}".strip())
        if (fault := self.faults.take(request)) is None:
            return await self.app(scope, receive, send)
        await asyncio.sleep(fault.delay)
        if fault.status is not None:
            return await _answer(send, fault.status, {"error": "injected"}, fault.headers)
        try:
            await self.app(scope, receive, _Spoiled(fault, send))
        except _DroppedError:
            return None  # an answer that is not finished makes the server close the connection

    async def _control(self, method: str, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if method == "POST":
            self.faults.add(**json.loads(body))
        if method == "DELETE":
            self.faults.clear()
        waiting = [asdict(fault) for fault in self.faults.waiting]
        await _answer(send, 200, {"waiting": waiting, "requests": self.faults.requests}, {})


class _Spoiled:
    """`send` of one answer, spoiled."""

    def __init__(self, fault: Fault, send: Send) -> None:
        self.fault, self.send, self.sent = fault, send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower().encode(): value.encode() for name, value in self.fault.headers.items()}
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in given]
            return await self.send({**message, "headers": [*kept, *given.items()]})
        body = bytearray(message.get("body", b""))
        start, self.sent = self.sent, self.sent + len(body)
        if self.fault.flip is not None and start <= self.fault.flip < self.sent:
            body[self.fault.flip - start] ^= 1
        end = self.fault.cut if self.fault.cut is not None else self.fault.die
        if end is None or end >= self.sent:
            return await self.send({**message, "body": bytes(body)})
        await self.send({**message, "body": bytes(body[: end - start]), "more_body": True})
        await asyncio.sleep(0.05)  # let the bytes leave
        if self.fault.die is not None:
            os._exit(1)
        raise _DroppedError


async def _answer(send: Send, status: int, data: dict[str, Any], headers: dict[str, str]) -> None:
    body = json.dumps(data).encode()
    own = {"content-type": "application/json", "content-length": str(len(body))} | headers
    fields = [(name.lower().encode(), value.encode()) for name, value in own.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
