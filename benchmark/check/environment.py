"""Checks of a family's fields, variants and environment; see `run`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ...errors import WbenchError, foreign
from ..agent import State, random_action
from ..data.schema import QOS
from ..family import Env, Family, Variant
from ..randomness import EpisodeRandom
from ..rollout import play
from ..seeds import REFERENCE_SEEDS
from ..site import RANGES

SITES, SEEDS = tuple(RANGES["dev"][k] for k in (2, 0, 1, 0)), (3, 1, 4, 15)  # episodes of the checks of the dynamics
EPISODE_QOS = ("goodput", "delay_mean", "delay_p95", "drops", "energy")
ROLES = ("random", "prior", "belief", "estimator", "oracle", "genie")
ROUNDING = 1e-5  # relative and absolute, between batches of other sizes
LARGEST_FEATURE = 1000.0  # training holds observations in half precision, and networks want numbers of order 1

Transcript = list[dict[str, Tensor]]  # by slot, all that an environment showed; entry 0 is the reset


@dataclass
class Case:
    """What is being checked, and the plays that several checks share.

    Attributes:
        family: the family.
        variants: those of its variants that are played.
        episodes: episodes behind the references.
    """

    family: Family
    variants: tuple[Variant, ...]
    episodes: int
    _rolls: dict[str, Transcript] = field(default_factory=dict)
    _plays: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def roll(self, variant: Variant) -> Transcript:
        """Uniformly random allowed actions in the episodes of `SITES` and `SEEDS`."""
        if variant.name not in self._rolls:
            self._rolls[variant.name] = roll(self.family, variant, SITES, SEEDS)
        return self._rolls[variant.name]

    def play(self, variant: Variant, role: str) -> tuple[Tensor, Tensor]:
        """Returns [E] and team rewards [T, E] of a reference policy, each episode at a dev site of its own."""
        if (variant.name, role) not in self._plays:
            team: list[Tensor] = []
            sites, seeds = RANGES["dev"][: self.episodes], range(REFERENCE_SEEDS, REFERENCE_SEEDS + self.episodes)
            policy = self.family.policies[role]()
            policy.adapt(self.family, variant, None)
            played = play(self.family, variant, policy, sites, seeds, record=lambda slot: team.append(slot.reward.sum(1)))
            self._plays[variant.name, role] = (played.returns, torch.stack(team))
        return self._plays[variant.name, role]


class Broken(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found, advice)
        self.found, self.advice = found, advice


def need(condition: bool, found: str, advice: str) -> None:
    """Raise `Broken` unless the condition holds."""
    if not condition:
        raise Broken(found, advice)


# What the family says of itself


def _fields(case: Case) -> str:
    family = case.family
    named = isinstance(family.name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", family.name) is not None
    need(named, f"name is {family.name!r}", "use lower-case letters, digits and _, e.g. 'beacon'")
    for what in ("version", "summary"):
        text = getattr(family, what)
        need(isinstance(text, str) and bool(text) and "\n" not in text, f"{what} is {text!r}", "give one line of text")
    for what in ("obs_size", "descriptor_size"):
        size = getattr(family, what)
        need(isinstance(size, int) and size >= 1, f"{what} is {size!r}", "give a whole number, 1 or more")
    low, high = family.reward_range
    need(math.isfinite(low) and math.isfinite(high) and low < high, f"reward_range is {low, high}", "give finite low < high")
    names = [part.name for part in family.actions]
    need(len(set(names)) == len(names), f"action components {names}", "give each a name of its own")
    for part in family.actions:
        need(part.size >= 2 and part.low < part.high, f"action {part.name}: {part}", "give 2 or more choices, and low < high")
    return f"{family.name}, version {family.version}, O = {family.obs_size}, actions {', '.join(names)}"


def _variants(case: Case) -> str:
    family = case.family
    splits: dict[str, int] = {}
    for key, variant in family.variants.items():
        splits[variant.split] = splits.get(variant.split, 0) + 1
        whole = key == variant.name and re.fullmatch(rf"{family.name}/[^\s/]+", key) and variant.family == family.name
        need(
            bool(whole), f"{key!r} is {variant.name!r} of {variant.family!r}", f"list it as '{family.name}/LABEL', its own name"
        )
        known = variant.split in ("train", "held-out")
        need(known, f"{key}: split {variant.split!r}", "make it 'train' or 'held-out'")
        sizes = variant.agents, variant.horizon
        need(
            all(isinstance(n, int) and n >= 1 for n in sizes),
            f"{key}: agents, horizon {sizes}",
            "give whole numbers, 1 or more",
        )
        described = tuple(variant.descriptor())
        length = f"{key}: descriptor of length {len(described)}, not descriptor_size {family.descriptor_size}"
        need(len(described) == family.descriptor_size, length, "make both the same for every variant")
        small = all(math.isfinite(x) and abs(x) <= 10 for x in described)
        need(small, f"{key}: descriptor {described}", "give finite numbers of order 1; it is what an agent knows of a variant")
        json.dumps(asdict(variant))  # type: ignore[call-overload]  # its fields go into the protocol hash
    both = all(split in splits for split in ("train", "held-out"))
    need(both, f"splits {splits}", "list at least one 'train' and one 'held-out' variant")
    return ", ".join(f"{count} {split}" for split, count in sorted(splits.items(), reverse=True))


# What the environment returns


def roll(
    family: Family,
    variant: Variant,
    sites: Sequence[int],
    seeds: Sequence[int],
    keys: Sequence[int] | None = None,
    env: Env | None = None,
) -> Transcript:
    """Play uniformly random allowed actions; `keys`: whose coin flips, by default each episode's own."""
    env = env or family.make(variant, "cpu")
    obs, info = env.reset(list(sites), list(seeds))
    random = EpisodeRandom(variant.name, [0] * len(keys) if keys else sites, keys or seeds)
    state = State(family, variant, random, len(seeds), 0, info["action_mask"])
    slots = [{"obs": obs.clone(), **{name: value.clone() for name, value in info.items()}}]
    for slot in range(variant.horizon):
        state.slot, state.action_mask = slot, info["action_mask"]
        shown, kept = obs, obs.clone()
        obs, reward, terminated, truncated, info = env.step(random_action(state))
        need(
            torch.equal(shown.nan_to_num(), kept.nan_to_num()),
            f"{variant.name}: step {slot} wrote into the last obs",
            "return a new tensor",
        )
        seen = {"obs": obs, "reward": reward, "terminated": terminated, "truncated": truncated, **info}
        slots.append({name: value.clone() for name, value in seen.items()})
    slots[-1] |= {f"qos {name}": value.clone() for name, value in env.qos().items()}
    return slots


