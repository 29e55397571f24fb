"""A package with an agent of its own, for tests in other processes: it misbehaves on demand.

`moody` gambles with the global generators. In the environment variable MOODY: `raise SITE` raises in cells of that
held-out site, `die SITE` kills its process there, `sleep SECONDS` makes every batch of episodes last.
"""

from __future__ import annotations

import os
from pathlib import Path

CODE = """
import os, random, time
import torch
from wbench.benchmark.agent import Adaptation, Agent

class Moody(Agent):
    name, tracks = "moody", ("offline", "scratch")

    def begin(self, state):
        mood, _, value = os.environ.get("MOODY", "").partition(" ")
        if mood == "sleep":
            time.sleep(float(value))
        first = int(state.random._keys[0])  # tells sites apart
        if mood in ("raise", "die") and first == KEYS[int(value)]:
            if mood == "die":
                os.kill(os.getpid(), 9)
            raise RuntimeError("in a mood")

    def practise(self, environment):
        environment.reset(1)
        environment.step(torch.zeros(1, environment.variant.agents, dtype=torch.long))
        return Adaptation()

    def act(self, obs, inbox, state):
        return ((torch.rand(obs.shape[:2]) + random.random() > 1.5) & state.action_mask[..., 1]).long()

def build(checkpoint, device):
    return Moody()
"""


def install(folder: Path, variant: str, sites: int) -> dict[str, str]:
    """Put the package into a folder; returns the environment in which Python finds it."""
    from wbench.benchmark.randomness import EpisodeRandom
    from wbench.benchmark.seeds import query_seeds
    from wbench.benchmark.site import RANGES

    held_out = RANGES["held-out"][:sites]
    keys = [int(EpisodeRandom(variant, [site], query_seeds(1))._keys[0]) for site in held_out]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "moody_agent.py").write_text(f"KEYS = {keys}\n{CODE}")
    info = folder / "moody_agent-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-agent\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wbench.agents]\nmoody = moody_agent:build\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}
