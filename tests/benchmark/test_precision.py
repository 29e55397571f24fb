"""bfloat16 only where the processor has it, and never in what is scored: there every processor computes alike."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from wbench.baselines.common.fine_tuning import FineTuneConfig
from wbench.baselines.common.online import PracticeConfig
from wbench.benchmark.data.support import support
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.registry import get_family, make_agent
from wbench.commands.doctor import examine
from wbench.errors import InvalidValueError
from wbench.learning import precision as library
from wbench.learning.precision import mixed, precision
from wbench.networld.adapt import AdaptConfig

from ..playing import play

FAMILY = get_family("offload")
SHORT = replace(FAMILY.variant("offload/n12-e3-p0.2"), horizon=24)
AGENTS = [
    ("networld", "offline"),
    ("bc", "offline"),
    ("brq", "offline"),
    *((name, "scratch") for name in ("mappo", "iql", "qmix")),
    ("mappo", "online"),
]
VALUES = {"_adaptation": FineTuneConfig(steps=2, check=2), "_practice": PracticeConfig(updates=2)}
QUICK = {
    "networld": {"adaptation": AdaptConfig(steps=2, check=2)},
    "bc": {"_steps": 2},
    **dict.fromkeys(("brq", "iql", "qmix"), VALUES),
}


@pytest.fixture
def processor(monkeypatch):
    """Pretends that the processor has these capabilities and no others."""

    def has(**capabilities: bool) -> None:
        monkeypatch.delenv(library.VARIABLE, raising=False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities))
        library._fastest.cache_clear()

    yield has
    library._fastest.cache_clear()


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, "float32"),
        ({"avx512_f": True}, "float32"),  # PyTorch emulates it there
        ({"avx512_f": True, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"neon": True, "bf16": True}, "float32"),  # not measured on TRACK
    ],
)
def test_matrix_products_are_bfloat16_only_where_it_is_fast(processor, has, expected):
    processor(**has)
    assert precision("cpu") == expected
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with mixed("cpu"):
        assert layer(x).dtype == getattr(torch, expected)
    with mixed("cpu", enabled=False):
        assert layer(x).dtype == torch.float32
    assert precision("mps") == "float32"


def test_the_environment_may_ask_for_a_precision_and_nothing_else(processor, monkeypatch):
    processor(avx2=True)
    monkeypatch.setenv(library.VARIABLE, "bfloat16")
    assert precision("cpu") == "bfloat16" and _doctor() == ("matrix products in bfloat16", True)
    monkeypatch.setenv(library.VARIABLE, "int8")
    with pytest.raises(InvalidValueError, match=r"WBENCH_PRECISION.*int8.*bfloat16 or float32") as refused:
        precision("cpu")
    assert _doctor() == (str(refused.value), False)


def _doctor() -> tuple[str, bool]:
    return next((found.found, found.healthy) for found in examine(network=False) if found.what == "training")


@pytest.mark.parametrize(("name", "track"), AGENTS)
def test_what_is_scored_is_computed_in_float32(monkeypatch, name, track):
    """Else a row could not be played again on another processor. Asked for bfloat16, nothing that learns or plays takes it."""
    monkeypatch.setenv(library.VARIABLE, "bfloat16")
    low: list[bool] = []

    class Seen(torch.autocast):
        def __init__(self, *args, **kwargs) -> None:
            low.append(kwargs.get("enabled", True))
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(torch, "autocast", Seen)
    with mixed("cpu"):
        assert low.pop()  # the spy sees it
    agent = make_agent(name, track=track)
    for attribute, settings in QUICK.get(name, {}).items():
        assert hasattr(agent, attribute)
        setattr(agent, attribute, settings)
    if track == "offline" or not agent.practises:
        done = agent.adapt(FAMILY, SHORT, support(FAMILY, FAMILY.variant(SHORT.name), 0, 5))
    else:
        agent.adapt(FAMILY, SHORT, None)
        done = agent.practise(MeteredEnvironment(FAMILY, SHORT, 0, shots=1))
    played = play(FAMILY, SHORT, agent, [0])
    reads = track == "online" and not agent.practises  # and learns nothing more
    assert (done.gradient_steps == 0) == reads and torch.isfinite(played.returns).all()
    assert not any(low), name


def test_episodes_are_the_same_where_sums_round_otherwise(monkeypatch):
    """Another processor adds up a matrix product in another order: float32 bears that, bfloat16 would not."""
    agent = make_agent("networld")
    agent.adapt(FAMILY, SHORT, None)
    plain, noise = torch.nn.Linear.forward, torch.Generator()

    def returns(error: float) -> torch.Tensor:
        noise.manual_seed(0)

        def rounded(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
            y = plain(layer, x)
            return y * (1.0 + error * torch.randn(y.shape, generator=noise))

        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.Linear, "forward", rounded)
            return play(FAMILY, SHORT, agent, [0, 1]).returns

    exact = play(FAMILY, SHORT, agent, [0, 1]).returns
    assert torch.equal(returns(torch.finfo(torch.float32).eps), exact)
    assert not torch.equal(returns(torch.finfo(torch.bfloat16).eps), exact)
