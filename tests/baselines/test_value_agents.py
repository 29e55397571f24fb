"""The value-based agents at the benchmark: tracks, what is read of logs, careful adaptation."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from wbench.baselines.bc import TRAINER as BC
from wbench.baselines.brq import TRAINER as BRQ
from wbench.baselines.brq import Brq
from wbench.baselines.common.fine_tuning import FineTuneConfig, fine_tune
from wbench.baselines.common.online import PracticeConfig
from wbench.baselines.common.q_agent import ValueAgent
from wbench.baselines.common.q_learning import ValueModel
from wbench.baselines.iql import Iql
from wbench.baselines.qmix import Qmix
from wbench.benchmark.data import release
from wbench.benchmark.data.support import support
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.registry import make_agent
from wbench.errors import CheckpointError, UnknownNameError
from wbench.learning.checkpoint import digest
from wbench.learning.run import REPORT
from wbench.learning.training import get_trainer

from ..benchmark import tiny
from ..playing import play

KINDS = {"iql": Iql, "qmix": Qmix, "brq": Brq}
HELD_OUT = tiny.FAMILY.variant(tiny.NAMES[2])
SHORT = replace(HELD_OUT, horizon=12)
QUICK = PracticeConfig(updates=6, batch_size=64)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Each kind trained by its debug preset on two variants of `access`: folder by name."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(release.RELEASES, "tiny", tiny.RELEASE)
        for name in KINDS:
            folders[name] = tmp_path_factory.mktemp(name)
            get_trainer(name).fit([tiny.FAMILY], replace(BRQ.preset("debug"), release="tiny"), folders[name])
    return folders


@pytest.mark.parametrize("name", KINDS)
def test_a_debug_checkpoint_loads_and_says_where_it_comes_from(checkpoints, name):
    agent = make_agent(name, str(checkpoints[name]))
    transitions = sum(v.agents * v.horizon * 2 * 5 for v in tiny.FAMILY.select("train"))  # two sites, an episode of five files
    assert agent.track == "offline" and agent.source_transitions == transitions and len(agent.checkpoint_digest) == 64
    assert agent.privileged_training == (name == "qmix")
    agent.adapt(tiny.FAMILY, SHORT, None)
    assert torch.isfinite(play(tiny.FAMILY, SHORT, agent, [0, 1]).returns).all()


@pytest.mark.parametrize("name", [*KINDS, "brq, sampled"])
def test_an_episode_is_the_same_alone_and_in_a_batch(checkpoints, name):
    kind, _, sampled = name.partition(", ")
    agent = make_agent(kind, str(checkpoints[kind]))
    if sampled:
        agent._model.config = replace(agent._model.config, sampled=("access",))
    agent.adapt(tiny.FAMILY, SHORT, None)
    together = play(tiny.FAMILY, SHORT, agent, range(6)).returns
    alone = torch.cat([play(tiny.FAMILY, SHORT, agent, [seed]).returns for seed in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_adaptation_declines_what_raises_the_validation_loss_and_forgets_earlier_cells(checkpoints, name):
    model: ValueModel = KINDS[name].from_pretrained(checkpoints[name])
    before, shots = digest(model), replace(support(tiny.FAMILY, HELD_OUT, 0, 5), quality=("expert",) * 5)
    wild = ValueAgent(name, model, adaptation=FineTuneConfig(steps=4, batch_size=64, learning_rate=30.0, check=2))
    done = wild.adapt(tiny.FAMILY, HELD_OUT, shots)
    assert done.notes["kept"] is False and done.notes["loss_after"] == done.notes["loss_before"]
    assert digest(wild._model) == before and done.gradient_steps == 4
    steps, rows = (120, 512) if name == "brq" else (40, 256)  # it also clones, and learns that more slowly
    careful = ValueAgent(name, model, adaptation=FineTuneConfig(steps, rows, learning_rate=5e-4, check=steps // 4))
    done = careful.adapt(tiny.FAMILY, HELD_OUT, shots)
    assert done.notes["kept"] is True and done.notes["loss_after"] < done.notes["loss_before"]
    assert digest(careful._model) != before == digest(model)
    careful.adapt(tiny.FAMILY, HELD_OUT, None)
    assert digest(careful._model) == before


@pytest.mark.parametrize(("name", "steps"), [("iql", 0), ("qmix", 0), ("brq", 4)])
def test_q_learning_with_nobody_to_follow_leaves_the_checkpoint_as_it_is(checkpoints, name, steps):
    agent = make_agent(name, str(checkpoints[name]))
    agent._adaptation = FineTuneConfig(steps=4, batch_size=64, check=2)
    shots = replace(support(tiny.FAMILY, HELD_OUT, 0, 5), quality=("mixed",) * 5)
    done = agent.adapt(tiny.FAMILY, HELD_OUT, shots)
    assert done.gradient_steps == steps and ("declined" in done.notes) is (steps == 0)


@pytest.mark.parametrize(("quality", "learns"), [("mixed", False), ("expert", True)])
def test_a_behaviour_conditioned_value_is_left_alone_where_nothing_could_judge_it(checkpoints, quality, learns):
    """From the mixed quality such a value learns nothing, so that a loss there says nothing about it."""
    base = Brq.from_pretrained(checkpoints["brq"])
    model = Brq(replace(base.settings, behaviour_conditioned=("access",)))
    model.load_state_dict(base.state_dict())
    with torch.no_grad():
        model.clone_heads["access"].bias[0] -= 3.0  # so that there is much to gain
    shots = replace(support(tiny.FAMILY, HELD_OUT, 0, 5), quality=(quality,) * 5)
    tuned, _, notes = fine_tune(
        model, tiny.FAMILY, HELD_OUT, shots, FineTuneConfig(steps=40, batch_size=256, learning_rate=3e-3, check=10)
    )
    changed = {name.split(".")[0] for name, value in tuned.state_dict().items() if not value.equal(model.state_dict()[name])}
    assert notes["kept"] is True, notes
    assert changed == {"clone_trunk", "clone_heads"} | ({"trunk", "heads", "support"} if learns else set())


@pytest.mark.parametrize("name", ["iql", "qmix"])
def test_from_scratch_means_none_of_the_checkpoints_weights(checkpoints, name):
    pretrained = KINDS[name].from_pretrained(checkpoints[name])
    agent = ValueAgent(name, pretrained, practice=QUICK)
    agent.enter("scratch")
    assert agent.source_transitions == 0 and agent.checkpoint_digest == ""
    agent.adapt(tiny.FAMILY, SHORT, None)
    untrained = digest(agent._model)
    assert untrained != digest(pretrained)
    found = []
    for site in (0, 1, 0):
        environment = MeteredEnvironment(tiny.FAMILY, SHORT, site, shots=3)
        done = agent.practise(environment)
        assert environment.left == 0 and 0 < done.gradient_steps <= 6
        found.append(digest(agent._model))
    assert found[0] == found[2] and len({*found, untrained}) == 3


@pytest.mark.parametrize("name", KINDS)
def test_a_log_changes_what_is_played_and_another_site_again(checkpoints, name):
    agent, played = make_agent(name, str(checkpoints[name])), []
    agent._model.heads["access"].both.weight.data *= 30.0  # so that values differ by more than ties
    for shots in (None, support(tiny.FAMILY, SHORT, 0, 2), support(tiny.FAMILY, SHORT, 1, 2)):
        agent.adapt(tiny.FAMILY, SHORT, shots)
        played.append(agent._site.clone())
        assert torch.isfinite(play(tiny.FAMILY, SHORT, agent, [0]).returns).all()
    assert played[0].shape[:2] == (SHORT.agents, SHORT.period)
    assert len({float(site.double().sum()) for site in played}) == 3


def test_bad_input_is_named(checkpoints, tmp_path):
    agent = make_agent("brq", str(checkpoints["brq"]))
    with pytest.raises(UnknownNameError, match="offline"):
        agent.enter("scratch")
    with pytest.raises(CheckpointError, match=r"not trained on family 'radar', only on access"):
        agent.adapt(replace(tiny.FAMILY, name="radar"), HELD_OUT, None)
    with pytest.raises(CheckpointError, match=r"unknown fields|another model"):
        make_agent("iql", str(checkpoints["qmix"]))
    options = {"seed": 0, "device": "cpu", "on_step": lambda step, figures: None}
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        get_trainer("iql")([tiny.FAMILY], "smal", tmp_path, resume=False, **options)


@pytest.mark.parametrize("name", [*KINDS, "bc"])
def test_training_interrupted_and_resumed_gives_the_same_weights(tmp_path, monkeypatch, name):
    monkeypatch.setitem(release.RELEASES, "tiny", tiny.RELEASE)
    train = get_trainer(name).fit
    config = replace((BC if name == "bc" else BRQ).preset("debug"), release="tiny", save_every=7)
    whole = digest(train([tiny.FAMILY], config, tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(step, figures):
        if step == 19:
            raise Killed

    with pytest.raises(Killed):  # in step 19, when the state is of step 14
        train([tiny.FAMILY], config, tmp_path / "cut", on_step=kill)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    with pytest.raises(CheckpointError, match="--resume"):
        train([tiny.FAMILY], config, tmp_path / "cut")
    assert digest(train([tiny.FAMILY], config, tmp_path / "cut", resume=True)) == whole
    log = json.loads((tmp_path / "cut" / REPORT).read_text())["log"]
    assert [line["step"] for line in log] == [0, 10, 19]
    assert name in ("iql", "qmix") or log[-1]["access/loss"] < log[0]["access/loss"]  # theirs bootstrap, and rise at first
