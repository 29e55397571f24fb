"""The house itself: which way imports go, what stays out of a fast start, what the package holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PARTS = (("errors",), ("benchmark",), ("learning",), ("networld", "baselines", "leaderboard"), ("cards",))
ALLOWED = {part: {part, *(p for earlier in _PARTS[:k] for p in earlier)} for k, parts in enumerate(_PARTS) for part in parts}
ALLOWED |= {"hub": {"hub"}}


def imported_parts(path: Path) -> set[str]:
    """Top-level parts of wbench that a file imports, relative or absolute."""
    package = ("wbench", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        found |= {name[1] for name in names if name[0] == "wbench" and len(name) > 1}
    return found - {"__version__"}


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str):
    files = [ROOT / f"{part}.py"] if part == "errors" else sorted((ROOT / part).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): bad for f in files if (bad := imported_parts(f) - ALLOWED[part])}
    assert not wrong


def test_help_starts_without_heavy_imports():
    heavy = ("torch", "numpy", "datasets", "huggingface_hub", "rich")
    code = f"import sys, wbench.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_package_is_listed_for_the_wheel():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {p.parent for part in ALLOWED if part != "errors" for p in (ROOT / part).rglob("__init__.py")}
    assert listed == {"wbench"} | {".".join(("wbench", *f.relative_to(ROOT).parts)) for f in folders}
