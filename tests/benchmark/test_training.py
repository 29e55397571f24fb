"""What all trainings share: one loop that goes on to the same numbers, refusals, moving averages, tuning that may decline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError, OutputError, UnknownNameError
from wbench.learning.checkpoint import Pretrained
from wbench.learning.descent import OptimiserState, move_average, set_learning_rate, step_seed
from wbench.learning.run import LOG, REPORT, STATE
from wbench.learning.training import Trainer, fit, get_trainer
from wbench.learning.tuning import tune


@dataclass(frozen=True)
class Size:
    """Of the model below."""

    inputs: int = 3

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Line(nn.Module, Pretrained):
    """A line to fit."""

    PACKAGED: ClassVar[Path] = Path("nowhere")

    def __init__(self, config: Size) -> None:
        super().__init__()
        self.config, self.fit = config, nn.Linear(config.inputs, 1)


@dataclass(frozen=True)
class Config:
    """How to fit it."""

    steps: int = 25
    save_every: int = 4
    seed: int = 0
    inputs: int = 3


class Killed(Exception):
    """Stands for any end of a process."""


class Fitting:
    """A learner of noise that dies before step `last`."""

    def __init__(self, families, config: Config, processes, last: int = 99, inputs: int = 0, bad: float = 0.0) -> None:
        self._last, self._bad, self.steps, self._seed = last, bad, config.steps, config.seed
        self.model = Line(Size(inputs or config.inputs))
        self._optimiser = torch.optim.AdamW(self.model.parameters(), 0.1)
        named = OptimiserState(self._optimiser, dict(self.model.named_parameters()))
        self.parts = {"model": self.model, "optimiser": named}

    def step(self, step: int) -> Mapping[str, float | Tensor]:
        if step == self._last:
            raise Killed
        generator = torch.Generator().manual_seed(step_seed(self._seed, step))
        set_learning_rate(self._optimiser, 0.1 / (1 + step))
        self._optimiser.zero_grad()
        loss = (self.model.fit(torch.randn(8, self.model.config.inputs, generator=generator)) - 1.0).square().mean()
        loss.backward()
        self._optimiser.step()
        return {"loss": loss.detach() + self._bad, "rows": 8 * (step + 1)}

    def trained(self) -> Line:
        return self.model


def train(folder: Path, config: Config, resume: bool = False, on_step=None, **changes) -> Line:
    """Fit the line."""
    return fit(partial(Fitting, **changes), [], config, folder, resume=resume, on_step=on_step)


def log(folder: Path) -> list[dict[str, Any]]:
    """The report's, without the seconds."""
    lines = json.loads((folder / REPORT).read_text())["log"]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("last", [1, 3, 4, 5, 23])
def test_an_interrupted_training_ends_in_the_same_numbers(tmp_path: Path, last: int):
    told: list[tuple[int, float]] = []
    state = torch.get_rng_state()
    whole = train(tmp_path / "whole", Config(), on_step=lambda step, figures: told.append((step, figures["loss"])))
    assert torch.equal(torch.get_rng_state(), state)
    assert told == [(line["step"], line["loss"]) for line in log(tmp_path / "whole")]
    assert [(line["step"], line["rows"]) for line in log(tmp_path / "whole")] == [(0, 8), (10, 88), (20, 168), (24, 200)]
    with pytest.raises(Killed):
        train(tmp_path / "cut", Config(), last=last)
    assert (tmp_path / "cut" / STATE).exists() == (last >= 4)
    resumed = train(tmp_path / "cut", Config(), resume=True)
    assert torch.equal(resumed.fit.weight, whole.fit.weight) and torch.equal(resumed.fit.bias, whole.fit.bias)
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "cut").iterdir()} >= {REPORT, "config.json", "model.safetensors"}
    assert not (tmp_path / "cut" / STATE).exists()
    done = (tmp_path / "cut" / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"cut holds a finished training\. Give another --out, or delete it"):
            train(tmp_path / "cut", Config(seed=5), resume=resume)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == done


def test_the_log_grows_while_it_trains_and_is_taken_back_to_the_state(tmp_path: Path):
    def steps() -> list[int]:
        return [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()]

    grown: list[list[int]] = []
    with pytest.raises(Killed):
        train(tmp_path, Config(save_every=5), last=23, on_step=lambda step, figures: grown.append(steps()))
    assert grown == [[0], [0, 10], [0, 10, 20]] == [*grown[:2], steps()]
    (tmp_path / LOG).write_text((tmp_path / LOG).read_text() + '{"step": 22}\n')  # logged after the state was kept
    grown.clear()
    train(tmp_path, Config(save_every=5), resume=True, on_step=lambda step, figures: grown.append(steps()))
    assert grown == [[0, 10, 20, 24]] or grown == [[0, 10, 20], [0, 10, 20, 24]]
    assert not (tmp_path / LOG).exists() and [line["step"] for line in log(tmp_path)] == [0, 10, 20, 24]


def test_seconds_go_on_counting_after_an_interruption(tmp_path: Path):
    with pytest.raises(Killed):
        train(tmp_path, Config(), last=12)
    state = torch.load(tmp_path / STATE, weights_only=True)
    torch.save({**state, "log": state["log"].replace('"seconds": ', '"seconds": 7')}, tmp_path / STATE)  # 0.0 -> 70.0
    train(tmp_path, Config(), resume=True)
    seconds = [line["seconds"] for line in json.loads((tmp_path / REPORT).read_text())["log"]]
    assert seconds == sorted(seconds) and seconds[0] >= 70.0


