"""wbench: the hub for offline multi-agent reinforcement learning in wireless networks.

    import wbench
    print(wbench.evaluate("networld", family="access"))

Public names are imported when first used, so that `import wbench` and `wbench --help` stay fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .benchmark.adapters import parallel_env, vector_env
    from .benchmark.agent import Agent
    from .benchmark.data.store import load_dataset
    from .benchmark.registry import list_agents, list_families, make, make_agent
    from .benchmark.rollout import play
    from .leaderboard.evaluate import evaluate
    from .leaderboard.reading import load_result
    from .networld.model import NetWorld

_PUBLIC = {
    "Agent": ".benchmark.agent",
    "NetWorld": ".networld.model",
    "evaluate": ".leaderboard.evaluate",
    "list_agents": ".benchmark.registry",
    "list_families": ".benchmark.registry",
    "load_dataset": ".benchmark.data.store",
    "load_result": ".leaderboard.reading",
    "make": ".benchmark.registry",
    "make_agent": ".benchmark.registry",
    "parallel_env": ".benchmark.adapters",
    "play": ".benchmark.rollout",
    "vector_env": ".benchmark.adapters",
}

__all__ = [
    "Agent",
    "NetWorld",
    "__version__",
    "evaluate",
    "list_agents",
    "list_families",
    "load_dataset",
    "load_result",
    "make",
    "make_agent",
    "parallel_env",
    "play",
    "vector_env",
]


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
