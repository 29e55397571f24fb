"""A release small enough to record in a second: two episodes of two train variants, one held-out variant."""

from __future__ import annotations

from dataclasses import replace

from wbench.benchmark.data.release import Release
from wbench.benchmark.registry import get_family

RELEASE = Release("tiny", "1.0.0", 2, 2, 2)
NAMES = ("access/n4-c1-load0.2", "access/n6-c2-load0.3", "access/n8-c1-load0.5")
FILES = 2 * 4 + 2
FAMILY = replace(get_family("access"), variants={name: get_family("access").variant(name) for name in NAMES})

# The same in a process of its own: `CODE` defines FAMILY, RELEASE and the function build of the library.
CODE = f"""
import sys
from dataclasses import replace
from pathlib import Path
from wbench.benchmark.data.download import build, mirrors_for, obtain
from wbench.benchmark.data.release import Release, contents, dataset_folder
from wbench.benchmark.registry import get_family
RELEASE = Release("tiny", "1.0.0", 2, 2, 2)
FAMILY = replace(get_family("access"), variants={{name: get_family("access").variant(name) for name in {NAMES}}})
"""
