"""A release small enough to record in seconds: two sites of two train variants, one held-out variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wbench.benchmark.data import download
from wbench.benchmark.data.cache import Cache
from wbench.benchmark.data.release import Release, Shard, contents
from wbench.benchmark.data.schema import TRAIN_FILES
from wbench.benchmark.family import Family
from wbench.benchmark.registry import get_family

RELEASE = Release("tiny", "1.0.0", 4, dict.fromkeys(TRAIN_FILES, 1), 2, 3)
_ALL = get_family("access")
NAMES = (_ALL.select("train")[0].name, _ALL.select("train")[2].name, _ALL.select("held-out")[2].name)
ONE, TWO, HELD = (name.partition("/")[2] for name in NAMES)
FILES = 2 * 5 + 3
FAMILY = replace(_ALL, variants={name: _ALL.variant(name) for name in NAMES})


def obtain(
    family: Family, release: Release, wanted: Sequence[Shard], *, root: Path | None = None, **options: Any
) -> download.Report:
    """Have these files in a folder."""
    return download.obtain(Cache(family, release, root), wanted, **options)


def build(family: Family, release: Release, root: Path | None = None, **options: Any) -> download.Report:
    """Have a whole release in a folder."""
    return obtain(family, release, contents(family, release), root=root, **options)


# The same in a process of its own: `CODE` defines FAMILY, RELEASE and the two functions.
CODE = """
import sys
from dataclasses import replace
from pathlib import Path
from wbench.benchmark.data.cache import verify
from wbench.benchmark.data.download import mirrors_for
from wbench.benchmark.data.release import Release, contents, dataset_folder
from wbench.tests.benchmark.tiny import FAMILY, RELEASE, build, obtain
"""
