"""MAPPO: its parts against known values, its learning on a game with a known optimum, its budget, its training."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from wbench.baselines.common.frames import Frames
from wbench.baselines.common.places import Places
from wbench.baselines.common.ppo import PpoConfig, ValueNormaliser, clipped_objective, gae
from wbench.baselines.common.rollout import learn, play_round, team_advantage
from wbench.baselines.mappo import PRESETS, TRAINER, Mappo, MappoAgent, MappoConfig, fresh
from wbench.benchmark.data import release
from wbench.benchmark.data.support import support
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.errors import CheckpointError, UnknownNameError
from wbench.learning.run import REPORT, STATE

from ..benchmark import tiny
from ..playing import DEV, play

FAMILIES = [  # a train variant of each is enough
    replace(family, variants={variant.name: variant for variant in family.select("train")[:1]})
    for family in map(get_family, ("access", "power", "offload"))
]
VARIANTS = ("access/n8-c2-load0.2-l48", "power/d2d-n14-s400-v1-load0.12-l48", "offload/n8-e2-p0.15")
QUICK = PpoConfig(epochs=2, batch_size=512, bfloat16=False)
DEBUG = replace(PRESETS["debug"], release="whole")


def small(*families: str, seed: int = 0) -> Mappo:
    shapes = {name: FamilyShape.of(get_family(name)) for name in families or ("access", "power", "offload")}
    return fresh(MappoConfig(shapes, hidden=16), seed).eval()


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in mine.items())


# --- parts -----------------------------------------------------------------------------------------------------------------


def test_gae_is_what_it_is_by_hand():
    reward = torch.tensor([[1.0], [0.0], [2.0]])
    value = torch.tensor([[0.5], [1.0], [0.0], [0.5]])
    # surprises with discount .5: 1 + .5 - .5 = 1, 0 + 0 - 1 = -1, 2 + .25 - 0 = 2.25; each fades by .5 x .8 = .4
    expected = torch.tensor([[1.0 + 0.4 * (-1.0 + 0.4 * 2.25)], [-1.0 + 0.4 * 2.25], [2.25]])
    assert torch.allclose(gae(reward, value, 0.5, 0.8), expected)


def test_gae_at_its_two_ends():
    reward, value = torch.rand(6, 4), torch.rand(7, 4)
    discounts = 0.9 ** torch.arange(7.0)
    returns = (discounts[:6, None] * reward).sum(0) + discounts[6] * value[6]
    assert torch.allclose(gae(reward, value, 0.9, 1.0)[0], returns - value[0], atol=1e-6)
    assert torch.allclose(gae(reward, value, 0.9, 0.0), reward + 0.9 * value[1:] - value[:-1])


def test_clipped_objective_pays_for_no_more_than_the_clip():
    ratio = torch.tensor([0.5, 0.9, 1.1, 2.0])
    assert torch.allclose(clipped_objective(ratio, torch.ones(4), 0.2), torch.tensor([0.5, 0.9, 1.1, 1.2]))
    assert torch.allclose(clipped_objective(ratio, -torch.ones(4), 0.2), torch.tensor([-0.8, -0.9, -1.1, -2.0]))


def test_value_normaliser_standardises_and_inverts():
    normaliser = ValueNormaliser()
    values = torch.tensor([1.0, 5.0])
    assert torch.equal(normaliser.restore(values), values)  # nothing seen yet
    torch.manual_seed(0)
    for _ in range(3):
        normaliser.update(-40.0 + 7.0 * torch.randn(20_000))
    targets = -40.0 + 7.0 * torch.randn(20_000)
    normalised = normaliser.normalise(targets)
    assert abs(float(normalised.mean())) < 0.03 and abs(float(normalised.std()) - 1.0) < 0.03
    assert torch.allclose(normaliser.restore(normalised), targets, atol=1e-4)
    normaliser.update(torch.zeros(10))  # recent targets count: the mean moves towards them
    assert float(normaliser.normalise(torch.tensor(-40.0))) < -0.05


def test_team_advantage_is_common_standardised_and_blind_to_scale():
    own = torch.randn(5, 3, 4)
    team = team_advantage(own)
    assert torch.equal(team, team[..., :1].expand_as(team))
    assert abs(float(team.mean())) < 1e-6 and abs(float(team[..., 0].std()) - 1.0) < 1e-4
    assert torch.allclose(team_advantage(100.0 * own + 3.0), team, atol=1e-4)
    order = own.mean(-1).flatten().argsort()
    assert torch.equal(team[..., 0].flatten().argsort(), order)


def test_frames_keep_the_rows_of_a_frame_together():
    row = torch.arange(6.0)
    frames = Frames(row[:, None], torch.ones(6, 1, dtype=torch.bool), row[:, None], row, row, row, torch.tensor([2, 1, 3]))
    chosen = frames.select(torch.tensor([2, 0]))
    assert chosen.features.flatten().tolist() == chosen.advantage.tolist() == [3.0, 4.0, 5.0, 0.0, 1.0]
    assert chosen.agents.tolist() == [3, 2]
    first, last = frames.split(2)
    assert (first.features.flatten().tolist(), last.features.flatten().tolist()) == ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])
    assert (first.agents.tolist(), last.agents.tolist()) == ([2, 1], [3])
    both = Frames.join([frames, chosen])
    assert both.agents.tolist() == [2, 1, 3, 3, 2] and len(both.target) == 11


def test_critic_sees_all_in_any_order_and_the_policy_only_its_own():
    model = small("access").double()
    size = model.config.inputs()["access"]
    features = torch.randn(7, size, dtype=torch.float64)
    agents = torch.tensor([3, 4])
    values = model.values(features, agents, "access")
    order = torch.tensor([2, 0, 1, 3, 4, 5, 6])
    assert torch.allclose(model.values(features[order], agents, "access"), values[order])
    changed = features.clone()
    changed[1] += 1.0
    moved = model.values(changed, agents, "access") != values
    assert moved.tolist() == [True] * 3 + [False] * 4  # everybody in the frame, nobody outside
    mask = torch.ones(7, 5, dtype=torch.bool)
    logits = model.logits(features, mask, "access")
    assert (model.logits(changed, mask, "access") != logits).any(-1).tolist() == [False, True] + [False] * 5
    assert logits.softmax(-1).max() < 0.3  # the first policy is close to uniform


# --- learning --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GameVariant:
    """Three players; the team gets 1 in every slot in which exactly one of them speaks."""

    name: str = "game/n3"
    family: str = "game"
    split: str = "train"
    agents: int = 3
    horizon: int = 8

    def descriptor(self) -> tuple[float, ...]:
        return (0.0,)


class Game:
    """A playground whose best return is its horizon; independent coins get 4/9 of it, all alike at most that."""

    family = replace(
        get_family("access"),
        name="game",
        obs_size=1,
        descriptor_size=1,
        actions=(replace(get_family("access").actions[0], size=2),),
        variants={},
    )
    variant = GameVariant()

    def reset(self, episodes: int) -> tuple[Tensor, dict[str, Tensor]]:
        self._obs = torch.zeros(episodes, 3, 1)
        return self._obs, {"action_mask": torch.ones(episodes, 3, 2, dtype=torch.bool)}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
        alone = (action.sum(1, keepdim=True) == 1).float()
        over = torch.zeros(len(action), dtype=torch.bool)
        return self._obs, alone.expand(-1, 3) / 3, over, over, {"action_mask": torch.ones(*action.shape, 2, dtype=torch.bool)}


def test_learns_to_take_turns_where_all_see_the_same():
    model = fresh(MappoConfig({"game": FamilyShape.of(Game.family)}, hidden=16, history=1), 0)
    returns: list[float] = []
    config = PpoConfig(epochs=4, batch_size=384, learning_rate=5e-3, discount=0.5, bfloat16=False)
    steps = learn(model, [Game()], 30, 32, config, on_round=lambda played, _: returns.extend(played.returns))
    assert steps == 30 * 4 * 2  # 768 rows a round are two minibatches
    assert returns[0] < 4.5 and returns[-1] > 7.6


def test_a_round_has_every_row_once_and_says_what_happened():
    model, generator = small(), torch.Generator().manual_seed(0)
    grounds = [Places(*get_variant(name), 40_000_000) for name in (*VARIANTS, "access/n8-c3-load0.25-l48")]
    played = play_round(model, grounds, 2, QUICK, generator)
    assert played.slots == 2 * (128 + 96 + 96 + 128)
    assert {name: len(frames.features) for name, (frames,) in played.frames.items()} == {
        "access": 2 * 128 * (8 + 8),
        "power": 2 * 96 * 14,
        "offload": 2 * 96 * 8,
    }
    (frames,) = played.frames["access"]
    assert frames.agents.tolist() == [8] * 4 * 128
    with torch.no_grad():
        logits = model.logits(frames.features, frames.mask, "access")
    assert torch.allclose(model.codecs["access"].log_prob(logits, frames.code), frames.log_prob, atol=1e-5)
    assert not (frames.code.bool() & ~frames.mask).any()  # nothing forbidden was played


# --- the agent -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mappo")
    TRAINER.fit(FAMILIES, DEBUG, folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def tiny_release():
    """A release of whole families that is recorded in seconds, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(release.RELEASES, "whole", replace(tiny.RELEASE, name="whole"))
        yield


