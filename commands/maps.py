"""The command that traces the gain maps of `handover` anew; nobody who plays needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, answer, progress


def trace(
    out: Annotated[Path, typer.Option(help="The file that the maps are written to (.npz).")],
    district: Annotated[
        list[int] | None, typer.Option(help="Number of a district; may be repeated. Left out: all of them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Trace the gain maps of `handover` with Sionna RT, and say how near they are to those of this package.

    Needs the extra `sionna` and LLVM 19; some 20 CPU-seconds a district.
    """
    import numpy as np

    from ..benchmark.data.paths import require_ours, write_atomically
    from ..benchmark.families.handover.trace import DISTRICTS, agreement, chosen
    from ..benchmark.families.handover.trace import trace as trace_maps

    require_ours(out, (), "Give another --out, or delete it.")
    numbers = chosen(district)
    with progress() as add:
        advance = add("tracing", len(numbers), 0)
        found = trace_maps(numbers, lambda: advance(1))

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **found)

    write_atomically(out, write)
    near = list(zip(numbers, agreement(found, numbers), strict=True))
    told = [{"district": k, "near": share, "worst_db": gap} for k, (share, gap) in near]
    rows = [[str(k), DISTRICTS[k][0], f"{share:.1%}", f"{gap:.1f} dB"] for k, (share, gap) in near]
    answer(
        as_json,
        {"out": str(out), "districts": told},
        ["district", "city", "within 1 dB of the package's", "99 % within"],
        rows,
    )
