"""Every error that wbench raises on purpose.

A message is one line that says what was given, what is allowed and what to type next. The command line prints it and
exits with the error's `exit_code`; a traceback appears only under `WBENCH_DEBUG=1`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WbenchError(Exception):
    """Base of all wbench errors."""

    exit_code = 2


class UnknownNameError(WbenchError, LookupError):
    """A family, variant, agent, protocol or policy that does not exist."""

    def __init__(self, kind: str, given: str, allowed: Iterable[str], hint: str) -> None:
        names = sorted(allowed)
        close = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
        super().__init__(f"unknown {kind} {given!r}.{guess} Allowed: {shown}. Try: {hint}")


class InvalidValueError(WbenchError, ValueError):
    """A known setting with a value that is not allowed."""

    def __init__(self, field: str, given: object, allowed: str) -> None:
        super().__init__(f"{field} is {given!r}, but must be {allowed}.")


class CheckpointError(WbenchError):
    """A checkpoint that is missing, damaged or of another model."""


class OutputError(WbenchError):
    """A result or data file that cannot be written, or that belongs to something else."""


class DataError(WbenchError):
    """A dataset that is missing, damaged or of another schema."""


class NetworkError(WbenchError):
    """A mirror that cannot be reached, or that gave up half-way; the data itself may be fine."""

    exit_code = 3


class MissingPackageError(WbenchError, ImportError):
    """An optional package that is not installed."""


class ConformanceError(WbenchError):
    """A family that does not keep the contract."""


class BudgetError(WbenchError):
    """An agent asked for more environment steps than the protocol grants."""


class InterruptedRunError(WbenchError):
    """The user stopped a run; the message says what is kept and how to go on."""

    exit_code = 130