def test_practice_spends_the_budget_to_the_slot_and_repeats(checkpoint: Path):
    agent = make_agent("mappo", str(checkpoint), track="scratch")
    family, variant = get_variant(VARIANTS[0])
    returns = []
    for site in (3, 4, 3):
        environment = MeteredEnvironment(family, variant, site, 3)
        adaptation = agent.practise(environment)
        assert environment.left == 0 and environment.used == 3 * variant.horizon
        assert adaptation.gradient_steps > 0
        returns.append(play(family, variant, agent, range(6)).returns)
    assert torch.equal(returns[0], returns[2])
    assert not torch.equal(returns[0], returns[1])


def test_tracks_say_what_they_start_from(checkpoint: Path):
    agent = make_agent("mappo", str(checkpoint))
    assert agent.tracks == ("online", "scratch") and agent.track == "online" and agent.privileged_training
    assert agent.source_steps == DEBUG.rounds * DEBUG.variants * DEBUG.episodes * (128 + 96 + 96)
    variants = [variant for family in FAMILIES for variant in family.select("train")]
    logged = sum(v.agents * v.horizon for v in variants) * 4 * 5  # four sites, an episode of five files
    assert agent.source_transitions == logged
    assert len(agent.checkpoint_digest) == 64 and not agent.practises and not agent.knows(Game.family)
    with pytest.raises(CheckpointError, match="not trained on family 'game'"):
        agent.adapt(Game.family, Game.variant, None)
    agent.enter("scratch")
    assert agent.practises and agent.knows(Game.family)
    assert (agent.source_steps, agent.source_transitions, agent.checkpoint_digest) == (0, 0, "")
    with pytest.raises(UnknownNameError, match="offline"):
        agent.enter("offline")


