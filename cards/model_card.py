"""The model card of a checkpoint, rendered from its config and training report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..benchmark.checkpoint import digest_of_file
from ..benchmark.data.paths import write_text
from ..benchmark.family import Family, require

_TEXT = """
# {agent} for {names}

{about}

{families}

Trained on the offline data of the train variants; held-out variants were never seen.

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
_ABOUT = {
    "networld": "A communication-based diffusion world model: agents share small messages, imagine their own future by "
    "diffusion, read off actions by inverse dynamics and choose by a Bellman value.",
    "bc": "Behaviour cloning on all recorded qualities: the control that every planner has to beat.",
}


_CLASSES = {"networld": ("wbench", "NetWorld"), "bc": ("wbench.baselines.bc", "BehaviourCloning")}


def write_model_card(folder: Path, agent: str, families: Sequence[Family], results: Mapping[str, Any] | None = None) -> None:
    """Write `README.md` beside a checkpoint.

    Args:
        folder: where `config.json`, and `training_report.json` if there is one, are.
        agent: name of the agent.
        families: the families it was trained on.
        results: a result document of `wbench eval` for this very checkpoint; its scores go into the card and its `model-index`.

    Raises:
        InvalidValueError: the results are of another agent or checkpoint.
    """
    from huggingface_hub import ModelCard, ModelCardData

    weights = digest_of_file(folder / "model.safetensors")
    if results is not None:
        given = f"{results.get('agent')} {str(results.get('checkpoint'))[:12]}"
        fits = results.get("agent") == agent and results.get("checkpoint") == weights
        require(fits, "--results", given, f"of this checkpoint: {agent} {weights[:12]}")

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = "\n".join(f"| {key} | {value} |" for key, value in config.items() if key != "families")
    tags = ["wbench", agent, "multi-agent-reinforcement-learning", "offline-reinforcement-learning", "wireless"]
    data = ModelCardData(
        license="apache-2.0",
        library_name="wbench",
        tags=[*tags, "arxiv:2602.00558"],
        pipeline_tag="reinforcement-learning",
        model_name=folder.name if results else None,
        eval_results=_index(results) if results else None,
    )
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
        scores=_scores(results) if results else "",
        module=_CLASSES[agent][0],
        cls=_CLASSES[agent][1],
        version=version("wbench"),
        digest=weights[:12],
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")
    write_text(folder / "README.md", str(card))


def _means(results: Mapping[str, Any]) -> dict[tuple[str, int], float]:
    """Mean score of each (variant, shots), over the seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for cell in results["cells"]:
        found.setdefault((cell["variant"], cell["shots"]), []).append(cell["score"])
    return {key: sum(scores) / len(scores) for key, scores in found.items()}


def _index(results: Mapping[str, Any]) -> list[Any]:
    """The scores as the Hub's `model-index` wants them."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type=f"wbench-{variant.partition('/')[0]}",
            dataset_name=variant,
            metric_type="score",
            metric_name=f"score at {shots} shots, 0 = random, 100 = genie (protocol {results['protocol_hash'][:12]})",
            metric_value=round(mean, 2),
        )
        for (variant, shots), mean in _means(results).items()
    ]


def _scores(results: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| `{variant}` | {shots} | {mean:.1f} |" for (variant, shots), mean in _means(results).items())
    head = f"Protocol `{results['protocol']}` `{results['protocol_hash'][:12]}`; mean over seeds, 0 = random, 100 = genie."
    return f"\n## Scores on held-out variants\n\n{head}\n\n| variant | shots | score |\n| --- | --- | --- |\n{rows}\n"


def _figures(report: Path) -> str:
    """First and last losses of the training report; empty where there is none."""
    if not report.exists():
        return ""
    log: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["log"]
    rows = "\n".join(f"| {name} | {log[0][name]} | {log[-1][name]} |" for name in log[0] if name not in ("step", "seconds"))
    return f"\n## Training\n\n| figure | step {log[0]['step']} | step {log[-1]['step']} |\n| --- | --- | --- |\n{rows}\n"
