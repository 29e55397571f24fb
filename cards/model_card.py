"""The model card of a checkpoint, rendered from its config and training report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..benchmark.data.store import write_atomically
from ..benchmark.family import Family

_TEXT = """
# {agent} for {names}

{about}

{families}

Trained on the offline data of the train variants; held-out variants were never seen.

## Load and play

```bash
wbench eval --agent {agent} --checkpoint FOLDER
```

## Settings

| setting | value |
| --- | --- |
{settings}
{figures}
## Limits

Plays the families it was trained on and no others. Scores come from simulators, not from radio equipment. NetWorld's paper
(arXiv 2602.00558) is known to us by its abstract: this is our instantiation and reproduces none of its numbers.
"""
_ABOUT = {
    "networld": "A communication-based diffusion world model: agents share small messages, imagine their own future by "
    "diffusion, read off actions by inverse dynamics and choose by a Bellman value.",
    "bc": "Behaviour cloning on all recorded qualities: the control that every planner has to beat.",
}


def write_model_card(folder: Path, agent: str, families: Sequence[Family]) -> None:
    """Write `README.md` beside a checkpoint.

    Args:
        folder: where `config.json`, and `training_report.json` if there is one, are.
        agent: name of the agent.
        families: the families it was trained on.
    """
    from huggingface_hub import ModelCard, ModelCardData

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = "\n".join(f"| {key} | {value} |" for key, value in config.items() if key != "families")
    tags = ["wbench", agent, "multi-agent-reinforcement-learning", "offline-reinforcement-learning", "wireless"]
    data = ModelCardData(license="apache-2.0", library_name="wbench", tags=tags, pipeline_tag="reinforcement-learning")
    text = _TEXT.format(
        agent=agent,
        names=", ".join(family.name for family in families),
        about=_ABOUT[agent],
        families="\n".join(
            f"- `{f.name}` (dynamics version {f.version}, {len(f.select('train'))} train variants): {f.summary}."
            for f in families
        ),
        settings=settings,
        figures=_figures(folder / "training_report.json"),
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")
    write_atomically(folder / "README.md", lambda path: path.write_text(str(card), encoding="utf-8"))


def _figures(report: Path) -> str:
    """First and last losses of the training report; empty where there is none."""
    if not report.exists():
        return ""
    log: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["log"]
    rows = "\n".join(f"| {name} | {log[0][name]} | {log[-1][name]} |" for name in log[0] if name not in ("step", "seconds"))
    return f"\n## Training\n\n| figure | step {log[0]['step']} | step {log[-1]['step']} |\n| --- | --- | --- |\n{rows}\n"
