"""Synthetic rows for the page: results of made-up agents, a dozen for the eye and any number for the clock."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any, NamedTuple

from wbench.benchmark.protocol.ledger import Ledger
from wbench.benchmark.protocol.runner import CellResult
from wbench.benchmark.protocol.statistics import Estimate, Interval, Summary
from wbench.leaderboard.board import ranked
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.result import VERSION, Result
from wbench.leaderboard.schema import Hardware, Origin, Package, Release
from wbench.leaderboard.summary import Grid, row_fields
from wbench.leaderboard.tables import ALL, RankInterval
from wbench.leaderboard.verification.verify import TIERS

VARIANTS = (
    "access/n8-c3-load0.15-l48",
    "access/n16-c4-load0.2-l64",
    "power/d2d-n20-s500-v1-load0.12-l48",
    "power/d2d-n20-s300-v1-load0.12-l48",
    "offload/n8-e2-p0.15",
    "offload/n18-e3-p0.15",
)
RANKED = (5, 20)  # shots at which the cast is ranked
SHOTS, EPISODES, HORIZON, AGENTS = (0, 1, 5, 20), 4, 100, 10
FAMILIES = ("access", "power", "offload")
ENERGY = {"access": 220.0, "power": 46.0, "offload": 310.0}
FRAME = {"spec": {"agents": AGENTS, "horizon": HORIZON}, "dynamics": "1", "random": [-100.0] * 5, "genie": [-10.0] * 5}
CONTRACT = {
    "version": "fewshot-v2",
    "variants": dict.fromkeys(VARIANTS, FRAME),
    "shots": list(SHOTS),
    "sites": [2_000_000 + number for number in range(5)],
    "episodes": EPISODES,
}


AT_ONE_SITE = CONTRACT | {
    "sites": CONTRACT["sites"][:1],
    "variants": dict.fromkeys(VARIANTS, FRAME | {"random": [-100.0], "genie": [-10.0]}),
}


class Made(NamedTuple):
    """A made-up agent: scores by family without shots, and what twenty shots add."""

    label: str
    skill: tuple[float, float, float]
    gain: float
    track: str = "offline"
    parameters: int = 0
    milliseconds: float = 0.2
    floats: int = 0
    tier: str = "rerun"
    privileged: bool = False
    privileged_training: bool = False


CAST = (
    Made("networld", (74.5, 78.2, 71.0), 9, parameters=2_856_066, milliseconds=38.4, floats=8),
    Made("networld-no-mf", (70.1, 76.0, 66.3), 8, parameters=2_840_002, milliseconds=36.9),
    Made("bcq", (73.0, 77.0, 68.8), 6, parameters=612_354, milliseconds=1.9),
    Made("iql", (68.4, 70.2, 61.7), 7, parameters=410_112, milliseconds=0.61),
    Made("iql/online", (68.4, 70.2, 61.7), 5, "online", 410_112, 0.61),
    Made("qmix", (62.0, 66.8, 55.0), 8, parameters=498_304, milliseconds=0.66, privileged_training=True),
    Made("mappo/scratch", (2.0, -3.0, 1.0), 34, "scratch", 301_570, 0.58, privileged_training=True),
    Made("mappo/online", (71.9, 80.4, 58.1), 4, "online", 301_570, 0.58, privileged_training=True),
    Made("bc", (74.9, 63.5, 11.8), 3, parameters=301_314, milliseconds=0.55),
    Made("estimator", (61.0, 55.5, 58.1), 24),
    Made("belief", (61.0, 55.5, 58.1), 0),
    Made("rule", (61.0, 55.5, 58.1), 0, milliseconds=0),
    Made("coma", (48.2, 41.9, 39.0), 0, tier="arithmetic"),
    Made("greedy", (38.2, 55.1, 41.9), 0, tier="reported"),
    Made("oracle", (93.0, 91.1, 90.3), 0, privileged=True),
    Made("genie", (100.0, 100.0, 100.0), 0, privileged=True, milliseconds=4.1),
    Made("random", (0.0, 0.0, 0.0), 0, milliseconds=0),
)


def entries() -> list[Entry]:
    """A board of the cast under `lite`, one row without its last cells, and a row under `quick`."""
    rows = [Entry(f"{made.label.replace('/', '-')}-lite-1f0c2a9be7d4.json", result(made), made.tier) for made in CAST]
    half = result(Made("dreamer-mf", (60.0, 61.0, 40.0), 5, parameters=4_100_000, milliseconds=12.0), missing=17)
    quick = replace(result(CAST[0]), protocol="quick", protocol_hash=_digest("quick"))
    rows += [Entry("dreamer-mf-lite-77aa.json", half, "rerun"), Entry("networld-quick-0a1b.json", quick, "rerun")]
    return ranked(rows, shots=RANKED)


def result(made: Made, missing: int = 0, contract: dict[str, Any] = CONTRACT) -> Result:
    """A result; the last `missing` cells have failed."""
    grid = Grid.of(contract)
    cells = [_cell(made, variant, k, site) for variant in grid.variants for k in grid.shots for site in grid.sites]
    for place in range(len(cells) - missing, len(cells)):
        lost = {"score": None, "return_mean": None, "returns": (), "qos": {}, "failure": "RuntimeError: out of memory"}
        cells[place] = replace(cells[place], **lost)
    agent = made.label.partition("/")[0]
    pretrained = made.parameters and made.track == "offline"
    found = Result(
        **row_fields(contract, cells),
        schema=VERSION,
        protocol="lite",
        protocol_hash=_digest(f"lite {contract}"),
        contract=contract,
        agent=agent,
        label=made.label,
        track=made.track,
        package=Package("wbench", "0.4.0"),
        checkpoint=_digest(made.label) if made.parameters else "",
        settings="",
        origin=Origin("packaged", f"{agent}-small", "") if made.parameters else Origin("none", "", ""),
        parameters=made.parameters,
        privileged=made.privileged,
        privileged_training=made.privileged_training,
        source_transitions=19_600_000 if pretrained else 0,
        source_steps=4_000_000 if made.track == "online" else 0,
        releases=tuple(Release(f, "standard", "v1.0.0", "1", _digest(f)) for f in FAMILIES),
        comparison=(),
        command=f"wbench eval --agent {agent} --protocol lite --against none --out result.json",
        versions={"wbench": "0.4.0", "torch": "2.12.1", "numpy": "2.3.1", "python": "3.11.9"},
        hardware=Hardware("Example CPU 3.0 GHz", 8, 1, "cpu"),
    )
    return replace(found, latency=made.milliseconds / 1000 or None)


def _cell(made: Made, variant: str, shots: int, site: int) -> CellResult:
    family, draw = variant.partition("/")[0], random.Random(f"{made.label} {variant} {shots} {site}")
    learnt = made.gain * (shots / 20) ** 0.4
    noise = (
        0.0
        if made.label in ("genie", "random", "oracle")
        else draw.gauss(VARIANTS.index(variant) % 2 * -4.0, 1.5 + made.gain / 6)
    )
    score = made.skill[FAMILIES.index(family)] + learnt + noise
    offline, steps = made.track == "offline", EPISODES * HORIZON
    delay = 14.0 - 0.11 * score + draw.random() * 0.4
    energy = ENERGY[family] * (0.55 + len(made.label) % 7 / 9 + draw.random() * 0.05)
    value, seconds = round(-100 + 0.9 * score, 6), round(steps * made.milliseconds / 1000, 3)
    qos = {"goodput": 0.5, "delay_mean": delay, "energy": energy}
    return CellResult(
        family=family,
        variant=variant,
        site=site,
        shots=shots,
        return_mean=value,
        score=round(score, 4),
        returns=(value,) * EPISODES,
        qos={name: (measured,) * EPISODES for name, measured in qos.items()},
        adaptation={},
        failure="",
        ledger=Ledger(
            support_transitions=shots * HORIZON * AGENTS if offline else 0,
            environment_steps=0 if offline else shots * HORIZON,
            gradient_steps=20 * shots,
            message_bits=32 * made.floats * AGENTS * steps,
            query_steps=steps,
            act_seconds=seconds,
            seconds=seconds + shots,
            cpu_seconds=seconds + shots,
        ),
    )


def many(count: int) -> list[Entry]:
    """`count` rows of one board, quickly: the cells of the cast under other names and other summaries."""
    results = [result(made, contract=AT_ONE_SITE) for made in CAST if not made.privileged]
    found = []
    for number in range(count):
        base, score = results[number % len(results)], 90.0 * (1 - number / count)
        summary = {str(k): _summary(score + k / 10) for k in SHOTS}
        place = {k: RankInterval(number + 1, min(number + 3, count)) for k in SHOTS}
        row = replace(base, label=f"agent-{number * 7919 % count:05d}", summary=summary)
        found.append(Entry(f"agent-{number:05d}.json", row, TIERS[number % 3], dict.fromkeys((ALL, *FAMILIES), place)))
    return found


def _summary(score: float) -> Summary:
    ends, other = (score, score - 1.5, score + 1.5), Estimate(score, None, None)
    one = Interval(*ends)
    return Summary(*ends, other, other, other, dict.fromkeys(FAMILIES, one), dict.fromkeys(VARIANTS, one))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
