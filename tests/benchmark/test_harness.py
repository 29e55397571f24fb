"""The harness: messages are averaged, late and counted; acting is decentralised for every agent."""

from __future__ import annotations

import pytest
import torch
from wbench.benchmark.agent import Agent, State
from wbench.benchmark.data.support import support
from wbench.benchmark.randomness import EpisodeRandom
from wbench.benchmark.registry import get_family, get_variant, list_agents, list_families, make_agent
from wbench.benchmark.rollout import mean_field, play
from wbench.commands.show import describe
from wbench.errors import CheckpointError, DataError, InvalidValueError, UnknownNameError

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n8-c3-load0.15-l48")
SITE = 2_000_000

FIRST = [next(iter(get_family(name).variants)) for name in list_families()]


def test_inbox_is_the_mean_of_the_others():
    messages = torch.tensor([[[1.0], [2.0], [6.0]]])
    assert mean_field(messages)[0, :, 0].tolist() == [4.0, 3.5, 1.5]
    assert mean_field(messages[:, :1]).abs().sum() == 0  # alone


class Talker(Agent):
    """Broadcasts the slot number plus its index and remembers its inbox."""

    name, message_size = "talker", 2

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def message(self, obs, state):
        index = torch.arange(obs.shape[1], dtype=torch.float32)
        return (state.slot + index)[:, None].expand(*obs.shape[:2], 2)

    def act(self, obs, inbox, state):
        self.seen.append(inbox)
        return torch.zeros(obs.shape[:2], dtype=torch.long)


def test_messages_arrive_one_slot_late_and_their_bits_are_counted():
    talker = Talker()
    played = play(FAMILY, VARIANT, talker, [SITE] * 3, [0, 1, 2])
    assert talker.seen[0].abs().sum() == 0
    for slot in (1, 5, 127):  # of agents 0..7 agent 0 hears 1..7, whose mean index is 4
        assert talker.seen[slot][:, 0].unique().tolist() == [slot - 1 + 4.0]
    assert played.message_bits == 32 * 2 * 8 * 128 * 3 and played.environment_steps == 128 * 3


def test_what_is_counted_as_float32_arrives_as_float32():
    talker = Talker()
    talker.message = lambda obs, state: torch.full((*obs.shape[:2], 2), 1.0 + 2.0**-40, dtype=torch.float64)
    play(FAMILY, VARIANT, talker, [SITE], [0])
    assert talker.seen[1].dtype == torch.float32 and (talker.seen[1] == 1.0).all()


def test_a_message_of_the_wrong_size_is_named():
    talker = Talker()
    talker.message_size = 3
    with pytest.raises(InvalidValueError, match=r"message of talker is \(1, 8, 2\).*\(1, 8, 3\)"):
        play(FAMILY, VARIANT, talker, [SITE], [0])


@pytest.mark.parametrize("name", [name for name in list_agents() if name not in ("genie", "oracle")])
@pytest.mark.parametrize("shots", [0, 2])
def test_an_agents_action_and_message_depend_on_its_own_observation_and_inbox_alone(name, shots):
    """Replay recorded slots with everybody else's observations replaced; agent i must not notice (DTDE)."""
    slots = []
    places = [SITE, SITE, SITE + 1, SITE + 1], [0, 1, 2, 3]
    try:
        agent = make_agent(name)
        agent.adapt(FAMILY, VARIANT, support(FAMILY, VARIANT, SITE, 2) if shots else None)
        play(FAMILY, VARIANT, agent, *places, record=slots.append)
    except (CheckpointError, RuntimeError) as error:  # a packaged network may be older than the family
        if isinstance(error, RuntimeError) and "size of tensor" not in str(error):
            raise
        pytest.skip(f"its packaged network is of another version of the family: {error}")
    inboxes = torch.rand(len(slots), 4, 8, agent.message_size, generator=torch.Generator().manual_seed(0))

    def replay(keep: int | None):
        state = State(FAMILY, VARIANT, EpisodeRandom(VARIANT.name, *places), 4, 0, slots[0].action_mask)
        agent.begin(state)
        actions, messages = [], []
        for t, slot in enumerate(slots[:40]):
            obs, mask, inbox = slot.obs.clone(), slot.action_mask.clone(), inboxes[t].clone()
            if keep is not None:
                others = torch.arange(8) != keep
                obs[:, others] = slots[(t * 7 + 50) % 128].obs[:, others].flip(0)
                mask[:, others] = slots[(t * 7 + 50) % 128].action_mask[:, others].flip(0)
                inbox[:, others] = 1 - inbox[:, others]
            state.slot, state.action_mask = t, mask
            actions.append(agent.act(obs, inbox, state))
            messages.append(agent.message(obs, state))
        return torch.stack(actions), torch.stack(messages)

    actions, messages = replay(None)
    learners = {"bc", "brq", "iql", "qmix", "networld"}  # after a short training one may be silent in every slot
    assert actions.float().std() > 0 or name in learners
    for i in (0, 3, 7):
        alone_actions, alone_messages = replay(i)
        assert torch.equal(alone_actions[..., i], actions[..., i])
        assert torch.equal(alone_messages[:, :, i], messages[:, :, i])
    assert not torch.equal(replay(0)[0], actions)  # the perturbation is real


