"""The model card: rendered from config, report and results, parsed by huggingface_hub's own class."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from wbench.benchmark.registry import get_family
from wbench.cards.model_card import write_model_card
from wbench.learning.checkpoint import digest, digest_of_file
from wbench.learning.training import trainer_names
from wbench.networld.model import NetWorld

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "networld" / "checkpoints" / "networld-small"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(PACKAGED, tmp_path / "networld-small"))


def test_a_file_has_the_digest_of_the_model_in_it():
    assert digest_of_file(PACKAGED / "model.safetensors") == digest(NetWorld.from_pretrained("networld-small"))


def test_scores_of_this_checkpoint_go_into_the_card_and_its_index(wbench, folder, tmp_path):
    out = tmp_path / "result.json"
    arguments = (
        "--variant",
        "access/n8-c3-load0.3-l48",
        "--shots",
        "0",
        "--episodes",
        "1",
        "--against",
        "none",
        "--out",
        str(out),
    )
    assert wbench("eval", "--agent", "networld", *arguments).code == 0
    done = wbench("checkpoint", "card", str(folder), "--agent", "networld", "--results", str(out))
    assert done.code == 0, done.err
    card = ModelCard.load(folder / "README.md")
    scores = [cell["score"] for cell in json.loads(out.read_text())["cells"]]
    (found,) = card.data.eval_results
    assert found.metric_value == pytest.approx(sum(scores) / len(scores), abs=0.01)
    assert found.dataset_name == "access/n8-c3-load0.3-l48" and card.data.model_name == "networld-small"
    assert "arxiv:2602.00558" in card.data.tags and card.data.license == "apache-2.0"
    assert f"| `access/n8-c3-load0.3-l48` | 0 | {sum(scores) / len(scores):.1f} |" in card.text
    document = json.loads(out.read_text())
    out.write_text(json.dumps({**document, "checkpoint": "0" * 64}))
    other = wbench("checkpoint", "card", str(folder), "--agent", "networld", "--results", str(out))
    assert other.code == 2 and "--results" in other.err
    before = (folder / "README.md").read_bytes()
    stranger = wbench("checkpoint", "card", str(folder), "--agent", "bc")
    assert stranger.code == 2 and "config.json is not behaviour cloning's" in stranger.err
    (folder / "model.safetensors").write_bytes(b"")
    torn = wbench("checkpoint", "card", str(folder), "--agent", "networld")
    assert torn.code == 2 and "truncated or no safetensors" in torn.err and (folder / "README.md").read_bytes() == before


def test_a_folder_without_a_checkpoint_is_named(wbench, tmp_path):
    done = wbench("checkpoint", "card", str(tmp_path), "--agent", "networld")
    assert done.code == 2 and "cannot read" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("agent", trainer_names())
def test_every_agent_that_trains_has_a_card_whose_code_loads_its_checkpoint(agent, tmp_path):
    part = "networld" if agent == "networld" else "baselines"
    folder = Path(shutil.copytree(ROOT / part / "checkpoints" / f"{agent}-small", tmp_path / agent))
    (folder / "README.md").unlink(missing_ok=True)
    write_model_card(folder, agent, [get_family("power")])
    card = ModelCard.load(folder / "README.md")
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    found: dict = {}
    exec(code.replace("FOLDER", repr(str(folder))), found)
    assert digest(found["model"]) == digest_of_file(folder / "model.safetensors")
    learns = "online" if agent == "mappo" else "offline"
    assert f"{learns}-reinforcement-learning" in card.data.tags and f"# {agent} for power" in card.text
