"""`wbench doctor`: what this machine has, and what would go wrong here."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..benchmark.data.paths import home, nearest, writable
from ..benchmark.data.publish import packaged_checkpoints
from ..benchmark.data.store import list_datasets
from ..benchmark.registry import get_family, list_families, make_agent
from ..errors import WbenchError
from ..learning.precision import VARIABLE, precision

PACKAGES = ("wbench", "torch", "numpy", "scipy", "pyarrow", "datasets", "huggingface_hub", "safetensors", "pandas")
LITTLE = 5_000_000_000  # bytes: what `standard` of all families takes, with some room
_HF = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "WBENCH_HOME", "WBENCH_NAMESPACE", VARIABLE)


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at.

    Attributes:
        what: its name.
        found: what was found.
        healthy: False where something will not work; the command then fails.
    """

    what: str
    found: str
    healthy: bool = True


def examine(network: bool = True) -> list[Symptom]:
    """Look at everything; `network` False leaves mirrors alone."""
    found = [Symptom("python", f"{platform.python_version()} at {sys.executable}", sys.version_info >= (3, 11))]
    found += [_package(name) for name in PACKAGES]
    found += [symptom for name in list_families() if (symptom := _plugin(name))]
    found += [_threads(), _precision(), *_disk(), *_releases()]
    found += [Symptom(name, os.environ[name]) for name in _HF if name in os.environ]
    found.append(Symptom("HF_TOKEN", "set" if os.environ.get("HF_TOKEN") else "not set"))
    found += [_checkpoint(name, path) for name, path in packaged_checkpoints().items()]
    if network:
        found.append(_hub())
    return found


def _package(name: str) -> Symptom:
    try:
        return Symptom(name, version(name))
    except PackageNotFoundError:
        return Symptom(name, "not installed", name == "pandas")


def _plugin(family: str) -> Symptom | None:
    """A family that cannot be loaded."""
    try:
        get_family(family)
    except WbenchError as error:
        return Symptom(f"family {family}", str(error), False)
    return None


def _threads() -> Symptom:
    import torch

    devices = f", CUDA {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no CUDA"
    return Symptom("threads", f"{torch.get_num_threads()} of torch, {os.cpu_count()} processors{devices}")


def _precision() -> Symptom:
    try:
        return Symptom("training", f"matrix products in {precision('cpu')}")
    except WbenchError as error:
        return Symptom("training", str(error), False)


def _disk() -> list[Symptom]:
    folder = home()
    there = nearest(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    free = shutil.disk_usage(there).free
    return [
        Symptom("cache", f"{folder}: {size / 1e6:.1f} MB{'' if writable(folder) else ', not writable'}", writable(folder)),
        Symptom("free disk", f"{free / 1e9:.1f} GB{'' if free > LITTLE else ', too little for standard'}", free > 50_000_000),
    ]


def _releases() -> list[Symptom]:
    rows = [row for row in list_datasets() if row["here"]]
    return [
        Symptom(f"{row['family']} {row['release']}", f"{row['here']} of {row['files']} files, {int(row['bytes']) / 1e6:.1f} MB")
        for row in rows
    ] or [Symptom("datasets", "none yet; what is needed is downloaded or recorded when it is needed")]


def _checkpoint(name: str, path: Path) -> Symptom:
    agent = re.sub(r"-[a-z]+(-\d+)?$", "", name)  # AGENT-PRESET, or AGENT-PRESET-SEED of a further training
    try:
        return Symptom(f"checkpoint {name}", f"as shipped, {make_agent(agent, str(path)).parameters:,} parameters")
    except WbenchError as error:
        return Symptom(f"checkpoint {name}", str(error), False)


def _hub() -> Symptom:
    """A configured namespace must be reachable; without one the Hub is not needed."""
    from ..benchmark.data.hub_mirror import offline, tags_of

    namespace = os.environ.get("WBENCH_NAMESPACE")
    if offline():
        return Symptom("hub", "switched off by HF_HUB_OFFLINE=1")
    if not namespace:
        return Symptom("hub", "not configured (WBENCH_NAMESPACE); data are recorded here")
    try:
        tags = {name: tags_of(f"{namespace}/wbench-{name}", "dataset") for name in list_families()}
    except WbenchError as error:
        return Symptom("hub", str(error), False)
    shown = (f"{namespace}/wbench-{name}: {', '.join(found) or 'nothing'}" for name, found in tags.items())
    return Symptom("hub", "; ".join(shown))
