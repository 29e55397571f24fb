"""wbench: the hub for offline multi-agent reinforcement learning in wireless networks.

    from wbench import NetWorld, load_dataset, make
    model = NetWorld.from_pretrained("networld-small")

Public names are imported when first used, so that `import wbench` and `wbench --help` stay fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .benchmark.adapters import parallel_env, vector_env
    from .benchmark.data.store import load_dataset
    from .benchmark.registry import make
    from .networld.model import NetWorld

_PUBLIC = {
    "NetWorld": ".networld.model",
    "load_dataset": ".benchmark.data.store",
    "make": ".benchmark.registry",
    "parallel_env": ".benchmark.adapters",
    "vector_env": ".benchmark.adapters",
}

__all__ = ["NetWorld", "__version__", "load_dataset", "make", "parallel_env", "vector_env"]


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
