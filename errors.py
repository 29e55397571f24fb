"""Every error that wbench raises on purpose.

A message is one line that says what was given, what is allowed and what to type next. The command line prints it and
exits with the error's `exit_code`; a traceback appears only under `WBENCH_DEBUG=1`.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Collection, Iterable
from typing import Any

_LONGEST = 200  # characters of what was given, in a message


class WbenchError(Exception):
    """Base of all wbench errors. Any process can hand them on: they are pickled and copied without their constructors."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[WbenchError], arguments: tuple[Any, ...], state: dict[str, Any]) -> WbenchError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def _brief(given: object) -> str:
    """What a user gave, as Python writes it; of what is long, the beginning and the end."""
    try:
        text = repr(given)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(given).__name__} that is too long to show"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"


def foreign(error: BaseException) -> str:
    """Kind and message of what somebody else's code raised, on one line, whatever its `__str__` does.

    Raises:
        KeyboardInterrupt: it is one: the user's, not the code's, unless this process listens to no user.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        raise error
    try:
        said = " ".join(str(error).split())
    except Exception as worse:
        said = f"(its message raises {type(worse).__name__})"
    return f"{type(error).__name__}: {said}"


class UnknownNameError(WbenchError, LookupError):
    """A family, variant, agent, protocol or policy that does not exist."""

    def __init__(self, kind: str, given: object, allowed: Iterable[str], hint: str) -> None:
        names = sorted(allowed)
        short = isinstance(given, str) and len(given) <= 100
        close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5) if short else []
        guess = f" Did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
        super().__init__(f"unknown {kind} {_brief(given)}.{guess} Allowed: {shown}. Try: {hint}")


def require_known(kind: str, given: object, allowed: Collection[str], hint: str) -> None:
    """Raise `UnknownNameError` unless a name is one of those that are allowed."""
    if given not in allowed:
        raise UnknownNameError(kind, given, allowed, hint)


class InvalidValueError(WbenchError, ValueError):
    """A known setting with a value that is not allowed."""

    def __init__(self, field: str, given: object, allowed: str) -> None:
        super().__init__(f"{field} is {_brief(given)}, but must be {allowed}.")


def require(condition: bool, field: str, given: object, allowed: str) -> None:
    """Raise `InvalidValueError` unless the condition holds."""
    if not condition:
        raise InvalidValueError(field, given, allowed)


class CheckpointError(WbenchError):
    """A checkpoint that is missing, damaged or of another model."""


class OutputError(WbenchError):
    """A result or data file that cannot be written, or that belongs to something else."""


class DataError(WbenchError):
    """A dataset that is missing, damaged or of another schema."""


class ResultError(WbenchError):
    """A result file that is malformed, or whose numbers do not belong together."""


class VerificationError(WbenchError):
    """A well-formed result whose numbers do not hold up; the message says which."""

    exit_code = 1


class TrustError(WbenchError):
    """Something of a stranger's would have to be run or downloaded."""

    def __init__(self, what: str, done: str) -> None:
        super().__init__(f"{what} has to be {done} for this. If you trust it, add --trust.")


class NetworkError(WbenchError):
    """A mirror that cannot be reached, or that gave up half-way; the data itself may be fine."""

    exit_code = 3


class MissingPackageError(WbenchError, ImportError):
    """An optional package that is not installed."""


class ConformanceError(WbenchError):
    """A family that does not keep the contract."""


class BudgetError(WbenchError):
    """An agent asked for more environment steps than the protocol grants."""


class ExecutorError(WbenchError):
    """Workers that died or differ from this machine, or a cluster that cannot be reached; finished cells are kept."""


class FailedCellsError(WbenchError):
    """Cells in which an agent raised, or returned what cannot be played; the others are kept."""


class InterruptedRunError(WbenchError):
    """The user stopped a run; the message says what is kept and how to go on."""

    exit_code = 130
