"""What all trainings share: runs that go on to the same numbers, refusals, moving averages, tuning that may decline."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from wbench.errors import CheckpointError, OutputError, UnknownNameError
from wbench.learning.checkpoint import Pretrained
from wbench.learning.training import REPORT, STATE, Run, Trainer, follow, set_rate
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


def fit(folder: Path, config: Config, resume: bool = False, last: int = 99, inputs: int = 0, told: list | None = None) -> Line:
    """Train on noise from one generator; die before step `last`."""
    run = Run(folder, config, resume, None if told is None else told.append)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    model = Line(Size(inputs or config.inputs))
    optimiser = torch.optim.AdamW(model.parameters(), 0.1)
    for step in range(run.begin({"model": model, "optimiser": optimiser}, generator), config.steps):
        if step == last:
            raise Killed
        set_rate(optimiser, 0.1 / (1 + step))
        optimiser.zero_grad()
        loss = (model.fit(torch.randn(8, model.config.inputs, generator=generator)) - 1.0).square().mean()
        loss.backward()
        optimiser.step()
        if run.due(step):
            run.note(step, {"loss": loss.detach()}, rows=8 * (step + 1))
        run.keep(step + 1)
    run.finish(model)
    return model


def log(folder: Path) -> list[dict[str, Any]]:
    """The report's, without the seconds."""
    lines = json.loads((folder / REPORT).read_text())["log"]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("last", [1, 3, 4, 5, 23])
def test_an_interrupted_run_ends_in_the_same_numbers(tmp_path: Path, last: int):
    told: list[int] = []
    whole = fit(tmp_path / "whole", Config(), told=told)
    assert told == [0, 10, 20, 24]
    with pytest.raises(Killed):
        fit(tmp_path / "cut", Config(), last=last)
    assert (tmp_path / "cut" / STATE).exists() == (last >= 4)
    resumed = fit(tmp_path / "cut", Config(), resume=True)
    assert torch.equal(resumed.fit.weight, whole.fit.weight) and torch.equal(resumed.fit.bias, whole.fit.bias)
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    assert [(line["step"], line["rows"]) for line in log(tmp_path / "cut")] == [(0, 8), (10, 88), (20, 168), (24, 200)]
    assert {path.name for path in (tmp_path / "cut").iterdir()} >= {REPORT, "config.json", "model.safetensors"}
    assert not (tmp_path / "cut" / STATE).exists()
    done = (tmp_path / "cut" / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"cut holds a finished training\. Give another --out, or delete it"):
            fit(tmp_path / "cut", Config(seed=5), resume=resume)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == done


def test_seconds_go_on_counting_after_an_interruption(tmp_path: Path):
    with pytest.raises(Killed):
        fit(tmp_path, Config(), last=12)
    state = torch.load(tmp_path / STATE, weights_only=True)
    torch.save({**state, "log": state["log"].replace('"seconds": ', '"seconds": 7')}, tmp_path / STATE)  # 0.0 -> 70.0
    fit(tmp_path, Config(), resume=True)
    seconds = [line["seconds"] for line in json.loads((tmp_path / REPORT).read_text())["log"]]
    assert seconds == sorted(seconds) and seconds[0] >= 70.0


def test_states_that_do_not_fit_are_refused_and_kept(tmp_path: Path):
    with pytest.raises(Killed):
        fit(tmp_path, Config(), last=12)
    state = (tmp_path / STATE).read_bytes()
    with pytest.raises(CheckpointError, match=r"unfinished run\. Add --resume"):
        fit(tmp_path, Config())
    with pytest.raises(CheckpointError, match=r'other settings: .*"save_every": 4.*another --out'):
        fit(tmp_path, Config(save_every=5), resume=True)
    with pytest.raises(CheckpointError, match=r"of another training, perhaps for other families"):
        fit(tmp_path, Config(), resume=True, inputs=4)
    assert (tmp_path / STATE).read_bytes() == state
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    for bad in (b"", b"no zip", state[: len(state) // 2], (tmp_path / "foreign.pt").read_bytes()):
        (tmp_path / STATE).write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"is damaged.*Delete it to start again"):
            fit(tmp_path, Config(), resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make .*file.*another --out"):
        fit(tmp_path / "file", Config())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_stops(tmp_path: Path, value: float):
    run = Run(tmp_path, Config())
    with pytest.raises(CheckpointError, match=r"diverged at step 3: .*'b': (nan|inf)"):
        run.note(3, {"a": 1.0, "b": torch.tensor(value)})
    assert run.log == []


def test_of_several_processes_one_writes_and_tells(tmp_path: Path):
    told: list[int] = []
    run = Run(tmp_path, Config(save_every=1), on_step=told.append, writes=False)
    assert run.begin({}) == 0
    run.note(0, {"loss": 1.0})
    run.keep(1)
    run.finish(Line(Size()))
    assert told == [] and list(tmp_path.iterdir()) == []


def test_a_trainer_takes_a_preset_and_a_seed(tmp_path: Path):
    seen = []

    def train(families, config, folder, *, resume, device, on_step):
        seen.append((families, config, folder, resume, device))
        on_step(3)

    trainer, told = Trainer("x", {"small": Config(), "debug": Config(steps=9)}, train), []
    options = {"resume": True, "seed": 5, "device": "cpu", "on_step": lambda step, steps: told.append((step, steps))}
    trainer([], "debug", tmp_path, **options)
    assert seen == [([], Config(steps=9, seed=5), tmp_path, True, "cpu")] and told == [(3, 9)]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'small'\?.*wbench train x --preset small"):
        trainer([], "smal", tmp_path, **options)


def test_a_moving_average_moves_by_its_share():
    average, model = nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.zeros_(average.weight)
    nn.init.ones_(model.weight)
    for expected in (0.25, 0.4375):
        follow(average.parameters(), model.parameters(), 0.25)
        assert average.weight.flatten().tolist() == [expected] * 4
    assert model.weight.flatten().tolist() == [1.0] * 4


class Always:
    """A sampler that draws the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def sample(self, rows: int) -> Tensor:
        return torch.full((rows,), self.value)


@pytest.mark.parametrize(
    ("validation", "ends", "kept"),
    [(3.0, 3.0, True), (8.0, 6.0, True), (-1.0, 0.0, False)],  # passed by, still ahead at the end, behind from the start
)
def test_what_is_best_on_the_validation_split_is_kept(validation: float, ends: float, kept: bool):
    x = torch.zeros(1, requires_grad=True)
    notes = tune(
        [x],
        lambda batch: (x - batch).abs().mean(),  # Adam then walks one `rate` a step
        Always(10.0),
        Always(validation),
        steps=6,
        rows=4,
        rate=1.0,
        check=1,
    )
    assert x.item() == pytest.approx(ends, abs=1e-3) and notes["kept"] is kept
    assert notes["loss_before"] == abs(validation) and notes["loss_after"] == pytest.approx(abs(validation - ends), abs=1e-3)
    assert kept or x.item() == 0.0


def test_a_gain_that_may_be_luck_is_declined():
    class Split(Always):
        """Five batches of eight say up, three say down."""

        count = 0

        def sample(self, rows: int) -> Tensor:
            self.count += 1
            return torch.full((rows,), self.value if self.count <= 5 else -self.value)

    x = torch.zeros(1, requires_grad=True)
    notes = tune([x], lambda batch: (x - batch).abs().mean(), Always(10.0), Split(9.0), steps=3, rows=4, rate=1.0, check=1)
    assert x.item() == 0.0 and notes["kept"] is False and notes["loss_before"] == notes["loss_after"] == 9.0
