"""The harness: messages are averaged, late and counted; acting is decentralised for every agent."""

from __future__ import annotations

import pytest
import torch
from wbench.benchmark.agent import Agent, State
from wbench.benchmark.randomness import EpisodeRandom
from wbench.benchmark.registry import get_family, get_variant, list_agents, make_agent
from wbench.benchmark.rollout import mean_field, play
from wbench.commands.show import describe
from wbench.errors import DataError, InvalidValueError, UnknownNameError

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n8-c1-load0.5")


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
    played = play(FAMILY, VARIANT, talker, [0, 1, 2])
    assert talker.seen[0].abs().sum() == 0
    for slot in (1, 5, 127):  # of agents 0..7 agent 0 hears 1..7, whose mean index is 4
        assert talker.seen[slot][:, 0].unique().tolist() == [slot - 1 + 4.0]
    assert played.message_bits == 32 * 2 * 8 * 128 * 3 and played.environment_steps == 128 * 3


def test_what_is_counted_as_float32_arrives_as_float32():
    talker = Talker()
    talker.message = lambda obs, state: torch.full((*obs.shape[:2], 2), 1.0 + 2.0**-40, dtype=torch.float64)
    play(FAMILY, VARIANT, talker, [0])
    assert talker.seen[1].dtype == torch.float32 and (talker.seen[1] == 1.0).all()


def test_a_message_of_the_wrong_size_is_named():
    talker = Talker()
    talker.message_size = 3
    with pytest.raises(InvalidValueError, match=r"message of talker is \(1, 8, 2\).*\(1, 8, 3\)"):
        play(FAMILY, VARIANT, talker, [0])


@pytest.mark.parametrize("name", [name for name in list_agents() if name != "genie"])
def test_an_agents_action_and_message_depend_on_its_own_observation_and_inbox_alone(name):
    """Replay recorded slots with everybody else's observations replaced; agent i must not notice (DTDE)."""
    agent = make_agent(name)
    agent.adapt(FAMILY, VARIANT, None)
    slots = []
    play(FAMILY, VARIANT, agent, [0, 1, 2, 3], record=slots.append)
    inboxes = torch.rand(len(slots), 4, 8, agent.message_size, generator=torch.Generator().manual_seed(0))

    def replay(keep: int | None):
        state = State(FAMILY, VARIANT, EpisodeRandom(VARIANT.name, [0, 1, 2, 3]), 4, 0, slots[0].action_mask)
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
    assert name in ("random", "greedy", "heuristic") or actions.float().std() > 0
    for i in (0, 3, 7):
        alone_actions, alone_messages = replay(i)
        assert torch.equal(alone_actions[..., i], actions[..., i])
        assert torch.equal(alone_messages[:, :, i], messages[:, :, i])
    if name != "heuristic":
        assert not torch.equal(replay(0)[0], actions)  # the perturbation is real


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
    assert play(FAMILY, VARIANT, make_agent("lazy"), [0]).returns.item() == 0.0
    assert describe("lazy").text == "lazy: "  # it has no docstring
    (info / "entry_points.txt").write_text("[wbench.agents]\nlazy = lazy_agnt:build\n")
    with pytest.raises(DataError, match=r"plug-in 'lazy' \(lazy_agnt:build\) cannot be loaded: ModuleNotFoundError"):
        make_agent("lazy")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["access/n8-c1-load0.5", "power/n10-d800-v1-load0.5", "offload/n10-e3-p0.3"])
def test_an_episode_is_the_same_on_cpu_and_gpu_within_float_tolerance(name):
    family, variant = get_variant(name)
    seen = {}
    for device in ("cpu", "cuda"):
        rows = []
        played = play(family, variant, family.policies["random"](), range(16), device=device, record=rows.append)
        seen[device] = played.returns.cpu(), torch.stack([row.obs.cpu() for row in rows])
    for here, there in zip(seen["cpu"], seen["cuda"], strict=True):
        assert torch.allclose(here, there, rtol=1e-3, atol=1e-3)
