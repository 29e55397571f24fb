"""bcq-taught: a bcq, and what was taught on top of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench.baselines.bcq import Bcq
from wbench.baselines.bcq_taught import PRESETS, TaughtBcq, train
from wbench.benchmark.data import release
from wbench.benchmark.data.recorder import support
from wbench.benchmark.protocol.references import references
from wbench.benchmark.registry import get_family, make_agent
from wbench.benchmark.rollout import play
from wbench.learning.training import REPORT

from ..benchmark import tiny

SEEDS = range(50_000_000, 50_000_012)  # neither train, support, query nor reference scenarios
CONFIG = replace(PRESETS["debug"], release="tiny")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Taught by its debug preset on two variants of `access`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(release.RELEASES, "tiny", tiny.RELEASE)
        return train([tiny.FAMILY], CONFIG, tmp_path_factory.mktemp("taught"))


def test_it_is_the_packaged_bcq_in_all_but_the_actors(taught):
    base, ours = Bcq.from_pretrained("bcq-small").state_dict(), taught.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in base.items())
    assert {name.split(".")[0] for name in ours.keys() - base.keys()} == {"actors"}


def test_lessons_interrupted_and_resumed_give_the_same_weights(taught, tmp_path, monkeypatch):
    monkeypatch.setitem(release.RELEASES, "tiny", tiny.RELEASE)

    def kill(step: int) -> None:
        if step >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([tiny.FAMILY], CONFIG, tmp_path, on_step=kill)
    assert not (tmp_path / REPORT).exists()
    resumed = train([tiny.FAMILY], CONFIG, tmp_path, resume=True).state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in taught.state_dict().items())


def test_it_speaks_where_it_was_taught_and_is_bcq_elsewhere():
    family = get_family("power")
    variant = family.variant("power/n10-d500-v1-load0.5")
    ours, bcq = make_agent("bcq-taught"), make_agent("bcq")
    for agent in (ours, bcq):
        agent.adapt(family, variant, support(family, variant, 0, 1))
    played = play(family, variant, ours, [0, 1])
    assert torch.equal(played.returns, play(family, variant, bcq, [0, 1]).returns) and played.message_bits == 0
    access = tiny.FAMILY.variant("access/n8-c1-load0.5")
    assert ours.adapt(tiny.FAMILY, access, support(tiny.FAMILY, access, 0, 1)).gradient_steps == 0
    assert play(tiny.FAMILY, replace(access, horizon=12), ours, [0, 1]).message_bits == 2 * 12 * 8 * 8 * 32


def test_teaching_pays():
    """The packaged one on a train variant: far above the bcq that it was taught on, and not without messages."""
    family = get_family("access")
    variant = family.variant("access/n8-c1-load0.4")

    class Deaf(type(make_agent("bcq-taught"))):
        def act(self, obs, inbox, state):
            return super().act(obs, inbox * 0, state)

    agents = make_agent("bcq-taught"), make_agent("bcq"), Deaf(TaughtBcq.from_pretrained("bcq-taught-small"))
    scores = []
    for agent in agents:
        agent.adapt(family, variant, None)
        returns = play(family, variant, agent, SEEDS).returns
        scores.append(float(references(variant.name).score(returns).mean()))
    assert scores[0] > scores[1] + 5 and scores[0] > scores[2] + 5, scores


def test_a_family_that_nobody_teaches_is_refused(wbench, tmp_path):
    done = wbench("train", "bcq-taught", "--preset", "debug", "--family", "power", "--out", str(tmp_path))
    assert done.code == 2 and "power" in done.err and "access" in done.err and len(done.err.strip().splitlines()) == 1
