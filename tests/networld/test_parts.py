"""NetWorld's mechanisms one by one: two-hot codes, diffusion, mean field, scenario encoder, strict checkpoints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from wbench import NetWorld
from wbench.benchmark.data.recorder import mixture, record
from wbench.benchmark.data.support import support
from wbench.benchmark.data.windows import Episodes, Windows, WindowSampler
from wbench.benchmark.family import QUALITIES, ActionComponent, FamilyShape
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError, InvalidValueError
from wbench.learning.codec import ActionCodec, cross_entropy, expectation, two_hot
from wbench.learning.context import codes
from wbench.learning.mean_field import read
from wbench.networld import losses
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import NetWorldConfig, PlannerConfig
from wbench.networld.diffusion import LAST, add_noise, ddim, levels
from wbench.networld.modules import SlotDenoiser

from ..playing import play

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n8-c3-load0.2-l56")
SCALE = {
    "units": {"access": 0.5},
    "values": {"access": (0.0, 20.0)},
    "own_rewards": {"access": (-0.8, 0.4)},
    "pay_units": {"access": 0.1},
    "temperatures": {"access": 1.0},
}
EXPERT, MIXED = QUALITIES.index("expert"), QUALITIES.index("mixed")
TINY = {"stem": 32, "context": 32, "width": 32, "blocks": 1, "head": 32}  # sizes of a network for tests


@pytest.fixture(scope="module")
def model() -> NetWorld:
    torch.manual_seed(0)
    shape = {"access": FamilyShape.of(FAMILY)}
    return NetWorld(NetWorldConfig(shape, **SCALE, **TINY)).eval()


def test_two_hot_round_trip_and_hand_value():
    values = torch.linspace(-2, 5, 1001)
    code = two_hot(values, -2, 5, 65)
    assert torch.allclose(code.sum(-1), torch.ones(1001)) and ((code > 0).sum(-1) <= 2).all()
    assert torch.allclose(expectation(code.clamp(min=1e-30).log(), -2, 5), values, atol=1e-4)
    assert two_hot(torch.tensor(0.3), 0, 1, 11)[2:5].tolist() == pytest.approx([0, 1, 0], abs=1e-5)
    assert two_hot(torch.tensor(0.25), 0, 1, 11)[2:4].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert two_hot(torch.tensor([-9.0, 9.0]), 0, 1, 3).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_two_hot_training_recovers_a_mean_without_bias():
    logits = torch.zeros(21, requires_grad=True)
    samples = torch.distributions.Beta(2.0, 5.0).sample((4000,))
    optimiser = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        cross_entropy(logits.expand(4000, -1), two_hot(samples, 0, 1, 21)).mean().backward()
        optimiser.step()
    assert float(expectation(logits.detach(), 0, 1)) == pytest.approx(float(samples.mean()), abs=1e-3)


def test_action_codes_round_trip_for_choices_levels_and_both():
    choice = ActionComponent("server", "categorical", 3)
    level = ActionComponent("frequency", "ordinal", 5, 0.0, 2.0)
    codec = ActionCodec([choice, level])
    actions = torch.tensor([[0, 0.0], [2, 1.7], [1, 0.6]])
    assert torch.allclose(codec.decode(codec.encode(actions)), actions, atol=1e-6)
    assert ActionCodec([choice]).decode(ActionCodec([choice]).encode(torch.tensor([2, 0, 1]))).tolist() == [2, 0, 1]
    assert codec.table().shape == (15, 8)
    log_probs = codec.table_log_probs(torch.randn(4, 8))
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(4), atol=1e-5)
    masked = codec.mask(torch.zeros(1, 8), torch.tensor([[True, False, True]]))
    assert codec.table_log_probs(masked).exp().view(3, 5).sum(-1).tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_ddim_with_the_exact_denoiser_returns_the_data_distribution():
    mean, std = 1.5, 0.4

    def exact(noisy, time):  # posterior mean of a Gaussian
        signal, sigma = (x.unsqueeze(-1) for x in levels(time))
        gain = signal * std**2 / (signal**2 * std**2 + sigma**2)
        return mean + gain * (noisy - signal * mean)

    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 20_000, 1, generator=generator)
    start = add_noise(mean + std * data, noise, torch.full((20_000,), LAST))
    sample = ddim(exact, start, 100)
    assert float(sample.mean()) == pytest.approx(mean, abs=0.02) and float(sample.std()) == pytest.approx(std, abs=0.03)
    assert torch.allclose(ddim(lambda noisy, time: torch.full_like(noisy, 7.0), start, 3), torch.tensor(7.0))


def test_noise_keeps_variance_and_spares_time_zero():
    clean, noise = torch.randn(5000, 4), torch.randn(5000, 4)
    assert torch.equal(add_noise(clean, noise, torch.zeros(5000)), clean)
    for time in (0.3, 0.8):
        assert float(add_noise(clean, noise, torch.full((5000,), time)).std()) == pytest.approx(1.0, abs=0.03)


def test_guidance_shifts_a_plan_uphill():
    start = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    plain = ddim(lambda noisy, time: noisy * 0.5, start, 5)
    steered = ddim(lambda noisy, time: noisy * 0.5, start, 5, steer=lambda noisy, time: torch.ones_like(noisy) * 0.1)
    assert (steered > plain).all()


def test_reading_an_inbox_tells_how_many():
    inbox = torch.tensor([[0.5, 0.0]])
    few, many = read(inbox, torch.tensor(2.0)), read(inbox, torch.tensor(20.0))
    assert few.tolist() == [[0.5, 0.0, pytest.approx(1 / 2), 0.0]] and many[0, 2] == pytest.approx(10 / 11)


def test_a_descriptor_that_never_varied_has_no_effect(model):
    plain = FAMILY.variant("access/n8-c3-load0.3-l48").descriptor()
    bursty = FAMILY.variant("access/n8-c3-load0.2-l48-bursty").descriptor()
    assert plain != bursty
    embeddings = model.scenario(torch.tensor([plain, bursty]), "access")
    assert torch.equal(embeddings[0], embeddings[1])


def test_training_sees_exactly_what_an_acting_agent_sees(model):
    """Contexts from recorded windows equal those that the agent builds slot by slot, inbox and episode start included."""
    seen = []

    class Spy(NetWorldAgent):
        def act(self, obs, inbox, state):
            action = super().act(obs, inbox, state)
            with torch.no_grad():
                latents, scenario = state.memory["latents"], state.memory["scenario"]
                code = self._site[:, state.slot % VARIANT.period].repeat(2, 1)
                told = model.told(code, model.prospects(latents[:, -1], scenario, code, "access"), "access")
                seen.append(torch.cat(model.contexts(latents, state.memory["inboxes"], scenario, told), dim=-1))
            return action

    agent = Spy(model)
    agent.adapt(FAMILY, VARIANT, support(FAMILY, VARIANT, 0, 2))
    slots = []
    play(FAMILY, VARIANT, agent, [0, 1], record=slots.append)
    stack = {name: torch.stack([getattr(s, name) for s in slots], 1) for name in ("obs", "action", "action_mask", "reward")}
    source = Episodes(VARIANT, **stack, quality=torch.tensor([EXPERT, EXPERT]), history=4, horizon=8)
    for slot in (0, 2, 60):
        window = source.gather(torch.tensor([0, 1]), torch.tensor([slot, slot]))
        batch = losses.Windows(
            **window,
            group=torch.arange(2).repeat_interleave(8),
            others=torch.full((16,), 7.0),
            descriptor=torch.tensor([VARIANT.descriptor()]).expand(16, -1),
        )
        with torch.no_grad():
            ahead = batch.slot.unsqueeze(1) + torch.arange(9)
            code = agent._site[batch.agent.unsqueeze(1), ahead % VARIANT.period]
            encoded = losses.encode(model, batch, "access", 13, code)
            behaviour = model.scenario.with_behaviour(encoded.scenario, batch.quality)
            contexts = [torch.cat(losses.contexts_at(model, encoded, 4 + k, behaviour), dim=-1) for k in range(9)]
        context, acting = torch.stack(contexts, dim=1), torch.stack(seen[slot : slot + 9], dim=1)
        assert torch.allclose(context, acting, atol=1e-3), slot


def test_the_bellman_target_is_the_mean_of_the_agents_improved_shares(model):
    batch, planned = _batch(24), torch.arange(3)
    site = codes(model.support, batch, "access", 2).detach()
    with torch.no_grad():
        encoded = losses.encode(model, batch, "access", 6, site)
    aims = losses.targets(model, batch, "access", planned, site)
    with torch.no_grad():
        behaviour = model.scenario.with_behaviour(encoded.scenario, torch.full_like(batch.group, EXPERT))
        world, value = losses.contexts_at(model, encoded, 5, behaviour)
        pay = model.config.pay_units["access"] / model.config.units["access"]
        shares = model.critic(value, "access") + 8 * pay * encoded.prospects[:, 1]
        prior = model.behaviour_logits(world, batch.action_mask[:, 5], "access").log_softmax(-1)
        policy = (prior + shares / 1.0).softmax(-1)
        expected = [
            float(batch.reward[batch.group == g, 4][0]) / 0.5 + 0.95 * float((policy * shares).sum(-1)[batch.group == g].mean())
            for g in range(batch.groups)
        ]
    assert aims.bellman.tolist() == pytest.approx(expected, abs=1e-4) and aims.plan.shape == (3, 8 * 64)


@pytest.mark.parametrize("conditioned", [False, True])
def test_the_world_model_is_told_the_behaviour_and_a_conditioned_value_is(conditioned):
    torch.manual_seed(0)
    model = NetWorld(NetWorldConfig({"access": FamilyShape.of(FAMILY)}, **SCALE, **TINY, behaviour_conditioned=conditioned))
    batch = _batch(24)
    with torch.no_grad():
        encoded = losses.encode(model, batch, "access", 6, codes(model.support, batch, "access", 2))
        (world, value), (other_world, other_value) = (
            losses.contexts_at(
                model,
                encoded,
                4,
                model.scenario.with_behaviour(encoded.scenario, torch.full_like(batch.group, quality)),
            )
            for quality in (EXPERT, MIXED)
        )
    assert torch.equal(value, other_value) == (not conditioned) and not torch.allclose(world, other_world)


def test_a_behaviour_conditioned_value_learns_nothing_from_recordings_that_hold_a_genies():
    torch.manual_seed(0)
    shape, batch = {"access": FamilyShape.of(FAMILY)}, _batch(24)
    plain, conditioned = (NetWorld(NetWorldConfig(shape, **SCALE, **TINY, behaviour_conditioned=c)) for c in (False, True))
    by_quality = {}
    for quality in (EXPERT, MIXED):
        seen = replace(batch, quality=torch.full_like(batch.quality, quality))
        by_quality[quality] = [
            float(losses.total(net, net, seen, "access", losses.LossWeights())[1]["critic"]) for net in (conditioned, plain)
        ]
    assert by_quality[MIXED][0] == 0.0 and min(by_quality[EXPERT][0], *by_quality[MIXED][1:], *by_quality[EXPERT][1:]) > 0.0


@pytest.mark.parametrize(
    ("switch", "hears"),
    [("both", (True, True)), ("world", (True, False)), ("value", (False, True)), ("off", (False, False))],
)
def test_the_mean_field_reaches_whom_it_should(switch, hears):
    torch.manual_seed(0)
    net = NetWorld(NetWorldConfig({"access": FamilyShape.of(FAMILY)}, **SCALE, **TINY, mean_field=switch))
    latents, scenario, inbox, told = torch.randn(3, 4, 64), torch.randn(3, 32), torch.randn(3, 4, 16), torch.randn(3, 96)
    with_inbox, without = (net.contexts(latents, heard, scenario, told) for heard in (inbox, torch.zeros_like(inbox)))
    assert tuple(not torch.equal(a, b) for a, b in zip(with_inbox, without, strict=True)) == hears


@pytest.mark.parametrize(
    "switches",
    [
        {"shared_latents": False},
        {"two_hot": False},
        {"denoiser": "slots"},
        {"denoiser": "direct"},
        {"site": 0},
        {"outlook": 0},
        {"world_model": False},
    ],
)
def test_ablated_networks_learn_and_play(switches):
    torch.manual_seed(0)
    net = NetWorld(NetWorldConfig({"access": FamilyShape.of(FAMILY)}, **SCALE, **TINY, **switches))
    batch = _batch(120)
    optimiser, seen = torch.optim.Adam(net.parameters(), 3e-3), []
    weights = losses.LossWeights() if net.config.world_model else losses.LossWeights.without_world_model()
    for _ in range(30):
        optimiser.zero_grad()
        noise = torch.Generator().manual_seed(0)
        loss, parts = losses.total(net, net, batch, "access", weights, noise)
        loss.backward()
        optimiser.step()
        seen.append(parts)
    world = {"reconstruction", "reward", "denoiser", "inverse"} & seen[0].keys() if net.config.world_model else set()
    assert all(seen[-1][name] < seen[0][name] for name in {"behaviour", *world})
    agent = NetWorldAgent(net.eval(), PlannerConfig(guidance="cg+mcss", candidates=2, steps=2))
    assert torch.isfinite(play(FAMILY, replace(VARIANT, horizon=6), agent, [0, 1]).returns).all()


def test_a_slot_denoiser_treats_rows_alone_and_needs_every_slot(model):
    torch.manual_seed(0)
    net = SlotDenoiser(NetWorldConfig({"access": FamilyShape.of(FAMILY)}, **SCALE, **TINY))
    noisy, time, context = torch.randn(5, 8 * 64), torch.rand(5), torch.randn(5, 32)
    with torch.no_grad():
        clean = net(noisy, time, context)
        assert torch.allclose(clean[2:3], net(noisy[2:3], time[2:3], context[2:3]), atol=1e-5)
        last_slot_changed = noisy.clone()
        last_slot_changed[:, -64:] += 1.0
        assert (net(last_slot_changed, time, context) - clean)[:, :64].abs().max() > 1e-4


def _batch(rows: int) -> Windows:
    """Windows of mixed recordings, with two other episodes of their site."""
    return WindowSampler(FAMILY, [_source()], torch.Generator().manual_seed(0)).sample(rows, shots=(2,), per_context=3)


def _source() -> Episodes:
    columns = record(FAMILY, VARIANT, mixture(FAMILY, "mixed"), [0] * 4, range(4))
    tensors = {name: torch.from_numpy(columns[name]) for name in ("obs", "action", "action_mask", "reward")}
    return Episodes(VARIANT, **tensors, quality=torch.full((4,), MIXED), history=4, horizon=8)


def test_saved_and_loaded_it_plans_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = NetWorld.from_pretrained(tmp_path)
    returns = [play(FAMILY, VARIANT, NetWorldAgent(m), [0, 1, 2]).returns.tolist() for m in (model, again)]
    assert returns[0] == returns[1] and again.config == model.config


def _spoil(folder, kind):
    weights, config = folder / "model.safetensors", folder / "config.json"
    tensors, data = load_file(weights), json.loads(config.read_text())
    name = "mean_field.project.weight"
    if kind == "missing file":
        weights.unlink()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "missing tensor":
        save_file({k: v for k, v in tensors.items() if k != name}, weights)
    elif kind == "extra tensor":
        save_file({**tensors, "surplus": torch.zeros(1)}, weights)
    elif kind == "shape":
        save_file({**tensors, name: tensors[name][:, :-1].contiguous()}, weights)
    elif kind == "nan":
        save_file({**tensors, name: tensors[name] * float("nan")}, weights)
    elif kind == "config field":
        config.write_text(json.dumps({**data, "depth": 3}))
    elif kind == "config not json":
        config.write_text("{")
    elif kind == "config no object":
        config.write_text("[1]")
    elif kind == "config size":
        config.write_text(json.dumps({**data, "latent": -1}))
    elif kind == "config type":
        config.write_text(json.dumps({**data, "site": None}))
    elif kind == "other model":
        config.write_text(json.dumps({"hidden": 3}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing file", "has no model.safetensors"),
        ("truncated", "truncated or no safetensors"),
        ("missing tensor", "1 tensors missing.*mean_field"),
        ("extra tensor", "1 unknown.*surplus"),
        ("shape", r"mean_field.project.weight.*\(8, 63\).*\(8, 64\)"),
        ("nan", "mean_field.project.weight holds NaN"),
        ("config field", "unknown fields depth; allowed"),
        ("config not json", "config.json is not JSON"),
        ("config no object", "config.json is no JSON object"),
        ("config size", "no network is of the sizes in its config.json .*negative dimension"),
        ("config type", "not NetWorld's: site: Input should be a valid integer, not None"),
        ("other model", "not NetWorld's"),
    ],
)
def test_a_bad_checkpoint_is_refused_with_the_reason(model, tmp_path, kind, message):
    model.save_pretrained(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    _spoil(tmp_path / "bad", kind)
    with pytest.raises(CheckpointError, match=message):
        NetWorld.from_pretrained(tmp_path / "bad")


def test_after_few_shots_it_plays_hotter_where_it_is_cautious(model):
    cautious = replace(model.config, evaluation_temperatures={"access": 0.5}, caution={"access": 1.0})
    assert [cautious.evaluation_temperature("access", 8, shots) for shots in (0, 1, 5)] == pytest.approx([1.0, 1.0, 0.6])
    assert model.config.evaluation_temperature("access", 8, 1) == 1.0


def test_a_larger_team_plays_hotter_where_it_is_a_crowd(model):
    crowded = replace(model.config, evaluation_temperatures={"access": 0.5}, crowd={"access": 8})
    assert [crowded.evaluation_temperature("access", agents) for agents in (4, 8, 16)] == [0.5, 0.5, 1.0]


def test_planner_settings_are_checked():
    for field, value in (("guidance", "magic"), ("candidates", 0), ("steps", 0), ("warm_start", 0.0), ("temperature", 0.0)):
        with pytest.raises(InvalidValueError, match=f"^{field} is"):
            PlannerConfig(**{field: value})
