"""Verifies a result in three tiers, each deeper than the one before: reported, arithmetic, rerun."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...benchmark.data.paths import write_text
from ...errors import InvalidValueError, OutputError, ResultError, UnknownNameError
from .. import provenance
from ..reading import parse, read_bytes
from ..result import Result
from .recompute import complaints
from .rerun import Plan, Replayed, rerun

SIDECAR = "wbench-verified/1"
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
    """

    file: str
    sha256: str
    asked: str
    tier: str
    problems: tuple[str, ...] = ()
    seed: int | None = None
    replayed: tuple[Replayed, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether it holds in the tier that was asked for."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "holds": self.holds}


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
    if tier not in TIERS:
        raise UnknownNameError("tier", tier, TIERS, "wbench results verify FILE --tier arithmetic")
    content = read_bytes(path)
    result, found = parse(content), Verification(path.name, hashlib.sha256(content).hexdigest(), tier, "reported")
    if tier == "reported":
        return found
    if problems := tuple(complaints(result)):
        return replace(found, problems=problems)
    if tier == "arithmetic":
        return replace(found, tier=tier)
    again = rerun(result, plan or Plan())
    reached = "arithmetic" if again.problems else "rerun"
    return replace(found, tier=reached, problems=again.problems, seed=again.seed, replayed=again.replayed)


def arithmetic_holds(result: Result) -> bool:
    """Whether a result reaches the tier `arithmetic`."""
    return next(complaints(result), None) is None


def sidecar(path: Path) -> Path:
    """Where a maintainer's verification of a result file is kept."""
    return path.with_suffix(".verified.json")


def record(path: Path, found: Verification) -> Path:
    """Write a verification beside its file, for the board to show; only one that holds after a rerun."""
    if found.tier != "rerun":
        raise InvalidValueError("--record", found.tier, "left out unless --tier rerun holds: lower tiers are checked each time")
    cells = [[one.variant, one.site, one.shots] for one in found.replayed]
    data = {"schema": SIDECAR, "sha256": found.sha256, "tier": found.tier, "seed": found.seed, "cells": cells}
    try:
        write_text(sidecar(path), json.dumps({**data, "versions": provenance.versions()}, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {sidecar(path)} ({error.strerror}). The result holds, unrecorded.") from error
    return sidecar(path)


def recorded_tier(path: Path, content: bytes) -> str | None:
    """The tier in the sidecar of a file with this content; None where there is none, or it is of other content."""
    try:
        data = json.loads(sidecar(path).read_text(encoding="utf-8"))
        if data["schema"] != SIDECAR or data["tier"] not in TIERS:
            raise ValueError(f"schema {data['schema']!r:.40}, tier {data['tier']!r:.40}")
        return data["tier"] if data["sha256"] == hashlib.sha256(content).hexdigest() else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{sidecar(path)} is no record of a verification ({error!r:.100}).") from error