@pytest.mark.parametrize("name", VARIANTS)
def test_play_depends_on_the_logs_and_not_on_earlier_ones(checkpoint: Path, name: str):
    model = Mappo.from_pretrained(checkpoint)
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.mul_(100.0)  # its first policy is all but uniform
    agent, (family, variant) = MappoAgent(model), get_variant(name)
    logs = [support(family, variant, DEV + site, 5) for site in (0, 1)]
    told = []
    for known in (None, logs[0], logs[1], logs[0], None):
        assert agent.adapt(family, variant, known).gradient_steps == 0
        told.append(play(family, variant, agent, range(3)).returns)
    assert torch.equal(told[0], told[4]) and torch.equal(told[1], told[3])
    assert not torch.equal(told[1], told[0]) and not torch.equal(told[1], told[2])


@pytest.mark.parametrize("name", VARIANTS)
def test_an_episode_is_the_same_alone_and_in_a_batch(checkpoint: Path, name: str):
    agent = make_agent("mappo", str(checkpoint), track="online")
    family, variant = get_variant(name)
    agent.adapt(family, variant, support(family, variant, DEV, 1))
    together = play(family, variant, agent, range(7)).returns
    alone = [float(play(family, variant, agent, [seed]).returns) for seed in (0, 6)]
    assert alone == [float(together[0]), float(together[6])]


def test_play_leaves_the_checkpoint_alone(checkpoint: Path):
    model = Mappo.from_pretrained(checkpoint)
    agent = MappoAgent(model)
    family, variant = get_variant(VARIANTS[1])
    agent.adapt(family, variant, None)
    before = play(family, variant, agent, range(3)).returns
    agent.enter("scratch")
    agent.practise(MeteredEnvironment(family, variant, 0, 1))
    assert same_weights(model, Mappo.from_pretrained(checkpoint))
    agent.enter("online")
    agent.adapt(family, variant, None)
    assert torch.equal(play(family, variant, agent, range(3)).returns, before)


# --- training --------------------------------------------------------------------------------------------------------------


def test_debug_training_repeats_and_resumes_to_the_same_weights(checkpoint: Path, tmp_path: Path):
    whole = Mappo.from_pretrained(checkpoint)

    class Killed(Exception):
        pass

    def kill(number: int, figures: object) -> None:
        if number == 1:
            raise Killed

    with pytest.raises(Killed):  # after the second round, of which the state says nothing yet
        TRAINER.fit(FAMILIES, DEBUG, tmp_path, on_step=kill)
    assert (tmp_path / STATE).exists()
    with pytest.raises(CheckpointError, match="--resume"):
        TRAINER.fit(FAMILIES, DEBUG, tmp_path)
    other = replace(DEBUG, episodes=3)
    with pytest.raises(CheckpointError, match="other settings"):
        TRAINER.fit(FAMILIES, other, tmp_path, resume=True)
    resumed = TRAINER.fit(FAMILIES, DEBUG, tmp_path, resume=True)
    assert same_weights(resumed, whole) and not (tmp_path / STATE).exists()
    log = json.loads((tmp_path / REPORT).read_text())["log"]
    assert [entry["step"] for entry in log] == [0, 1] and log[-1]["slots"] == whole.config.source_steps


def test_the_command_trains_and_writes_a_card(tmp_path: Path, wbench):
    done = wbench("train", "mappo", "--preset", "debug", "--family", "access", "--data", "whole", "--out", str(tmp_path))
    assert done.code == 0, done.err
    assert "| figure | first | last, by step 1 |" in (tmp_path / "README.md").read_text()


def test_damaged_state_and_unknown_preset_are_refused(tmp_path: Path, wbench):
    (tmp_path / STATE).write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match="damaged"):
        TRAINER.fit(FAMILIES, DEBUG, tmp_path, resume=True)
    done = wbench("train", "mappo", "--preset", "smal", "--out", str(tmp_path / "x"))
    assert done.code == 2 and "small" in done.err and "Traceback" not in done.err
