"""What processes and cells have in common: a fresh start, one thread each, PyTorch as it comes, no life without a parent."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from ..errors import InvalidValueError, require

leave = os._exit  # with which wbench itself ends a process, whatever stands in its place while code of a user runs
_LEAVING = ("_exit", "execv", "execve")  # of os: what ends or replaces a process without a word, and with the exit code 0
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's mallopt
_LAST_WORDS = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"


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
        leave(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def staying() -> Iterator[None]:
    """Raise `SystemExit` where code of a user would end or replace this process; end a copy of it that it has forked."""
    own, found = os.getpid(), {name: getattr(os, name) for name in _LEAVING}

    def refuse(name: str, *arguments: Any) -> None:
        if os.getpid() != own:  # a process of its own
            found[name](*arguments)
        raise SystemExit(f"os.{name}({', '.join(map(repr, arguments))})")

    for name in _LEAVING:
        setattr(os, name, partial(refuse, name))
    try:
        yield
    finally:
        if os.getpid() != own:
            leave(1)
        for name, real in found.items():
            setattr(os, name, real)


@contextmanager
def last_words(kept: str) -> Iterator[None]:
    """Have a line said on standard error should this process be killed, or crash, in here: another one waits for that.

    Args:
        kept: what is not lost then, and how to go on.
    """
    text = f"wbench: killed, or crashed, before the end (out of memory?); {kept}."
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "start_new_session": True}  # Ctrl-C does not reach it
    waiting = subprocess.Popen([sys.executable, "-I", "-S", "-c", _LAST_WORDS, text], **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        waiting.communicate(b"all is well")


def check_device(device: str) -> None:
    """Raise `InvalidValueError` unless this machine can compute there."""
    import torch

    require(device in ("cpu", "cuda"), "--device", device, "cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidValueError("--device", device, "cpu here: this machine, or this build of torch, has no CUDA")


@contextmanager
def _while_set(get: Callable[[], Any], put: Callable[[Any], object], value: Any) -> Iterator[None]:
    found = get()
    put(value)
    try:
        yield
    finally:
        put(found)


def one_thread() -> AbstractContextManager[None]:
    """Compute on one thread, so that sums are the same on any number of cores."""
    import torch

    return _while_set(torch.get_num_threads, torch.set_num_threads, 1)


def keep_memory() -> None:
    """Have the C library keep what this process frees, for its next tensors, rather than ask the system for each anew.

    A page that comes from the system is zeroed first. Trainings and simulators make tensors of tens of megabytes in every step:
    a step of a training takes a fifth less, 1,024 episodes of `access` two fifths. Others than glibc are left.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
        mallopt(option, value)


def seed_everything(key: str) -> None:
    """Seed the global generators from a text. Nothing of wbench draws from these, but an agent of somebody else's may."""
    import numpy as np
    import torch

    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextmanager
def plain_types() -> Iterator[None]:
    """Make new tensors float32 where no type is asked for, whatever a user has set for all of PyTorch; also a decorator."""
    import torch

    with _while_set(torch.get_default_dtype, torch.set_default_dtype, torch.float32):
        yield


@contextmanager
def plain_torch() -> Iterator[None]:
    """Run with PyTorch and NumPy as they come; what is changed meanwhile for all of the process is undone afterwards.

    So are the global generators, filters of warnings, the mask of new files, signals, the current folder and the variables
    that steer wbench. The process cannot be left meanwhile (`staying`).
    """
    import numpy as np
    import torch

    found = [(put, get()) for get, put, _ in _settings()]
    device = torch.get_default_device()
    with np.errstate(), same_place(), staying(), torch.inference_mode(False):
        torch.set_default_device(None)
        for _, put, plain in _settings():
            if plain is not None:
                put(plain)
        try:
            yield
        finally:
            for put, value in found:
                put(value)
            torch.set_default_device(None if device.type == "cpu" else device)


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], object], Any]]:
    """What play depends on and holds for all of the process: how it is read, how it is set, and what it is as PyTorch comes."""
    import numpy as np
    import torch

    backends = torch.backends
    cpu, gpu = backends.mkldnn, backends.cudnn
    kinds = (backends, cpu.matmul, cpu.conv, cpu.rnn, backends.cuda.matmul, gpu.conv, gpu.rnn)  # type: ignore[attr-defined]
    flags = [(kind, "fp32_precision", "ieee") for kind in kinds] + [(cpu, "enabled", True)]
    return [
        (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        (torch.is_grad_enabled, torch.set_grad_enabled, True),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
        (torch.get_num_threads, torch.set_num_threads, None),
        (_matmul_precision, torch.set_float32_matmul_precision, "highest"),  # an older way to set what the flags set
        (_flushes_denormals, torch.set_flush_denormal, False),
        *((partial(torch.is_autocast_enabled, on), partial(torch.set_autocast_enabled, on), False) for on in ("cpu", "cuda")),
        (torch.get_rng_state, torch.set_rng_state, None),
        (np.random.get_state, np.random.set_state, None),
        (random.getstate, random.setstate, None),
        (sys.getrecursionlimit, sys.setrecursionlimit, None),
        (lambda: list(warnings.filters), _set_filters, None),
        (_umask, os.umask, None),
        (socket.getdefaulttimeout, socket.setdefaulttimeout, None),
        (_signals, _set_signals, None),
        *((partial(getattr, kind, name), partial(setattr, kind, name), plain) for kind, name, plain in flags),
    ]


def _set_filters(kept: list[Any]) -> None:
    """Put filters of warnings back; what was warned of once is told again only where they were changed."""
    if warnings.filters != kept:
        warnings.resetwarnings()
        warnings.filters[:] = kept  # type: ignore[index]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _signals() -> tuple[dict[int, Any], bool]:
    """Who handles what may end the process, and whether an alarm is set, which would."""
    named = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGALRM"))
    alarm = hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0
    return {number: signal.getsignal(number) for number in named if number is not None}, alarm


def _set_signals(found: tuple[dict[int, Any], bool]) -> None:
    handlers, alarm = found
    if threading.current_thread() is not threading.main_thread():  # no other one may
        return
    if hasattr(signal, "setitimer") and not alarm:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _matmul_precision() -> str:
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # it was set by a flag
        return "highest"


def _flushes_denormals() -> bool:
    import torch

    return not (torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 0.5).item()


@contextmanager
def same_place() -> Iterator[None]:
    """Undo afterwards what code of a user does to the current folder and to the variables that steer wbench."""
    known, folder = _steering(), None
    with suppress(OSError):  # it is gone
        folder = Path.cwd()
    try:
        yield
    finally:
        if folder is not None:
            with suppress(OSError):  # it went meanwhile
                os.chdir(folder)
        for name in _steering().keys() - known.keys():
            del os.environ[name]
        os.environ.update(known)


def _steering() -> dict[str, str]:
    """All but the files of families, which code of a user may add to."""
    return {name: value for name, value in os.environ.items() if name.startswith("WBENCH_") and name != "WBENCH_FAMILIES"}
