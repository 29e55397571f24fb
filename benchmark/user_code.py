"""Loads what a user wrote from `FILE.py[:ATTR]` or `MODULE:ATTR`. That runs it: only for a name that the user typed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import shlex
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from ..errors import DataError, InvalidValueError, foreign
from .processes import plain_torch

_names: set[str] = set()  # of the modules that files of users were run as
_BESIDE: dict[Path, dict[str, ModuleType]] = {}  # modules that files of users have imported from beside them, by folder


def is_file(target: str) -> bool:
    """Whether this is `FILE.py` or `FILE.py:ATTR`, whether or not there is such a file."""
    return re.search(r"\.py(:\w+)?$", target) is not None


def load(target: str, default: str) -> tuple[str, object]:
    """Run a file or module and look an attribute up.

    Args:
        target: `FILE.py`, `FILE.py:ATTR`, `MODULE` or `MODULE:ATTR`.
        default: the attribute where none is named.

    Returns:
        `ATTR in PLACE` for messages, and what it holds; None where there is no such attribute.

    Raises:
        InvalidValueError: there is no such file.
        DataError: the code cannot be run.
    """
    place, _, attribute = target.rpartition(":") if re.search(r":\w+$", target) else (target, "", default)
    if place.endswith(".py") and not Path(place).is_file():
        raise InvalidValueError("the file of the agent or family", place, "a file that exists")
    try:
        with plain_torch():  # what the file sets for all of PyTorch would reach agents beside it
            module = _run_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
            found = getattr(module, attribute, None)  # which a module may compute
    except BaseException as error:
        raise DataError(f"cannot run {place}: {foreign(error)}. Try: python {place}") from error
    return f"{attribute} in {place}", found


def kind_of(found: object) -> str:
    """What `load` found, for messages."""
    return "missing" if found is None else type(found).__name__


def blame(error: BaseException) -> str | None:
    """One line on what a file of the user's raised, or made wbench raise; None where no such file took part."""
    taken = [
        (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_globals.get("__name__") in _names
    ]
    if not taken:
        return None
    frame, line = taken[-1]
    place = frame.f_code.co_filename
    hint = f"Try: wbench check {shlex.quote(place)}; its traceback: WBENCH_DEBUG=1"
    return f"{place}, line {line}, failed: {foreign(error)}. {hint}"


def _run_file(path: Path) -> object:
    """Run a file as a module of its own, once while it stays as it is; files beside it can be imported."""
    state = path.stat()
    return _run(path.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _run(path: Path, changed: int, size: int) -> object:
    for name, module in _beside_others(path.parent):  # files beside another file may have the same names
        if sys.modules.get(name) is module:
            del sys.modules[name]
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"_checked_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    _names.add(module.__name__)
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    finally:
        found = {name: sys.modules[name] for name in set(sys.modules) - before}
        own = {name for name, one in found.items() if "." not in name and _is_in(path.parent, one)}
        known = _BESIDE.setdefault(path.parent, {})
        known |= {name: one for name, one in found.items() if name.partition(".")[0] in own}
    return module


def _beside_others(folder: Path) -> list[tuple[str, ModuleType]]:
    return [item for other, modules in _BESIDE.items() if other != folder for item in modules.items()]


def _is_in(folder: Path, module: ModuleType) -> bool:
    """Whether a module, or a package, lies in this very folder."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    return (Path(file).parent if Path(file).name == "__init__.py" else Path(file)).parent == folder


def digest(source: Path) -> str:
    """SHA-256 of a file; of a user's, of the files beside it that it has imported as well."""
    files = {Path(one.__file__) for one in _BESIDE.get(source.resolve().parent, {}).values() if one.__file__}
    whole = hashlib.sha256(source.read_bytes())
    for file in sorted(files - {source.resolve()}):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
