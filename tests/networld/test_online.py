"""NetWorld that goes on learning from its own play: what changes, and what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.recorder import support
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.protocol.references import references
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import Slot, play
from wbench.errors import CheckpointError, InvalidValueError
from wbench.learning.training import REPORT, follow
from wbench.networld.adapt import AdaptConfig
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.online.train import PLAYED, PRESETS, OwnPlay, train
from wbench.networld.online.train import train as online

NAMES = ("power/n10-d1200-v0-load0.5", "power/n10-d800-v1-load0.5", "power/n10-d500-v1-load0.5")
POWER = replace(get_family("power"), variants={name: get_family("power").variant(name) for name in NAMES})
SEEDS = range(60_000_000, 60_000_004)  # neither of data, support, queries, references nor of any training
CONFIG = PRESETS["debug"]


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory):
    """Gone on by its debug preset in two variants of `power`."""
    folder = tmp_path_factory.mktemp("online")
    return train([POWER], CONFIG, folder), folder


def test_the_family_that_it_plays_learns_on_and_nothing_else_changes(gone_on):
    before, after = NetWorld.from_pretrained("networld-small").state_dict(), gone_on[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = gone_on[0].network_for("power").state_dict()
    assert gone_on[0].network_for("offload") is gone_on[0] and set(own) < set(before)
    changed = {name.split(".")[0] for name in own if not torch.equal(before[name], own[name])}
    assert changed == {name.split(".")[0] for name in own}


def test_what_a_family_learns_does_not_depend_on_what_else_is_played(gone_on, tmp_path):
    offload = replace(get_family("offload"), variants={"offload/n10-e3-p0.3": get_variant("offload/n10-e3-p0.3")[1]})
    both = train([offload, POWER], CONFIG, tmp_path)
    assert both.config.played == ("offload", "power") and both.config.source_steps > gone_on[0].config.source_steps
    alone = gone_on[0].network_for("power").state_dict()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in both.network_for("power").state_dict().items())
    assert both.network_for("offload") is not both


def test_it_says_how_much_it_played_and_leaves_no_play_behind(gone_on):
    model, folder = gone_on
    played = CONFIG.variants * CONFIG.episodes * len(dict(CONFIG.exploring)["power"]) * 128
    forked = 4 * CONFIG.forks.episodes * (10 + 1) * CONFIG.forks.slots  # at four slots, for each of ten agents and for none
    assert model.config.source_steps == CONFIG.rounds * (played + forked)
    assert model.config.transitions == NetWorld.from_pretrained("networld-small").config.transitions
    assert not (folder / PLAYED).exists()
    assert model.network_for("power").config.acts_at("power") == dict(CONFIG.acting)["power"]
    base = NetWorld.from_pretrained(CONFIG.base).config
    assert (model.config.acts_at("offload"), model.config.temperatures["offload"]) == (
        base.acts_at("offload"),
        base.temperatures["offload"],
    ), "what it did not play acts as before"
    assert model.config.played == ("power",)


@pytest.mark.parametrize("killed", [5, 12])
def test_interrupted_and_resumed_it_gives_the_same_weights(gone_on, tmp_path, killed, monkeypatch):
    """Also when the round that is under way was played before the last state that was written."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    steps = iter(range(killed))
    with monkeypatch.context() as patch:
        patch.setattr(online, "follow", lambda *given: kill() if next(steps, None) is None else follow(*given))
        with pytest.raises(KeyboardInterrupt):
            train([POWER], CONFIG, tmp_path)
    assert (tmp_path / PLAYED).exists() and not (tmp_path / REPORT).exists()
    resumed = train([POWER], CONFIG, tmp_path, resume=True).state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in gone_on[0].state_dict().items())


def test_what_it_learns_from_is_what_it_played(tmp_path):
    """Rounds draw train variants and fresh scenarios; a batch holds that alone, called the expert's."""
    model = NetWorld.from_pretrained("networld-small")
    book = OwnPlay(POWER, replace(CONFIG, variants=2), model.config, tmp_path, torch.Generator().manual_seed(0))
    for number in range(2):
        book.reach(number, model)
    assert {variant.name for variant in book.drawn(0)} == set(NAMES[:2])
    batch = book.sample(80)
    assert len(batch.quality) == 80 and batch.quality.eq(QUALITIES.index("expert")).all()
    assert book.slots == 2 * 2 * (3 * 128 + 4 * 2 * 11 * 2)


def test_a_family_that_was_taught_or_that_it_does_not_play_is_refused(wbench, tmp_path):
    with pytest.raises(InvalidValueError, match="nobody taught in access"):
        train([get_family("access")], replace(CONFIG, played=("access",)), tmp_path / "taught")
    done = wbench("train", "networld-online", "--preset", "debug", "--family", "access", "--out", str(tmp_path / "other"))
    assert done.code == 2 and "access" in done.err and "power" in done.err and len(done.err.strip().splitlines()) == 1


def test_where_it_played_recordings_of_others_change_nothing(gone_on):
    agent, variant = NetWorldAgent(gone_on[0]), POWER.variant(NAMES[0])
    shots = support(POWER, variant, 0, 2)
    assert agent.adapt(POWER, variant, shots).gradient_steps == 0
    offload, other = get_variant("offload/n10-e3-p0.3")
    agent.adaptation = AdaptConfig(steps=1, check=1)
    assert agent.adapt(offload, other, support(offload, other, 0, 2)).gradient_steps == 1


def test_checkpoints_of_the_other_kind_are_refused():
    """A row of `networld` says that nothing was played in training; it must be able to."""
    with pytest.raises(CheckpointError, match=r"Try: --agent networld-online$"):
        make_agent("networld", "networld-online-small")
    with pytest.raises(CheckpointError, match=r"Try: --agent networld$"):
        make_agent("networld-online", "networld-small")


def test_own_play_pays_where_it_played_and_access_stays_as_it_was():
    agents = make_agent("networld-online"), make_agent("networld")
    assert agents[0].source_steps > 0 == agents[1].source_steps
    gains = []
    for name in ("power/n15-d800-v1-load0.7", "offload/n10-e3-p0.3", "access/n8-c1-load0.4"):
        family, variant = get_variant(name)
        scores = []
        for agent in agents:
            agent.adapt(family, variant, None)
            scores.append(float(references(name).score(play(family, variant, agent, SEEDS).returns).mean()))
        gains.append(scores[0] - scores[1])
    assert gains[0] > 1 and gains[1] > 1 and gains[2] == 0.0, gains


def test_an_edge_more_than_any_variant_that_it_played_has_is_used_like_the_others():
    family, variant = get_family("offload"), OffloadVariant(20, 4, 0.4)
    model = NetWorld.from_pretrained("networld-online-small")
    agents = NetWorldAgent(model, PlannerConfig(recovery=0.0, candidates=1, steps=1)), family.policies[family.heuristic]()
    returns, chosen = [], []
    for agent in agents:
        slots: list[Slot] = []
        agent.adapt(family, variant, None)
        returns.append(float(play(family, variant, agent, SEEDS, record=slots.append).returns.mean()))
        server = torch.stack([slot.action[..., 0] for slot in slots])[torch.stack([slot.action_mask[..., 1] for slot in slots])]
        chosen.append(server.long().bincount(minlength=5) / len(server))
    assert returns[0] > returns[1], returns
    assert 0.5 < chosen[0][4] / chosen[0][2:4].mean() < 2, chosen
