"""A Hugging Face Hub in a folder, for tests and for labs without internet; imports nothing of wbench. See README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import create_app, serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    """`create_app` and `serve`, once asked for: fastapi is an extra."""
    if name in __all__:
        from . import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
