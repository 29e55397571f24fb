"""Results in the formats of others: the Hub's evaluation results and model cards, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import yaml

from ..benchmark.protocol.statistics import Interval
from ..errors import InvalidValueError, ResultError, require_known
from .result import Result

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: rf"\{c}" for c in "&%$#_{}"}


def export(results: Sequence[Result], form: str, namespace: str | None = None) -> str:
    """Results as text in one of `FORMATS`.

    Args:
        results: one or more; `eval-results` and `model-index` are of one.
        form: the format.
        namespace: of the datasets on the Hub, for `eval-results`.

    Raises:
        UnknownNameError: there is no such format.
        InvalidValueError: too many results for it, or the namespace is missing.
        ResultError: the results are of different protocols, or nothing in them is complete.
    """
    require_known("format", form, FORMATS, "wbench results export FILE --format csv")
    if form in ("eval-results", "model-index") and len(results) > 1:
        raise InvalidValueError("FILES", f"{len(results)} files", f"one file: {form} is about one checkpoint")
    return FORMATS[form](results, namespace)


def model_index_entries(result: Result) -> list[EvalResult]:
    """The scores of every variant as the Hub's `model-index` wants them."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type=f"wbench-{variant.partition('/')[0]}",
            dataset_name=variant,
            dataset_config=variant.partition("/")[2],  # the Hub tells data sets apart by type and config, not by name
            metric_type="score",
            metric_name=f"score at {shots} shots, 0 = random, 100 = genie (protocol {result.protocol_hash[:12]})",
            metric_value=round(found.iqm, 2),
        )
        for shots, variant, found in by_variant(result)
    ]


def by_variant(result: Result) -> list[tuple[str, str, Interval]]:
    """(shots, variant, estimate) of everything that is complete."""
    summaries = result.summary.items()
    return [(shots, variant, found) for shots, s in summaries if s is not None for variant, found in s.variants.items()]


def _model_index(results: Sequence[Result], _: str | None) -> str:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    (result,) = results
    entries = model_index_entries(result)
    if not entries:
        raise ResultError("no number of shots is complete; there is nothing to export. Finish the run.")
    return _yaml({"model-index": eval_results_to_model_index(result.origin.name.rpartition("/")[2] or result.agent, entries)})


def _eval_results(results: Sequence[Result], namespace: str | None) -> str:
    """One entry a family and number of shots: the Hub wants one number each, and its revision where the data is published."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    from ..benchmark.data.hub_mirror import repository

    if namespace is None:
        raise InvalidValueError("--namespace", namespace, "the user or organisation whose wbench datasets these scores are on")
    (result,) = results
    entries = [
        EvalResultEntry(
            dataset_id=repository(namespace, family),
            task_id=f"{result.protocol}-{shots}-shots",
            value=round(found.iqm, 2),
            notes=f"interquartile mean {found:.1f}, 0 = random, 100 = genie; protocol {result.protocol_hash}",
        )
        for shots, summary in result.summary.items()
        if summary is not None
        for family, found in summary.families.items()
    ]
    if not entries:
        raise ResultError("no number of shots is complete; there is nothing to export. Finish the run.")
    return _yaml(eval_result_entries_to_yaml(entries))


def _yaml(data: object) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=False, width=120)


def _csv(results: Sequence[Result], _: str | None) -> str:
    """A line for every query episode; quality of service that a family does not have is left empty."""
    qos = list(dict.fromkeys(name for result in results for cell in result.cells for name in cell.qos))
    about = ["label", "track", "checkpoint", "protocol", "protocol_hash", "family", "variant", "site", "shots"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*about, "cell_score", "episode", "return", *qos])
    for result in results:
        of_run = [result.label, result.track, result.checkpoint, result.protocol, result.protocol_hash]
        for cell in result.cells:
            of_cell = [cell.family, cell.variant, cell.site, cell.shots, cell.score]
            for episode, value in enumerate(cell.returns):
                measured = [cell.qos[name][episode] if name in cell.qos else "" for name in qos]
                table.writerow([*of_run, *of_cell, episode, value, *measured])
    return text.getvalue()


def _latex(results: Sequence[Result], _: str | None) -> str:
    """A booktabs table: agents by number of shots, the score over everything and by family."""
    first = results[0]
    if any(result.protocol_hash != first.protocol_hash for result in results):
        raise ResultError("the results are of different protocols and cannot stand in one table. Play them under one.")
    families = list(dict.fromkeys(name.partition("/")[0] for name in first.contract["variants"]))
    head = " & ".join(["Agent", "Shots", "All", *map(latex, families)])
    lines = [
        f"% wbench, protocol {first.protocol}, SHA-256 {first.protocol_hash}",
        "% Interquartile mean [95 % interval]; 0 = random, 100 = genie. Needs: \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{lr{'r' * (1 + len(families))}}}",
        "\\toprule",
        f"{head} \\\\",
    ]
    for shots in map(str, first.contract["shots"]):
        lines.append("\\midrule")
        for result in results:
            summary = result.summary[shots]
            found = [summary, *(summary.families[name] for name in families)] if summary else []
            cells = [f"{one:.1f}" for one in found] or ["--"] * (1 + len(families))
            lines.append(" & ".join([latex(result.label), shots, *cells]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _SPECIAL[found[0]], text)


FORMATS: dict[str, Callable[[Sequence[Result], str | None], str]] = {
    "eval-results": _eval_results,
    "model-index": _model_index,
    "csv": _csv,
    "latex": _latex,
}