def test_states_that_do_not_fit_are_refused_and_kept(tmp_path: Path):
    with pytest.raises(Killed):
        train(tmp_path, Config(), last=12)
    state = (tmp_path / STATE).read_bytes()
    with pytest.raises(CheckpointError, match=r"unfinished run\. Add --resume"):
        train(tmp_path, Config())
    with pytest.raises(CheckpointError, match=r'other settings: .*"save_every": 4.*another --out'):
        train(tmp_path, Config(save_every=5), resume=True)
    with pytest.raises(CheckpointError, match=r"of another training, perhaps for other families"):
        train(tmp_path, Config(), resume=True, inputs=4)
    assert (tmp_path / STATE).read_bytes() == state
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    for bad in (b"", b"no zip", state[: len(state) // 2], (tmp_path / "foreign.pt").read_bytes()):
        (tmp_path / STATE).write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"is damaged.*Delete it to start again"):
            train(tmp_path, Config(), resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make .*file.*another --out"):
        train(tmp_path / "file", Config())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_stops(tmp_path: Path, value: float):
    with pytest.raises(CheckpointError, match=r"diverged at step 0: .*'loss': (nan|inf).*Lower the learning rate"):
        train(tmp_path, Config(), bad=value)
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_one_writes_and_tells(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    told: list[int] = []
    train(tmp_path, Config(save_every=1), on_step=lambda step, figures: told.append(step))
    assert told == [] and list(tmp_path.iterdir()) == []


def test_a_trainer_takes_a_preset_and_a_seed(tmp_path: Path):
    seen = []

    def learner(families, config, processes):
        seen.append(([family.name for family in families], config))
        return Fitting(families, config, processes)

    trainer, told = Trainer("x", Line, {"small": Config(), "debug": Config(steps=9)}, learner), []
    families = [get_family(name) for name in ("offload", "access")]
    trainer(families, "debug", tmp_path, seed=5, on_step=lambda step, figures: told.append(step))
    assert seen == [(["access", "offload"], Config(steps=9, seed=5))] and told == [0, 8]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'small'\?.*wbench train x --preset small"):
        trainer([], "smal", tmp_path)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'networld'\?"):
        get_trainer("netwrld")


def test_the_state_of_an_optimiser_goes_by_names():
    """In another order of the parameters too; what is unknown or of another shape is refused before anything is changed."""

    def trained(order: list[str]) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
        torch.manual_seed(0)
        named = {"small": nn.Parameter(torch.ones(2)), "large": nn.Parameter(torch.ones(3, 3))}
        named = {name: named[name] for name in order}
        return named, torch.optim.AdamW(named.values(), 0.1, fused=True)

    def descend(named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        (named["small"].square().sum() + named["large"].pow(3).sum()).backward()
        optimiser.step()

    first, optimiser = trained(["small", "large"])
    descend(first, optimiser)
    kept = OptimiserState(optimiser, first).state_dict()
    second, other = trained(["large", "small"])
    OptimiserState(other, second).load_state_dict(kept)
    for name, parameter in second.items():
        parameter.data.copy_(first[name].data)
    descend(first, optimiser)
    descend(second, other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for wrong in ({"other": kept["small"]}, {"small": kept["large"]}):
        with pytest.raises(ValueError, match="no parameter here or has another shape"):
            OptimiserState(other, second).load_state_dict(wrong)


def test_a_moving_average_moves_by_its_share():
    average, model = nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.zeros_(average.weight)
    nn.init.ones_(model.weight)
    for expected in (0.25, 0.4375):
        move_average(average.parameters(), model.parameters(), 0.25)
        assert average.weight.flatten().tolist() == [expected] * 4
    assert model.weight.flatten().tolist() == [1.0] * 4


class Always:
    """Draws the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self) -> Tensor:
        return torch.full((4,), self.value)


@pytest.mark.parametrize(
    ("validation", "ends", "kept"),
    [(3.0, 3.0, True), (8.0, 6.0, True), (-1.0, 0.0, False)],  # passed by, still ahead at the end, behind from the start
)
def test_what_is_best_on_the_validation_split_is_kept(validation: float, ends: float, kept: bool):
    x = torch.zeros(1, requires_grad=True)
    notes = tune(
        [x],
        lambda batch: (x - batch).abs().mean(),  # Adam then walks one learning rate a step
        Always(10.0),
        Always(validation),
        steps=6,
        learning_rate=1.0,
        check=1,
    )
    assert x.item() == pytest.approx(ends, abs=1e-3) and notes["kept"] is kept
    assert notes["loss_before"] == abs(validation) and notes["loss_after"] == pytest.approx(abs(validation - ends), abs=1e-3)
    assert kept or x.item() == 0.0


def test_a_gain_that_may_be_luck_is_declined():
    class Split(Always):
        """Five batches of eight say up, three say down."""

        count = 0

        def __call__(self) -> Tensor:
            self.count += 1
            return torch.full((4,), self.value if self.count <= 5 else -self.value)

    x = torch.zeros(1, requires_grad=True)
    notes = tune([x], lambda batch: (x - batch).abs().mean(), Always(10.0), Split(9.0), steps=3, learning_rate=1.0, check=1)
    assert x.item() == 0.0 and notes["kept"] is False and notes["loss_before"] == notes["loss_after"] == 9.0
