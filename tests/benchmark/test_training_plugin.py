"""A trainable agent of another package is one new place: it is listed, trained, played and carded; wbench is not changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

CODE = '''
"""lean: an agent with two numbers, how much it likes to send and how much to wait."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from wbench.benchmark.agent import Agent
from wbench.benchmark.family import FamilyShape
from wbench.learning.checkpoint import CheckpointConfig, Pretrained, count_parameters, digest, settings_digest
from wbench.learning.descent import OptimiserState
from wbench.learning.training import Trainer


@dataclass(frozen=True)
class LeanConfig(CheckpointConfig):
    OWNER: ClassVar[str] = "lean"


class Lean(nn.Module, Pretrained):
    PACKAGED = Path(__file__).parent / "none"
    SUMMARY = "Two numbers that learned to be equal."

    def __init__(self, config):
        super().__init__()
        self.config = LeanConfig.from_dict(config) if isinstance(config, dict) else config
        self.likes = nn.Parameter(torch.tensor([1.0, -1.0]))


@dataclass(frozen=True)
class LeanTrainConfig:
    steps: int = 12
    save_every: int = 5
    seed: int = 0


class LeanLearner:
    def __init__(self, families, config, processes):
        self.steps, self.model = config.steps, Lean(LeanConfig({family.name: FamilyShape.of(family) for family in families}))
        self.optimiser = torch.optim.Adam(self.model.parameters(), 0.1)
        self.parts = {
            "model": self.model,
            "optimiser": OptimiserState(self.optimiser, dict(self.model.named_parameters())),
        }

    def step(self, step):
        self.optimiser.zero_grad()
        loss = self.model.likes.square().sum()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss.detach()}

    def trained(self):
        return self.model


TRAINER = Trainer("lean", Lean, {"debug": LeanTrainConfig()}, LeanLearner)


class LeanAgent(Agent):
    name = "lean"

    def __init__(self, model):
        self.model, self.parameters, self.checkpoint_digest = model, count_parameters(model), digest(model)
        self.settings_digest = settings_digest(model.config)

    def act(self, obs, inbox, state):
        send = state.random.uniform(obs.shape[1]) < self.model.likes.softmax(0)[0].item()
        return (send & state.action_mask[..., 1]).long()


def build(checkpoint, device):
    return LeanAgent(Lean.from_pretrained(checkpoint))


class World:
    history, source_transitions, parameters, digest = 1, 0, 0, ""


def world(checkpoint, device):
    return World()
'''
POINTS = """[wbench.agents]
lean = lean_agent:build

[wbench.trainers]
lean = lean_agent:TRAINER

[wbench.worlds]
lean = lean_agent:world
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on the path as `pip install` leaves it."""
    site = tmp_path / "site"
    info = site / "lean_agent-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "lean_agent.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lean-agent\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))


def test_it_is_listed_trained_played_and_carded(package, command, tmp_path: Path):
    from wbench.learning.world import make_world

    names = command("list", "--json").data
    assert "lean" in names["agents"] and "lean" in names["trainable"] and "networld" in names["trainable"]
    assert make_world("lean").history == 1
    folder, out = tmp_path / "run", tmp_path / "result.json"
    done = command("train", "lean", "--preset", "debug", "--family", "access", "--out", str(folder))
    assert done.code == 0, done.err
    refused = command("train", "lean", "--preset", "debug", "--data", "mini", "--out", str(tmp_path / "x"))
    assert refused.code == 2 and "lean learns by playing" in refused.err and refused.err.count("\n") == 1
    losses = [line["loss"] for line in json.loads((folder / "training_report.json").read_text())["log"]]
    assert len(losses) == 3 and losses[-1] < losses[0] and "loss" in done.err
    cell = ("--variant", "access/n8-c3-load0.3-l48", "--shots", "0", "--sites", "dev:0", "--episodes", "1", "--against", "none")
    done = command("eval", "--agent", "lean", "--checkpoint", str(folder), *cell, "--out", str(out))
    assert done.code == 0, done.err
    done = command("checkpoint", "card", str(folder), "--agent", "lean", "--results", str(out))
    assert done.code == 0, done.err
    card = ModelCard.load(folder / "README.md")
    assert "Two numbers that learned to be equal." in card.text and "from lean_agent import Lean" in card.text
    (found,) = card.data.eval_results
    assert found.dataset_name == "access/n8-c3-load0.3-l48"


def test_a_plug_in_trainer_that_cannot_be_loaded_is_named(package, command, tmp_path: Path):
    (tmp_path / "site" / "lean_agent-1.0.dist-info" / "entry_points.txt").write_text(
        "[wbench.trainers]\nlean = lean_agnt:TRAINER\n"
    )
    done = command("train", "lean", "--preset", "debug", "--out", str(tmp_path / "run"))
    assert done.code == 2 and "plug-in 'lean' (lean_agnt:TRAINER) cannot be loaded" in done.err
