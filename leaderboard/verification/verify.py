"""Verifies a result in three tiers, each deeper than the one before: reported, arithmetic, rerun."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...benchmark.data.paths import possible, read_text, write_text
from ...errors import InvalidValueError, ResultError, require, require_known
from .. import provenance
from ..reading import parse, read_file
from ..result import Result
from .recompute import complaints
from .rerun import LEAST, Plan, Replayed, rerun

SIDECAR = "wbench-verified/2"
SIDECARS = ("wbench-verified/1", SIDECAR)  # before 2, a record did not say its tolerance: every episode was the same
LOOSEST = 0.5  # points of score by which a recorded rerun may be off
_LARGEST_RECORD = 1 << 20  # bytes
TIERS = ("reported", "arithmetic", "rerun")  # each holds all that the one before it holds


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        file: name of the file.
        sha256: of its bytes.
        asked: the tier that was asked for.
        tier: the highest that holds; `reported` at least, since a malformed file is refused.
        problems: what does not hold, one line each.
        seed: draws the same sample of cells again; None below the tier `rerun`.
        replayed: the cells that were played again.
        cells: how many cells the result has.
        tolerance: points by which a cell's score might be off; 0 = every episode had to be the same.
    """

    file: str
    sha256: str
    asked: str
    tier: str
    problems: tuple[str, ...] = ()
    seed: int | None = None
    replayed: tuple[Replayed, ...] = field(default=())
    cells: int = 0
    tolerance: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it holds in the tier that was asked for."""
        return not self.problems


def verify(path: Path, tier: str = "arithmetic", plan: Plan | None = None) -> Verification:
    """Verify a file as far as a tier.

    Args:
        path: the result file.
        tier: one of `TIERS`.
        plan: how to play again, for the tier `rerun`.

    Raises:
        ResultError: it is malformed.
        UnknownNameError: there is no such tier.
        TrustError: rerunning it would run or download something that was not trusted.
    """
    require_known("tier", tier, TIERS, "wbench results verify FILE --tier arithmetic")
    content = read_file(path)
    result, found = parse(content), Verification(path.name, hashlib.sha256(content).hexdigest(), tier, "reported")
    if tier == "reported":
        return found
    if problems := tuple(complaints(result)):
        return replace(found, problems=problems)
    if tier == "arithmetic":
        return replace(found, tier=tier)
    plan = plan or Plan()
    again = rerun(result, plan)
    reached = "arithmetic" if again.problems else "rerun"
    found = replace(found, cells=len(result.cells), tolerance=plan.tolerance)
    return replace(found, tier=reached, problems=again.problems, seed=again.seed, replayed=again.replayed)


def arithmetic_holds(result: Result) -> bool:
    """Whether a result reaches the tier `arithmetic`."""
    return next(complaints(result), None) is None


def sidecar(path: Path) -> Path:
    """Where a maintainer's verification of a result file is kept."""
    return path.with_suffix(".verified.json")


def record(path: Path, found: Verification) -> Path:
    """Write a verification beside its file, for the board to show; only one that holds after a rerun that says something.

    Raises:
        InvalidValueError: no rerun holds, or it was of too few cells, or its tolerance is loose.
        OutputError: the record cannot be written.
    """
    if found.tier != "rerun":
        raise InvalidValueError("--record", found.tier, "left out unless --tier rerun holds: lower tiers are checked each time")
    require_recordable(len(found.replayed) if len(found.replayed) < found.cells else LEAST, found.tolerance)
    cells = [[one.variant, one.site, one.shots, one.score, one.score_again] for one in found.replayed]
    told = {"seed": found.seed, "tolerance": found.tolerance, "of": found.cells, "cells": cells}
    data = {"schema": SIDECAR, "sha256": found.sha256, "tier": found.tier, **told, "versions": provenance.versions()}
    with possible(f"write {sidecar(path)}", "The result holds, unrecorded."):
        write_text(sidecar(path), json.dumps(data, indent=1) + "\n")
    return sidecar(path)


def require_recordable(cells: int, tolerance: float) -> None:
    """Raise `InvalidValueError` unless a rerun of so many cells, as close as this, may be recorded."""
    require(cells >= LEAST, "--cells", cells, f"{LEAST} or more with --record")
    require(tolerance <= LOOSEST, "--tolerance", tolerance, f"at most {LOOSEST} points with --record")


@dataclass(frozen=True)
class Record:
    """What a maintainer's record says: how many cells were played again, of how many, and how close they had to be."""

    cells: int
    of: int
    tolerance: float

    def __str__(self) -> str:
        close = f"scores within {self.tolerance:g} points" if self.tolerance else "every episode the same"
        return f"{self.cells} of {self.of} cells played again, {close}"


def recorded(path: Path, sha256: str, cells: int) -> Record | None:
    """The record beside a file of these bytes; None where there is none, or it is of other content, or says too little.

    Args:
        path: the result file.
        sha256: of its bytes.
        cells: how many it has.

    Raises:
        ResultError: what lies there is no record.
    """
    try:
        data = json.loads(read_text(sidecar(path), _LARGEST_RECORD))
        if data["schema"] not in SIDECARS or data["tier"] not in TIERS:
            raise ValueError(f"schema {data['schema']!r:.40}, tier {data['tier']!r:.40}")
        found = Record(len(data["cells"]), cells, float(data.get("tolerance", 0.0)))
        holds = data["tier"] == "rerun" and data["sha256"] == sha256
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ResultError(f"{sidecar(path)} is no record of a verification ({error!r:.100}).") from error
    enough = found.cells >= min(LEAST, cells) and 0.0 <= found.tolerance <= LOOSEST
    return found if holds and enough else None
