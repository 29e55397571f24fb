"""The model card of a checkpoint, rendered from its config and training report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import write_text
from ..benchmark.family import Family, require
from ..benchmark.registry import get_variant
from ..errors import ResultError
from ..leaderboard.export import by_variant, model_index_entries
from ..leaderboard.reading import parse
from ..leaderboard.result import Result
from ..leaderboard.verification.verify import holds_recomputed
from ..learning.checkpoint import digest
from ..learning.training import REPORT
from .training_report import PICTURE

_TEXT = """
# {agent} for {names}

{about}

{families}

Trained {met} the train variants; held-out variants were never seen.

## Load and play

```bash
wbench eval --agent {agent} --checkpoint FOLDER   # or the Hub id NAMESPACE/NAME
```

```python
from {module} import {cls}

model = {cls}.from_pretrained(FOLDER)  # a Hub id takes revision="v1.0.0"
```

## Settings

| setting | value |
| --- | --- |
{settings}
{figures}
{scores}
## Intended use and limits

For research on offline multi-agent learning and planning in wireless networks, under wbench's few-shot protocol. Plays the
families it was trained on and no others. Scores come from simulators, not from radio equipment. NetWorld's paper (arXiv
2602.00558) is known to us by its abstract: this is our instantiation and reproduces none of its numbers.

## Licence and citation

Apache-2.0. Cite wbench {version}, checkpoint `{digest}`, and for NetWorld's idea arXiv:2602.00558.
"""


@dataclass(frozen=True)
class _About:
    """What a card says of an agent: where its network is, what it is, how it met the train variants."""

    module: str
    cls: str
    text: str
    met: str = "on the offline data of"
    field: str = "offline-reinforcement-learning"


_ABOUT = {
    "networld": _About(
        "wbench",
        "NetWorld",
        "A communication-based diffusion world model: agents share small messages, imagine their own future by diffusion, "
        "read off actions by inverse dynamics and choose by a Bellman value; where it was `taught`, actors on top of it act.",
    ),
    "networld-online": _About(
        "wbench",
        "NetWorld",
        "NetWorld that went on learning by playing train variants of what it `played`, in a network of its own; in the other "
        "families it is the one that it started from.",
        "by playing, and on the offline data of,",
        "online-reinforcement-learning",
    ),
    "bc": _About(
        "wbench.baselines.bc",
        "BehaviourCloning",
        "Behaviour cloning on all recorded qualities: the control that every planner has to beat.",
    ),
    "bc-inbox": _About(
        "wbench.baselines.bc",
        "BehaviourCloning",
        "Behaviour cloning that also broadcasts eight floats a slot and hears the mean of the others', as NetWorld does.",
    ),
    "bcq": _About(
        "wbench.baselines.bcq",
        "Bcq",
        "Behaviour cloning weighed by an additive value of the team: NetWorld's value without its world model and messages, "
        "a cheap control.",
    ),
    "bcq-taught": _About(
        "wbench.baselines.bcq_taught",
        "TaughtBcq",
        "bcq, and in `access` actors with messages of eight floats that a critic of the whole team taught, as it teaches "
        "NetWorld: what teaching is worth without a world model.",
    ),
    "iql": _About(
        "wbench.baselines.iql",
        "Iql",
        "Independent Q-learning on the team reward: Double-Q, dueling, conservative on logs.",
    ),
    "mappo": _About(
        "wbench.baselines.mappo",
        "Mappo",
        "MAPPO: an agent decides on its own observations; in training, its critic saw all.",
        "by playing in",
        "online-reinforcement-learning",
    ),
    "mappo-imagined": _About(
        "wbench.baselines.mappo",
        "Mappo",
        "MAPPO that cloned recorded experts, then learned in episodes that NetWorld imagined: its model without its planner.",
    ),
    "qmix": _About(
        "wbench.baselines.qmix",
        "Qmix",
        "QMIX: a monotonic mixture of the agents' values, for any number of agents, conservative on logs.",
    ),
}


def write_model_card(folder: Path, agent: str, families: Sequence[Family], results: Mapping[str, Any] | None = None) -> None:
    """Write `README.md` beside a checkpoint.

    Args:
        folder: where `config.json` is, and the training's report and picture if there are any.
        agent: name of the agent.
        families: the families it was trained on.
        results: a result document of `wbench eval` for this very checkpoint; its scores go into the card and its `model-index`.

    Raises:
        CheckpointError: the folder holds no checkpoint of this agent.
        InvalidValueError: the results are of another agent or checkpoint.
        ResultError: they are malformed, or do not hold.
    """
    from huggingface_hub import ModelCard, ModelCardData

    about = _ABOUT[agent]
    weights = digest(getattr(import_module(about.module), about.cls).from_pretrained(folder))
    result = None if results is None else parse(json.dumps(results).encode())
    if result is not None:
        if not holds_recomputed(result):
            raise ResultError("the numbers of --results do not follow from its episodes. See: wbench verify FILE")
        fits = (result.agent, result.checkpoint) == (agent, weights)
        require(fits, "--results", f"{result.agent} {result.checkpoint[:12]}", f"of this checkpoint: {agent} {weights[:12]}")

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = "\n".join(f"| {key} | {value} |" for key, value in config.items() if key != "families")
    tags = ["wbench", agent, "multi-agent-reinforcement-learning", about.field, "wireless"]
    data = ModelCardData(
        license="apache-2.0",
        library_name="wbench",
        tags=[*tags, "arxiv:2602.00558"],
        pipeline_tag="reinforcement-learning",
        model_name=folder.name if result else None,
        eval_results=model_index_entries(result) if result else None,
    )
    text = _TEXT.format(
        agent=agent,
        names=", ".join(family.name for family in families),
        about=about.text,
        met=about.met,
        families="\n".join(
            f"- `{f.name}` (dynamics version {f.version}, {len(f.select('train'))} train variants): {f.summary}."
            for f in families
        ),
        settings=settings,
        figures=_figures(folder),
        scores=_scores(result) if result else "",
        module=about.module,
        cls=about.cls,
        version=version("wbench"),
        digest=weights[:12],
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")
    write_text(folder / "README.md", str(card))


def _scores(result: Result) -> str:
    rows = "\n".join(f"| `{variant}` | {shots} | {found:.1f} |" for shots, variant, found in by_variant(result))
    scale = "interquartile mean over seeds [95 % interval], 0 = random, 100 = genie"
    track = f" Track `{result.track}`." if result.label != result.agent else ""
    head = f"Protocol `{result.protocol}` `{result.protocol_hash[:12]}`; {scale}.{track}"
    splits = " and ".join(sorted({get_variant(variant)[1].split for variant in result.contract["variants"]}))
    return f"\n## Scores on {splits} variants\n\n{head}\n\n| variant | shots | score |\n| --- | --- | --- |\n{rows}\n"


def _figures(folder: Path) -> str:
    """First and last of each figure of the training report, which may have several parts, and its picture; empty without."""
    report = folder / REPORT
    if not report.exists():
        return ""
    log: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["log"]
    first, last = ({name: value for entry in entries for name, value in entry.items()} for entries in (log[::-1], log))
    names = [name for name, value in last.items() if isinstance(value, float | int) and name not in ("step", "seconds")]
    rows = "\n".join(f"| {name} | {first[name]} | {last[name]} |" for name in names)
    picture = f"![Losses over the steps of the training]({PICTURE})\n\n" if (folder / PICTURE).exists() else ""
    return f"\n## Training\n\n{picture}| figure | first | last, by step {last['step']} |\n| --- | --- | --- |\n{rows}\n"
