"""The meter of the online tracks: exact budget, scenarios of the support, nothing shared with the query episodes."""

import pytest
import torch
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.registry import get_variant
from wbench.benchmark.seeds import support_seeds
from wbench.errors import BudgetError

FAMILY, VARIANT = get_variant("access/n8-c3-load0.15-l48")
SITE = 2_000_003


def idle(obs):
    return torch.zeros(obs.shape[:2], dtype=torch.int64)


def test_the_budget_is_k_episodes_and_not_a_slot_more():
    practice = MeteredEnvironment(FAMILY, VARIANT, site=SITE, shots=2)
    obs, _ = practice.reset(2)
    for _ in range(VARIANT.horizon):
        obs, *_ = practice.step(idle(obs))
    assert (practice.used, practice.left) == (2 * VARIANT.horizon, 0)
    obs, _ = practice.reset(1)
    with pytest.raises(BudgetError, match="1 more slots wanted, 0 of 256 left"):
        practice.step(idle(obs))
    assert practice.used == 2 * VARIANT.horizon


def test_its_scenarios_are_those_of_the_support():
    practice = MeteredEnvironment(FAMILY, VARIANT, site=SITE, shots=5)
    first, second = practice.reset(2)[0], practice.reset(3)[0]
    expected, _ = FAMILY.make(VARIANT, "cpu").reset([SITE] * 5, support_seeds(5))
    assert torch.equal(torch.cat([first, second]), expected)


def test_a_site_has_a_thousand_scenarios():
    practice = MeteredEnvironment(FAMILY, VARIANT, site=SITE, shots=1)
    practice.reset(999)
    with pytest.raises(BudgetError, match="1000 scenarios"):
        practice.reset(2)
