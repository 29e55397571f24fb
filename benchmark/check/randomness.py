"""Checks of randomness: the same seeds give the same episodes, in any batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..rollout import play
from ..seeds import REFERENCE_SEEDS
from ..site import RANGES
from .environment import ROLES, ROUNDING, SEEDS, SITES, Case, Transcript, need, roll


def _same(first: Transcript, second: Transcript, where: str, advice: str, rounding: float = 0.0) -> None:
    """Require the same numbers, to the bit or but for rounding."""
    for t, (one, two) in enumerate(zip(first, second, strict=True)):
        for name in one:
            _equal(one[name], two[name], f"{where}: {name} differs at slot {t}", advice, rounding)


def _equal(one: Tensor, two: Tensor, found: str, advice: str, rounding: float) -> None:
    loose = rounding > 0 and one.shape == two.shape and one.is_floating_point() and two.is_floating_point()
    need(torch.allclose(one, two, rounding, rounding) if loose else torch.equal(one, two), found, advice)


def _rows(slots: Transcript, rows: list[int]) -> Transcript:
    return [{name: value[rows] for name, value in slot.items()} for slot in slots]


def _determinism(case: Case) -> str:
    advice = "draw all randomness of an episode in reset, from site.scenario_generator(variant.name, site, seed)"
    for variant in case.variants:
        env = case.family.make(variant, "cpu")
        for what in ("a second environment", "the same environment, reset"):
            again = roll(case.family, variant, SITES, SEEDS, env=env)
            _same(case.roll(variant), again, f"{variant.name}, {what}", advice)
    return "same seeds, same bits; also in an environment used before"


def _batching(case: Case) -> str:
    """But for `ROUNDING`: the last bit of a logarithm depends on where in a tensor a number stands."""
    advice = "make each episode a function of its own seed: no generator shared by the batch, no sums across episodes"
    for variant in case.variants:
        whole, count = case.roll(variant), len(SEEDS)
        backwards = roll(case.family, variant, SITES[::-1], SEEDS[::-1])
        _same(whole, _rows(backwards, [*range(count)][::-1]), f"{variant.name}, batch reversed", advice, ROUNDING)
        alone = roll(case.family, variant, SITES[1:2], SEEDS[1:2])
        _same(_rows(whole, [1]), alone, f"{variant.name}, seed alone", advice, ROUNDING)
        for role in ROLES:
            policy = case.family.policies[role]()
            policy.adapt(case.family, variant, None)
            returns = play(case.family, variant, policy, RANGES["dev"][1:2], [REFERENCE_SEEDS + 1]).returns
            found = f"{variant.name}: {role} plays a seed differently alone"
            _equal(case.play(variant, role)[0][1:2], returns, found, "use state.random, and no sums over episodes", ROUNDING)
    return f"alone, in a batch, in a reversed batch: the same to {ROUNDING:g}"


def _seeds(case: Case) -> str:
    for variant in case.variants:
        slots = roll(case.family, variant, SITES[:1] * len(SEEDS), SEEDS, keys=[0] * len(SEEDS))  # the same coin flips for all
        for i in range(1, len(SEEDS)):
            alike = all(torch.equal(value[0], value[i]) for slot in slots for value in slot.values())
            need(not alike, f"{variant.name}: seeds {SEEDS[0]} and {SEEDS[i]} are one episode", "use the seed in reset")
    return "different seeds, different episodes"


CHECKS: dict[str, Callable[[Case], str]] = {"determinism": _determinism, "batching": _batching, "seeds": _seeds}
