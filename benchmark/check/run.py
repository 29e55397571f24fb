"""`wbench check`: does a family keep the contract that the harness, the data and the agents rely on?

A check is a function of a `Case` that returns what it found, or raises `Broken` with what is wrong and what to do about it. A
check that crashes has failed: nothing passes in silence. To add one, write the function and list it in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import InvalidValueError, UnknownNameError, foreign, require
from ..agent import Agent
from ..family import Family, Variant
from ..protocol.spec import FAMILIES
from ..registry import get_family, list_families, make_agent
from ..user_code import is_file, kind_of, load
from . import environment, policies, randomness, sites
from .decentralised import Question, peeks
from .environment import Broken, Case

EPISODES = 32  # behind the references of each variant
SHOTS = 5  # after which an agent is asked whether it looks at others'
CHECKS: dict[str, Callable[[Case], str]] = {**environment.CHECKS, **randomness.CHECKS, **sites.CHECKS, **policies.CHECKS}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        passed: whether the family keeps this part of the contract.
        found: what was seen.
        advice: what to do, empty if it passed.
    """

    check: str
    passed: bool
    found: str
    advice: str = ""


def check(
    family: Family,
    episodes: int = EPISODES,
    variants: Sequence[Variant] | None = None,
    on_check: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Run every check on a family.

    Args:
        family: the family; it need not be registered.
        episodes: episodes behind the references of each variant.
        variants: play these only; None = all of them.
        on_check: told the name of every check that is done, for progress bars.

    Returns:
        One finding a check, in the order of `CHECKS`.
    """
    require(episodes >= 2, "--episodes", episodes, "2 or more")
    case = Case(family, tuple(family.variants.values() if variants is None else variants), episodes)
    findings = []
    for name in CHECKS:
        findings.append(finding(name, case))
        if on_check:
            on_check(name)
    return findings


def finding(name: str, case: Case) -> Finding:
    """What one of `CHECKS` finds."""
    try:
        return Finding(name, True, CHECKS[name](case))
    except Broken as broken:
        return Finding(name, False, broken.found, broken.advice)
    except BaseException as error:  # the family's own code: whatever it raises is a finding
        return Finding(name, False, f"could not run: {foreign(error)}", "mend this first; a check that cannot run has failed")


def check_agent(agent: Agent, on_check: Callable[[str], None] | None = None) -> list[Finding]:
    """Whether an agent acts on its own observation and inbox alone, in a train variant of every family that it knows.

    It is asked in every slot, at zero shots and after `SHOTS`, as many episodes at once as `lite` plays.
    """
    findings = []
    for family in map(get_family, FAMILIES):
        if agent.knows(family):
            variant = family.select("train")[0]
            found = next(filter(None, (peeks(agent, family, variant, Question(shots=k)) for k in (0, SHOTS))), "")
            advice = "act on each agent's own row of obs and inbox" if found else ""
            said = found or "own observation and inbox only"
            findings.append(Finding(f"decentralised in {family.name}", not found, said, advice))
        if on_check:
            on_check(family.name)
    return findings


def agent_of(target: str, checkpoint: str | None = None) -> Agent | None:
    """The agent that a user's file builds, of a checkpoint; None where the target is no file, or one that holds a family."""
    if not is_file(target) or isinstance(load(target, "FAMILY")[1], Family) or load(target, "build")[1] is None:
        return None
    return make_agent(target, checkpoint, run_files=True)


def find(target: str) -> tuple[Family, tuple[Variant, ...]]:
    """The family that a user names, and the variants to play.

    Args:
        target: a family, a variant (that one only is played), `FILE.py`, `FILE.py:ATTR` or `MODULE:ATTR`; the attribute is
            `FAMILY` by default. A file or module is run as the user's own code.

    Raises:
        UnknownNameError: there is no such family, variant or file.
        DataError: the code cannot be run.
        InvalidValueError: what it holds is no `Family`.
    """
    name = target.partition("/")[0]
    if name in list_families():
        family = get_family(name)
        require(family.name == name, "entry point", name, f"the family's own name, {family.name!r}")
        return family, tuple(family.variants.values()) if target == name else (family.variant(target),)
    if ":" not in target and not is_file(target):
        raise UnknownNameError("family, variant or FILE.py", target, list_families(), "wbench list, or wbench check FILE.py")
    where, held = load(target, "FAMILY")
    if not isinstance(held, Family):
        raise InvalidValueError(where, kind_of(held), "a wbench.benchmark.family.Family")
    return held, tuple(held.variants.values())
