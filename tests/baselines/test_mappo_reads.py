"""MAPPO's reading of logs: which it is shown, that each row is told of its own place, and that it learns to read by playing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from wbench.baselines.common.places import LoggedSites, Logs, Places
from wbench.baselines.common.ppo import PpoConfig
from wbench.baselines.common.rollout import PpoLearner, play_round
from wbench.baselines.mappo import MappoAgent, MappoConfig, fresh
from wbench.benchmark.agent import Support
from wbench.benchmark.data import release
from wbench.benchmark.data.context import Context
from wbench.benchmark.data.store import TELLING, load_columns
from wbench.benchmark.family import ActionComponent, FamilyShape
from wbench.benchmark.protocol.runner import run_cell
from wbench.benchmark.protocol.spec import Cell
from wbench.benchmark.registry import get_family
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES

from ..benchmark import tiny

CPU = torch.device("cpu")
PLAIN = PpoConfig(bfloat16=False)


@pytest.fixture(scope="module")
def sites():
    """Two sites of two variants of `access`, an episode of each file."""
    size = replace(tiny.RELEASE, name="read", sites=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(release.RELEASES, "read", size)
        yield LoggedSites([tiny.FAMILY], size, torch.Generator().manual_seed(0)), size


def test_logs_are_of_the_site_that_is_played_by_those_who_are_not_told_it(sites):
    found, size = sites
    for places in found.draw("access", 2, 6, (2,), 40_000_000, CPU):
        told = places.logs.context
        assert told.obs.shape[:2] == (6, 2) and bool(told.mask.all()) and set(places._sites) == set(RANGES["train"][:2])
        allowed = [load_columns(tiny.FAMILY, places.variant, quality, size) for quality in TELLING]
        for k, site in enumerate(places._sites):
            here = [columns["obs"][columns["site"] == site] for columns in allowed]
            logged = torch.from_numpy(np.concatenate(here)).half()
            for episode in told.obs[k]:
                assert (episode.half() == logged).flatten(1).all(1).any()


def test_more_shots_than_there_are_is_all_there_are_and_none_is_none(sites):
    many, none = (sites[0].draw("access", 1, 3, (shots,), 40_000_000, CPU)[0].logs.context for shots in (20, 0))
    assert many.mask.sum(1).min() >= 2 and many.mask.sum(1).max() <= len(TELLING)
    assert none.obs.shape[1] == 0


def test_every_row_of_a_minibatch_is_told_of_its_own_place_agent_and_slot(sites):
    model, generator = reader(tiny.FAMILY), torch.Generator().manual_seed(1)
    played = play_round(model, sites[0].draw("access", 2, 4, (1, 2), 40_000_000, CPU), 4, PLAIN, generator)
    assert len(played.frames["access"]) == 2 and played.slots == 2 * 4 * 128
    for frames in played.frames["access"]:
        parts = frames.minibatches(3, generator)
        assert sum(len(part.features) for part in parts) == len(frames.features)
        for part in parts:
            slots = len(part.agents) // len(part.logs.descriptor)
            site = model.read(part.logs, "access", slots).flatten(0, 2)
            logits = model.logits(torch.cat([part.features, site], dim=-1), part.mask, "access")
            assert torch.allclose(model.codecs["access"].log_prob(logits, part.code), part.log_prob, atol=1e-4)


def test_a_place_is_never_cut_however_small_the_minibatches(sites):
    learner = PpoLearner(reader(tiny.FAMILY), replace(PLAIN, epochs=1, batch_size=8), 0)
    updates = learner.round(sites[0].draw("access", 1, 2, (1,), 40_000_000, CPU), 2, 0.0)[1]
    assert updates.steps == 2 and all(map(math.isfinite, updates.figures.values()))


def reader(*families, hidden: int = 16, **settings):
    """A network whose first policy is far from uniform, so that what it is told shows."""
    model = fresh(MappoConfig({f.name: FamilyShape.of(f) for f in families}, hidden, site=8, **settings), 0)
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.mul_(100.0)
    return model


def test_in_track_online_a_cell_gives_it_logs_and_no_meter():
    agent = MappoAgent(reader(get_family("access")))
    found = run_cell(agent, Cell("access", tiny.NAMES[0], RANGES["dev"][0], 2), 1)
    assert not found.failure and found.ledger.environment_steps == 0
    assert found.ledger.support_transitions == 2 * 128 * 8


# --- learning to read ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HunchVariant:
    """Two players; a site has one right choice of three, which pays a half to each who makes it, and nobody sees the pay."""

    name: str = "hunch/n2"
    family: str = "hunch"
    split: str = "train"
    agents: int = 2
    horizon: int = 4
    period: int = 1

    def descriptor(self):
        return (0.0,)


class Hunch:
    """Its environment."""

    def __init__(self, variant, device):
        self.variant = variant

    def _seen(self):
        n = len(self.right)
        return torch.zeros(n, 2, 1), {"action_mask": torch.ones(n, 2, 3, dtype=torch.bool)}

    def reset(self, sites, seeds):
        self.right = torch.tensor([site % 3 for site in sites])
        return self._seen()

    def step(self, action):
        over = torch.zeros(len(action), dtype=torch.bool)
        return self._seen()[0], (action == self.right[:, None]).float() / 2, over, over, self._seen()[1]

    def qos(self):
        return {}


HUNCH = replace(
    get_family("access"),
    name="hunch",
    obs_size=1,
    descriptor_size=1,
    actions=(ActionComponent("choice", "categorical", 3),),
    variants={"hunch/n2": HunchVariant()},
    make=Hunch,
    permute=None,
)


def logged(sites, shots: int):
    """Random play at these sites: what a context of them holds."""
    p, action = len(sites), torch.randint(3, (len(sites), shots, 4, 2))
    pay = (action == torch.tensor(sites)[:, None, None, None] % 3).float() / 2
    blank, mask = torch.zeros(p, shots, 5, 2, 1), torch.ones(p, shots, 5, 2, 3, dtype=torch.int8)
    two, one = torch.full((p,), 2), torch.ones(p, dtype=torch.long)
    return Context(blank, mask, action, pay, torch.ones(p, shots, dtype=torch.bool), two, one, torch.arange(p))


def test_learns_to_read_the_right_choice_of_a_site_from_its_logs():
    torch.manual_seed(0)
    model = fresh(MappoConfig({"hunch": FamilyShape.of(HUNCH)}, 32, history=1, site=8), 0)
    learner = PpoLearner(model, PpoConfig(epochs=3, batch_size=256, learning_rate=3e-3, discount=0.5, bfloat16=False), 0)
    for number in range(40):
        sites = torch.randint(1000, (32,)).tolist()
        logs = Logs(logged(sites, (0, 3)[number % 2]), torch.zeros(32, 1))
        learner.round([Places(HUNCH, HunchVariant(), number, CPU, sites, logs)], 32, number / 40)
    agent, scores = MappoAgent(model.eval()), {}
    for shots in (0, 3):
        returns = []
        for site in range(5000, 5012):
            told = logged([site], shots)
            seen, mask = told.obs[0, :, :4], told.action_mask[0, :, :4].bool()
            episodes = Support(seen, told.action[0], told.reward[0], mask, ("random",) * shots)
            agent.adapt(HUNCH, HunchVariant(), episodes if shots else None)
            returns.append(float(play(HUNCH, HunchVariant(), agent, [site] * 4, range(4)).returns.mean()))
        scores[shots] = sum(returns) / len(returns)
    assert scores[0] < 2.5 and scores[3] > 3.6  # of 4; a third of it by chance