def _returns(case: Case) -> str:
    family = case.family
    for variant in case.variants:
        b, n = len(SEEDS), variant.agents
        always: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "obs": ((b, n, family.obs_size), torch.float32),
            "action_mask": ((b, n, family.mask_size), torch.bool),
            "agent_mask": ((b, n), torch.bool),
        }
        stepped = dict.fromkeys(("reward", *QOS), ((b, n), torch.float32))
        ended = dict.fromkeys(("terminated", "truncated"), ((b,), torch.bool))
        for t, slot in enumerate(case.roll(variant)):
            for name, (shape, dtype) in ({**always, **stepped, **ended} if t else always).items():
                where = f"{variant.name}, {f'step {t - 1}' if t else 'reset'}: {name}"
                need(name in slot, f"{where} is missing", "put it into info; see benchmark.family.Env")
                seen = f"{where} is {tuple(slot[name].shape)} {slot[name].dtype}"
                need((tuple(slot[name].shape), slot[name].dtype) == (shape, dtype), seen, f"make it {shape} {dtype}")
                need(bool(slot[name].isfinite().all()), f"{where} has NaN or infinity", "mend the arithmetic of this slot")
            some = bool(slot["action_mask"].any(-1).all())
            need(some, f"{variant.name}, slot {t}: an agent with no allowed action", "allow at least one, also at the end")
            largest = float(slot["obs"].abs().max())
            need(largest <= LARGEST_FEATURE, f"{variant.name}, slot {t}: |obs| up to {largest:g}", "scale features to order 1")
    return f"shapes, dtypes and numbers of every slot of {len(case.variants)} variants"


