"""What worker processes share: a fresh start, one thread each, and no life without their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext


def spawn_context() -> SpawnContext:
    """Processes that start from nothing: a forked one would inherit PyTorch's threads in an unknown state."""
    return multiprocessing.get_context("spawn")


def die_with_parent(tie: Connection | None = None) -> None:
    """To be called in a worker: one whose parent was killed would go on, or wait for work for ever.

    Args:
        tie: a pipe whose other end the parent holds; the worker also ends when the parent closes that.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    ends: list[Connection | int] = [parent.sentinel]
    if tie is not None:
        ends.append(tie)

    def watch() -> None:
        wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that sums are the same on any number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
