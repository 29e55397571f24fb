"""Checks of a family's policies, references and data; see `run`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..agent import Agent
from ..data.recorder import mixture, record
from ..data.schema import column_shapes
from ..data.support import support
from ..family import QUALITIES
from ..site import RANGES
from .decentralised import first_peek
from .environment import ROLES, Case, need


def _policies(case: Case) -> str:
    family = case.family
    for role in ROLES:
        need(role in family.policies, f"no policy {role!r} among {sorted(family.policies)}", "add it; see Family.policies")
    need(set(family.behaviours) == set(QUALITIES), f"behaviours {sorted(family.behaviours)}", f"give {', '.join(QUALITIES)}")
    for quality, several in family.behaviours.items():
        need(len(several) > 0, f"behaviours[{quality!r}] is empty", "name at least one (policy, noise)")
        for name, noise in several:
            known = name in family.policies and 0.0 <= noise <= 1.0
            need(
                known, f"behaviours[{quality!r}] has {name, noise}", f"use noise in [0, 1] and one of {sorted(family.policies)}"
            )
    for name, build in family.policies.items():
        agents = build(), build()
        need(all(isinstance(agent, Agent) for agent in agents), f"policies[{name!r}] is no Agent", "subclass wbench's Agent")
        need(agents[0] is not agents[1], f"policies[{name!r}] gives the same object twice", "build a fresh agent every time")
    blind = {"random", "prior", "belief", "estimator", *(name for name, _ in family.support)}
    sees = sorted(name for name in blind if family.policies[name]().privileged)
    advice = "only oracle, genie and what records train data may be told the site or see hidden state"
    need(not sees, f"privileged: {', '.join(sees)}", advice)
    return f"{len(family.policies)} policies; support is recorded by {', '.join(name for name, _ in family.support)}"


def _decentralised(case: Case) -> str:
    family = case.family
    blind = [name for name, build in family.policies.items() if not build().privileged]
    for variant in case.variants:
        seeds = list(range(max(4, min(variant.agents, 8))))
        logs = support(family, variant, RANGES["dev"][0], len(family.support))
        for name, read in ((name, read) for name in blind for read in (None, logs)):
            policy: Agent = family.policies[name]()
            policy.adapt(family, variant, read)
            at = first_peek(policy, family, variant, [RANGES["dev"][0]] * len(seeds), seeds)
            seen = f"{variant.name}: what {name} does in slot {at} depends on what others observe"
            need(at is None, seen, "act on each agent's own row of obs and inbox; only privileged policies may see more")
    return f"{', '.join(blind)}: own observation and inbox only"


def _reward_range(case: Case) -> str:
    low, high = case.family.reward_range
    slack, least, most = 1e-6 * (high - low), math.inf, -math.inf
    for variant in case.variants:
        team = torch.cat([case.play(variant, role)[1].flatten() for role in ROLES])
        outside = float(((team < low - slack) | (team > high + slack)).float().mean())
        least, most = min(least, float(team.min())), max(most, float(team.max()))
        seen = (
            f"{variant.name}: team reward in [{float(team.min()):.3g}, {float(team.max()):.3g}], {outside:.1%} of slots outside"
        )
        need(outside < 0.001, f"{seen} reward_range [{low:g}, {high:g}]", "widen reward_range, or scale the reward")
    return f"team reward in [{least:.3g}, {most:.3g}], declared [{low:g}, {high:g}]"


def _references(case: Case) -> str:
    """What logs can teach is there to be learned: on the same episodes, pair by pair; `wbench protocol admission` says more."""
    worst = math.inf
    for variant in case.variants:
        for below, above, slack in (("random", "genie", 0.0), ("belief", "oracle", 0.0), ("oracle", "genie", 2.0)):
            pairs = case.play(variant, above)[0] - case.play(variant, below)[0]
            mean, error = float(pairs.mean()), float(pairs.std()) / math.sqrt(case.episodes)
            seen = f"{variant.name}: {above} - {below} = {mean:.3g} +- {error:.2g} over {case.episodes} episodes"
            wanted = "it must not be below 0" if slack else "it must be above 0"
            need(
                mean > (2.0 - 2.0 * slack) * error,
                seen,
                f"{wanted} by two standard errors: more --episodes, or a better policy",
            )
            worst = min(worst, mean / error if error else math.inf)
    return f"random < genie, belief < oracle, oracle no better than genie, over {case.episodes} dev sites each"


def _collection(case: Case) -> str:
    family = case.family
    for variant in case.variants:
        shapes = column_shapes(family, variant)
        for quality in QUALITIES:
            count = len(family.behaviours[quality])
            columns = record(family, variant, mixture(family, quality), list(RANGES["dev"][:count]), list(range(count)))
            for name, column in columns.items():
                if name in ("site", "behaviour"):
                    continue
                slots = variant.horizon + (name in ("obs", "action_mask"))
                expected = (count, slots, *shapes[name][0])
                seen = f"{variant.name}, {quality}: column {name} is {column.shape}"
                need(column.shape == expected, seen, f"make it {expected}: the same shape in every slot")
            if family.actions[0].kind == "categorical":
                action = torch.from_numpy(columns["action"]).reshape(count, variant.horizon, variant.agents, -1)[..., :1]
                allowed = torch.from_numpy(columns["action_mask"])[:, :-1].gather(-1, action.long())
                seen = f"{variant.name}, {quality}: {float((~allowed).float().mean()):.1%} of recorded choices are masked"
                need(bool(allowed.all()), seen, "let the mask allow what policies do, or policies obey state.action_mask")
        shots = support(family, variant, RANGES["dev"][0], len(QUALITIES))
        need(shots is not None and shots.shots == len(QUALITIES), f"{variant.name}: no support", "mend the above first")
    return f"{', '.join(QUALITIES)}, and support episodes"


CHECKS: dict[str, Callable[[Case], str]] = {
    "policies": _policies,
    "decentralised": _decentralised,
    "reward range": _reward_range,
    "references": _references,
    "collection": _collection,
}
