"""wbench: the hub for offline multi-agent reinforcement learning in wireless networks.

    import wbench
    print(wbench.evaluate("networld", family="access"))

Act in a loop of your own:
    load_policy       an agent that acts in your loop: adapt(variant, logs), act(obs)
    load_support      logged episodes of a site, as agents adapt on them
    load_logs         your own network's logs, out of a CSV or Parquet file
    normalised_score  returns on the board's scale: 0 = random, 100 = genie
Environments:
    make              episodes of a variant, as tensors
    vector_env        the same as a Gymnasium VectorEnv
    parallel_env      the same as a PettingZoo ParallelEnv
World models:
    load_world        a world model: at(variant, logs), then imagine, fidelity, environment
    NetWorld          the network
Scores:
    evaluate          an agent under the few-shot protocol, beside others
    load_result       a result file
    play              an agent's episodes, with their returns
Data:
    load_dataset      recorded play, as a datasets.Dataset
    windows           random windows of recorded play, for a learner of your own
    record            your own play, into files
    to_minari, to_tensordict    recorded play for Minari and TorchRL
Agents:
    Agent             the base of an agent of your own
    make_agent, list_agents, list_families

The pages: docs/tutorial.md, docs/guides/python.md. Public names are imported when first used, so that `import wbench` and
`wbench --help` stay fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .benchmark.acting.environment import make as make
    from .benchmark.acting.logs import load_logs as load_logs
    from .benchmark.acting.policy import load_policy as load_policy
    from .benchmark.acting.policy import load_support as load_support
    from .benchmark.acting.record import record as record
    from .benchmark.acting.replay import normalised_score as normalised_score
    from .benchmark.acting.replay import windows as windows
    from .benchmark.adapters import parallel_env as parallel_env
    from .benchmark.adapters import vector_env as vector_env
    from .benchmark.adapters.exports import to_minari as to_minari
    from .benchmark.adapters.exports import to_tensordict as to_tensordict
    from .benchmark.agent import Agent as Agent
    from .benchmark.data.store import load_dataset as load_dataset
    from .benchmark.registry import list_agents as list_agents
    from .benchmark.registry import list_families as list_families
    from .benchmark.registry import make_agent as make_agent
    from .benchmark.rollout import play as play
    from .leaderboard.evaluate import evaluate as evaluate
    from .leaderboard.reading import load_result as load_result
    from .learning.place import load_world as load_world
    from .networld.model import NetWorld as NetWorld

_PUBLIC = {
    "Agent": ".benchmark.agent",
    "NetWorld": ".networld.model",
    "evaluate": ".leaderboard.evaluate",
    "list_agents": ".benchmark.registry",
    "list_families": ".benchmark.registry",
    "load_dataset": ".benchmark.data.store",
    "load_result": ".leaderboard.reading",
    "load_logs": ".benchmark.acting.logs",
    "load_policy": ".benchmark.acting.policy",
    "load_support": ".benchmark.acting.policy",
    "load_world": ".learning.place",
    "make": ".benchmark.acting.environment",
    "make_agent": ".benchmark.registry",
    "normalised_score": ".benchmark.acting.replay",
    "parallel_env": ".benchmark.adapters",
    "play": ".benchmark.rollout",
    "record": ".benchmark.acting.record",
    "to_minari": ".benchmark.adapters.exports",
    "to_tensordict": ".benchmark.adapters.exports",
    "vector_env": ".benchmark.adapters",
    "windows": ".benchmark.acting.replay",
}

__all__ = ["__version__", *_PUBLIC]


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]


def _tell_gymnasium() -> None:
    """Make `gymnasium.make("wbench/access-v0")` work: gymnasium finds no packages by itself. Imports nothing heavy."""
    if "gymnasium" in sys.modules:
        import_module(".benchmark.adapters.registration", __name__).register()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        _tell_gymnasium()
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_tell_gymnasium()
