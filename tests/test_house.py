"""The house itself: which way imports go, how big rooms are, what stays out of a fast start, what the package holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PARTS = (("errors",), ("console",), ("benchmark",), ("learning",), ("networld", "baselines", "leaderboard"), ("cards",))
ALLOWED = {part: {part, *(p for earlier in _PARTS[:k] for p in earlier)} for k, parts in enumerate(_PARTS) for part in parts}
ALLOWED |= {"hub": {"hub"}}
_TOP = ("commands", "cli", "__main__")
ALLOWED |= {part: {*ALLOWED, *_TOP[: k + 1]} for k, part in enumerate(_TOP)}
LONGEST, MOST, MOST_IN = 320, 16, {"benchmark": 10}  # lines of a file; flat files of a folder


@cache
def sources() -> dict[str, Path]:
    """Every module of the package by its name."""
    files = [f for part in ALLOWED for f in [ROOT / f"{part}.py", *(ROOT / part).rglob("*.py")] if f.exists()]
    names = {f: ".".join(("wbench", *f.relative_to(ROOT).with_suffix("").parts)) for f in [ROOT / "__init__.py", *files]}
    return {name.removesuffix(".__init__"): file for file, name in names.items()}


@cache
def tree(name: str) -> ast.Module:
    """The parsed text of a module."""
    return ast.parse(sources()[name].read_text(encoding="utf-8"))


def imported(name: str) -> set[str]:
    """Modules of wbench that a module imports, relative or absolute; also inside a function, and for type checking alone."""
    package = name.split(".") if sources()[name].name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {f"{module}.{alias.name}" if f"{module}.{alias.name}" in sources() else module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.partition(".")[0] == "wbench"} - {"wbench"}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node: Tarjan, SIAM J. Comput. 1(2), 1972."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            found.append(sorted(stack[stack.index(node) :]))
            del stack[stack.index(node) :]

    for node in graph:
        if node not in index:
            visit(node)
    return [component for component in found if len(component) > 1]


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str):
    modules = [name for name in sources() if name.split(".")[1:2] == [part]]
    assert modules
    wrong = {name: bad for name in modules if (bad := {m for m in imported(name) if m.split(".")[1] not in ALLOWED[part]})}
    assert not wrong


def test_no_module_imports_itself_by_a_detour():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    graph = {name: {m for m in imported(name) if m in sources()} for name in sources() if name != "wbench"}
    assert not circles(graph)


def test_no_folder_and_no_file_is_too_full():
    files = [file for file in sources().values() if file.name != "__init__.py"]
    folders = {file.parent for file in files} - {ROOT}
    counts = {str(folder.relative_to(ROOT)): sum(file.parent == folder for file in files) for folder in folders}
    assert not {folder: count for folder, count in counts.items() if count > MOST_IN.get(folder, MOST)}
    assert len(files) > 100
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert not {file: count for file, count in lines.items() if count > LONGEST}


def test_no_module_needs_a_flag_of_open_that_windows_lacks():
    everywhere = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND"}
    nodes = [node for name in sources() for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in nodes if node.attr.startswith("O_")}
    assert used and used <= everywhere  # the others are asked for by getattr, with a default


def test_help_starts_without_heavy_imports():
    heavy = ("torch", "numpy", "datasets", "huggingface_hub", "rich", "pydantic")
    code = f"import sys, wbench.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_package_is_listed_for_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {name for name, file in sources().items() if file.name == "__init__.py"}


def test_every_file_that_is_no_python_is_in_the_wheel():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        file
        for package, globs in patterns.items()
        for glob in globs
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(glob)
    }
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    parts = tuple(f"{part}/" for part in ALLOWED)
    data = {ROOT / name for name in tracked.split("\0") if name.startswith(parts) and not name.endswith((".py", ".md", ".pyi"))}
    assert not {str(file.relative_to(ROOT)) for file in data if file.exists()} - {str(f.relative_to(ROOT)) for f in packed}
