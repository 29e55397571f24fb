"""Leave one family out: what a graft keeps and what is fresh, what it may know, and the command from end to end."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.agent import Support
from wbench.benchmark.data.support import support
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError, InvalidValueError
from wbench.learning.run import REPORT
from wbench.networld.adapt import AdaptConfig
from wbench.networld.config import NetWorldConfig
from wbench.networld.studies import transfer
from wbench.networld.train import MARGIN, PRESETS

OLD, NEW = ("power", "offload"), get_family("access")
VARIANT = NEW.variant("access/n8-c2-load0.2-l48")
TINY = {"stem": 32, "context": 32, "width": 32, "blocks": 1, "head": 32}
SHORT = ("--variant", VARIANT.name, "--shots", "1", "--sites", "dev:0", "--episodes", "2", "--steps", "30")


def network(*families: str) -> NetWorld:
    shapes = {name: FamilyShape.of(get_family(name)) for name in families}
    ones = {name: dict.fromkeys(shapes, 1.0) for name in ("pay_units", "temperatures")}
    ranges = {name: dict.fromkeys(shapes, (-3.0, 20.0)) for name in ("values", "own_rewards")}
    torch.manual_seed(0)
    model = NetWorld(NetWorldConfig(shapes, units=dict.fromkeys(shapes, 0.5), **ones, **ranges, **TINY))
    for tensor in model.state_dict().values():
        tensor.add_(0.1 * torch.randn_like(tensor))  # nothing that a fresh network could have by chance
    return model.eval()


@pytest.fixture(scope="module")
def pretrained() -> NetWorld:
    return network(*OLD)


@pytest.fixture(scope="module")
def shots() -> Support:
    return support(NEW, VARIANT, 0, shots=1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory, pretrained):
    """A folder as `--networks` wants it: one network that lacks `access`, one that should lack `power` and does not."""
    folder = tmp_path_factory.mktemp("transfer")
    pretrained.save_pretrained(folder / "without-access")
    pretrained.save_pretrained(folder / "without-power")
    return folder


def tensors(model: NetWorld) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def _decides(model, family, obs, latents, inboxes, descriptor, told, prospects, mask):
    """Latents, values and policy of a network."""
    world, value = model.contexts(latents, inboxes, model.scenario(descriptor, family), told)
    values = model.values(value, prospects, 3.0, family)
    return model(obs, family), values, model.improved_log_policy(world, values, mask, family)


def test_a_graft_keeps_all_that_was_known_and_adds_the_new_familys_parts(pretrained, shots):
    grafted = transfer.graft(pretrained, NEW, VARIANT, shots)
    before, after = tensors(pretrained), tensors(grafted)
    assert {name: after[name] for name in before} == before
    assert all("access" in name for name in set(after) - set(before)) and set(after) > set(before)
    for family in OLD:
        shape = pretrained.shape(family)
        latents, inboxes, told = torch.randn(5, 4, 64), torch.randn(5, 4, 16), torch.randn(5, 96)
        mask = torch.ones(5, get_family(family).mask_size, dtype=torch.bool)
        descriptor, obs = torch.randn(5, shape.descriptor_size), torch.randn(5, shape.obs_size)
        with torch.no_grad():
            prospects = torch.randn(5, len(pretrained.codecs[family].table()))
            ours, theirs = (
                _decides(model, family, obs, latents, inboxes, descriptor, told, prospects, mask)
                for model in (pretrained, grafted)
            )
        assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


def test_the_new_parts_follow_from_the_seed_and_the_global_generator_is_left_alone(pretrained, shots):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = tensors(transfer.graft(pretrained, NEW, VARIANT, shots, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert tensors(transfer.graft(pretrained, NEW, VARIANT, shots, seed=3)) == first
    other = tensors(transfer.graft(pretrained, NEW, VARIANT, shots, seed=4))
    assert {name.rpartition(".")[2] for name in first if first[name] != other[name]} >= {"weight", "bias"}


def test_scale_comes_from_the_support_alone(pretrained, shots):
    grafted = transfer.graft(pretrained, NEW, VARIANT, shots)
    reward, discount = shots.reward.double().sum(-1)[0], pretrained.config.discount
    values = [0.0]
    for x in reward.flip(0).tolist():
        values.append(x + discount * values[-1])
    low, high, unit = min(values), max(values), float(reward.std())
    margin = MARGIN * (high - low)
    assert grafted.config.units["access"] == pytest.approx(unit, abs=1e-4)
    assert grafted.value_range("access") == pytest.approx(((low - margin) / unit, (high + margin) / unit), rel=1e-3)
    flat = shots.obs.flatten(0, 2)
    seen = grafted.observation.standardise(flat, "access")
    varying = flat.std(0) > 1e-4
    assert seen.mean(0)[varying].abs().max() < 0.05 and varying.sum() > 5
    assert grafted.config.values["power"] == pretrained.config.values["power"]
    half = replace(shots, reward=shots.reward / 2)
    assert transfer.graft(pretrained, NEW, VARIANT, half).config.units["access"] == pytest.approx(unit / 2, abs=1e-4)


def test_arms_differ_by_the_shared_weights_alone_and_both_learn(pretrained, shots):
    digest = tensors(pretrained)
    losses = {}
    for scratch in (False, True):
        agents = [
            transfer.TransferAgent(pretrained, adaptation=AdaptConfig(batch_size=64, whole_steps=steps, scratch=scratch))
            for steps in (1, 30)
        ]
        begun, done = (agent.adapt(NEW, VARIANT, shots) for agent in agents)
        assert done.gradient_steps == 30 and done.notes["loss"] < 0.8 * begun.notes["loss"]
        assert agents[0]._model.config == agents[1]._model.config == transfer.extended(pretrained.config, NEW, VARIANT, shots)
        losses[scratch] = begun.notes["loss"]
    assert losses[False] != losses[True] and tensors(pretrained) == digest


def test_nothing_is_known_of_a_family_without_an_episode_or_a_scale(pretrained, shots):
    with pytest.raises(InvalidValueError, match="1 or more"):
        transfer.TransferAgent(pretrained).adapt(NEW, VARIANT, None)
    with pytest.raises(InvalidValueError, match="always the same"):
        transfer.graft(pretrained, NEW, VARIANT, replace(shots, reward=torch.zeros_like(shots.reward)))
    with pytest.raises(CheckpointError, match="knows 'access' already"):
        transfer.graft(network("access"), NEW, VARIANT, shots)


def test_only_what_the_folder_lacks_is_trained_and_without_the_family_left_out(monkeypatch, tmp_path):
    trained: list[tuple[str, list[str], bool]] = []

    def train(trainer, families, config, folder, *, resume, on_step):
        on_step(config.steps, {})
        names = [family.name for family in families]
        trained.append((folder.name, names, resume))
        network(*names).save_pretrained(folder)
        (folder / REPORT).write_text(json.dumps({"config": asdict(config), "log": []}))

    monkeypatch.setattr("wbench.learning.training.Trainer.fit", train)
    told: list[tuple[str, int]] = []
    for _ in range(2):
        transfer.train_networks(["power", "access"], PRESETS["debug"], tmp_path, lambda *step: told.append(step[:2]))
    assert trained == [("without-power", ["access", "offload"], True), ("without-access", ["power", "offload"], True)]
    assert told == [("power", PRESETS["debug"].steps), ("access", PRESETS["debug"].steps)]
    longer = replace(PRESETS["debug"], steps=40)
    with pytest.raises(CheckpointError, match=r"holds a network of another training \(20 steps of access, offload\)"):
        transfer.train_networks(["power"], longer, tmp_path, lambda *step: None)


def test_the_command_plays_both_arms_and_says_the_same_again(command, networks):
    done = command("study", "transfer", "--networks", str(networks), *SHORT, "--json")
    assert done.code == 0, done.err
    (row,) = done.data["rows"]
    ours, theirs = row["transferred"]["iqm"], row["scratch"]["iqm"]
    assert (row["family"], row["shots"]) == ("access", 1) and ours != theirs
    assert row["difference"]["iqm"] == pytest.approx(ours - theirs) and row["difference"]["ci_low"] is None
    shown = command("study", "transfer", "--networks", str(networks), *SHORT)
    line = next(line for line in shown.out.splitlines() if "access" in line)
    assert line.split()[1:5] == ["1", f"{ours:.1f}", f"{theirs:.1f}", f"{ours - theirs:+.1f}"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--family", "acess"), "Did you mean 'access'?"),
        (("--family", "power", "--variant", VARIANT.name), "of power, or leave --family out"),
        (("--shots", "0,5"), "--shots is '0,5', but must be whole numbers of 1 or more"),
        (("--family", "access", "--steps", "0"), "1 or more"),
        (("--family", "access", "--train-steps", "-1"), "--train-steps is -1, but must be 1 or more"),
        (("--family", "offload"), "without-offload. Try: wbench study transfer --networks"),
        (("--family", "power"), "was trained on offload, power, not without power"),
    ],
)
def test_bad_input_is_one_line(command, networks, given, said):
    done = command("study", "transfer", "--networks", str(networks), *given)
    assert done.code == 2 and not done.out
    line = done.err.strip().splitlines()[-1]
    assert said in line and "Traceback" not in done.err