class Peeking(Agent):
    """Asks for the environment, which only privileged agents get."""

    name = "peeking"

    def act(self, obs, inbox, state):
        self.seen = state.env
        return torch.zeros(obs.shape[:2], dtype=torch.long)


def test_only_privileged_agents_get_the_environment():
    with pytest.raises(AttributeError, match=r"^state\.env is handed to agents marked privileged alone") as caught:
        play(FAMILY, VARIANT, Peeking(), [SITE], [0])
    assert "\n" not in str(caught.value)
    assert not hasattr(State(FAMILY, VARIANT, None, 1, 0, None), "env")
    told = Peeking()
    told.privileged = True
    play(FAMILY, VARIANT, told, [SITE], [0])
    assert told.seen.variant is VARIANT


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("policy", ["random", "belief", "estimator"])
def test_an_episode_is_the_same_in_any_batch_and_order(name, policy):
    family, variant = get_variant(name)
    agent = family.policies[policy]()
    agent.adapt(family, variant, support(family, variant, SITE, 1))
    episodes = [(SITE, 0), (SITE + 1, 0), (SITE, 1), (5, 0), (1_000_000, 3)]

    def returns(chosen):
        return play(family, variant, agent, *zip(*chosen, strict=True)).returns.tolist()

    together = dict(zip(episodes, returns(episodes), strict=True))
    assert len(set(together.values())) > 1
    assert returns(episodes[::-1]) == [together[each] for each in episodes[::-1]]
    assert returns(episodes[1:3] * 2) == [together[each] for each in episodes[1:3] * 2]
    assert [value for each in episodes for value in returns([each])] == list(together.values())


def test_unknown_agents_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'networld'"):
        make_agent("netword")


def test_a_plug_in_agent_is_found_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "lazy_agent.py").write_text(
        "import torch\nfrom wbench.benchmark.agent import Agent\n"
        "class Lazy(Agent):\n    name = 'lazy'\n    def act(self, obs, inbox, state):\n"
        "        return torch.zeros(obs.shape[:2], dtype=torch.long)\n"
        "def build(checkpoint, device):\n    return Lazy()\n"
    )
    info = tmp_path / "lazy_agent-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazy-agent\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wbench.agents]\nlazy = lazy_agent:build\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "lazy" in list_agents()
    assert play(FAMILY, VARIANT, make_agent("lazy"), [SITE], [0]).returns.item() == 0.0
    assert describe("lazy").text == "lazy: "  # it has no docstring
    (info / "entry_points.txt").write_text("[wbench.agents]\nlazy = lazy_agnt:build\n")
    with pytest.raises(DataError, match=r"plug-in 'lazy' \(lazy_agnt:build\) cannot be loaded: ModuleNotFoundError"):
        make_agent("lazy")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", FIRST)
def test_an_episode_is_the_same_on_cpu_and_gpu_within_float_tolerance(name):
    family, variant = get_variant(name)
    seen = {}
    for device in ("cpu", "cuda"):
        rows = []
        played = play(
            family, variant, family.policies["random"](), [SITE, SITE + 1] * 8, range(16), device=device, record=rows.append
        )
        seen[device] = played.returns.cpu(), torch.stack([row.obs.cpu() for row in rows])
    for here, there in zip(seen["cpu"], seen["cuda"], strict=True):
        assert torch.allclose(here, there, rtol=1e-3, atol=1e-3)