def _horizon(case: Case) -> str:
    for variant in case.variants:
        slots = case.roll(variant)[1:]
        early = [t for t, slot in enumerate(slots[:-1]) if bool((slot["terminated"] | slot["truncated"]).any())]
        need(not early, f"{variant.name}: ended after step {early[:1]}", f"play exactly {variant.horizon} slots, the horizon")
        end = f"{variant.name}: not truncated after step {variant.horizon - 1}"
        need(bool(slots[-1]["truncated"].all()), end, "set truncated for the last slot of the horizon")
        env = case.family.make(variant, "cpu")
        roll(case.family, variant, SITES, SEEDS, env=env)
        _refuse(f"{variant.name}: a step after the end", lambda env=env, v=variant: env.step(_first_action(case.family, v)))  # type: ignore[misc]
    return "truncated at the horizon, never before; a step after it is refused"


def _qos(case: Case) -> str:
    for variant in case.variants:
        last = case.roll(variant)[-1]
        for name in EPISODE_QOS:
            need(f"qos {name}" in last, f"{variant.name}: qos() has no {name!r}", f"give {', '.join(EPISODE_QOS)}")
            value = last[f"qos {name}"]
            need(tuple(value.shape) == (len(SEEDS),), f"{variant.name}: qos {name} is {tuple(value.shape)}", "make it [B]")
            fine = value.dtype.is_floating_point and bool(value.isfinite().all())
            need(fine, f"{variant.name}: qos {name} is {value.tolist()}", "give finite floats, also when nothing was delivered")
    return f"{', '.join(EPISODE_QOS)} of every episode"


def _bad_actions(case: Case) -> str:
    family, labels = case.family, set()
    for variant in case.variants:
        good = _first_action(family, variant)
        clean, tried = family.make(variant, "cpu"), family.make(variant, "cpu")
        clean.reset(SITES, SEEDS), tried.reset(SITES, SEEDS)
        for label, action in _spoilt(family, good).items():
            _refuse(f"{variant.name}: {label}", lambda env=tried, a=action: env.step(a))  # type: ignore[misc]
            labels.add(label)
        same = all(torch.equal(a, b) for a, b in zip(clean.step(good)[:2], tried.step(good)[:2], strict=True))
        need(same, f"{variant.name}: a refused action changed the episode", "check the action before anything else")
    return f"refused: {', '.join(sorted(labels))}"


def _first_action(family: Family, variant: Variant) -> Tensor:
    """A random action that is allowed in the first slot of the episodes of `SITES` and `SEEDS`."""
    _, info = family.make(variant, "cpu").reset(SITES, SEEDS)
    random = EpisodeRandom(variant.name, SITES, SEEDS)
    return random_action(State(family, variant, random, len(SEEDS), 0, info["action_mask"]))


def _spoilt(family: Family, good: Tensor) -> dict[str, object]:
    """Actions that are wrong in one way each."""
    choice = not good.is_floating_point()
    bad: dict[str, object] = {
        "a list": good.tolist(),
        "an agent too few": good[:, 1:],
        "no episode axis": good[0],
        "the wrong dtype": good.float() if choice else good.long(),
    }
    for place, part in enumerate(family.actions):
        low, high = (0.0, part.size - 1.0) if part.kind == "categorical" else (part.low, part.high)
        values = {"too low": low - 1, "too high": high + 1}
        if not choice:
            values |= {"NaN": math.nan} | ({"a fraction": low + 0.5} if part.kind == "categorical" else {})
        for label, value in values.items():
            spoilt = good.clone()
            spoilt.view(*good.shape[:2], -1)[-1, -1, place] = value
            bad[f"{part.name} {label}"] = spoilt
    return bad


def _refuse(what: str, call: Callable[[], object]) -> None:
    """Require a `WbenchError`."""
    try:
        call()
    except WbenchError:
        return
    except BaseException as error:
        raise Broken(f"{what} raises {foreign(error)}", "check it first: check_action and require do") from None
    raise Broken(f"{what} is accepted", "call check_action on the action, and require(slot < horizon, ...)")


CHECKS: dict[str, Callable[[Case], str]] = {
    "fields": _fields,
    "variants": _variants,
    "returns": _returns,
    "horizon": _horizon,
    "qos": _qos,
    "bad actions": _bad_actions,
}
