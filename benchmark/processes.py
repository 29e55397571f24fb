"""What processes and cells have in common: a fresh start, one thread each, PyTorch as it comes, no life without a parent."""

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


@contextmanager
def plain_types() -> Iterator[None]:
    """Make new tensors float32 where no type is asked for, whatever a user has set for all of PyTorch."""
    import torch

    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(kind)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Run with PyTorch and NumPy as they come; what is changed meanwhile for all of the process is undone afterwards."""
    import numpy as np
    import torch

    device, grad, exact = torch.get_default_device(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    products, anomalies = torch.get_float32_matmul_precision(), torch.is_anomaly_enabled()
    threads = torch.get_num_threads()
    with plain_types(), np.errstate():
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")
        torch.autograd.set_detect_anomaly(False)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_grad_enabled(grad)
            torch.use_deterministic_algorithms(exact)
            torch.set_float32_matmul_precision(products)
            torch.autograd.set_detect_anomaly(anomalies)
            torch.set_default_device(None if device.type == "cpu" else device)
