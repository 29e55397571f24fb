"""`handover`: maps, streets, links, handovers, what the references make of a site, and what tracing asks for."""

from __future__ import annotations

import hashlib
import runpy
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from wbench.benchmark.agent import Support
from wbench.benchmark.data.support import support
from wbench.benchmark.families.handover import maps, trace
from wbench.benchmark.families.handover.env import DETECTED, HOLD, INTERRUPTION, PRICE, REPAIR, HandoverEnv
from wbench.benchmark.families.handover.estimator import estimate
from wbench.benchmark.families.handover.family import FAMILY
from wbench.benchmark.families.handover.genie import POINTS, WEIGHTS, Assignment
from wbench.benchmark.families.handover.layout import LOOKS, View, permute_stations
from wbench.benchmark.families.handover.planning import average, cell_of, told
from wbench.benchmark.families.handover.scenario import draw_scenario
from wbench.benchmark.families.handover.site import CARRIERS, draw_site, places, same_carrier
from wbench.benchmark.families.handover.variant import BAND, VARIANTS, HandoverVariant
from wbench.benchmark.protocol.admission import frozen
from wbench.benchmark.rollout import play
from wbench.benchmark.site import RANGES
from wbench.commands.show import draw
from wbench.errors import DataError, InvalidValueError, MissingPackageError

SMALL = HandoverVariant(6, 4, 0.5, 0.6)
DEV = RANGES["dev"]


def env_of(users=2, stations=3, **fields):
    """An environment whose links all carry 7.4 bit/s/Hz to station 1, with no tenants, bills or short backhaul."""
    env = HandoverEnv(HandoverVariant(users, stations, **fields))
    env.reset([DEV[0]], [0])
    env.ratio = torch.full_like(env.ratio, 1e-6)
    env.measured = torch.full_like(env.measured, -60.0)
    env.ratio[..., 0], env.measured[..., 0] = 1e4, 40.0
    env.share, env.tariff = torch.zeros_like(env.share), torch.zeros_like(env.tariff)
    env.backhaul = torch.full_like(env.backhaul, 1e6)
    env.serving = torch.zeros_like(env.serving)
    env.load = torch.zeros_like(env.load)
    env._observe()
    return env


def test_users_of_the_strongest_station_get_what_mobile_env_gives_them():
    """Rates of mobile-env 2.1.0 on its small scenario, see experiments/association.py: 100 slots, 5 users, 3 stations."""
    rows = np.loadtxt(Path(__file__).with_name("mobile_env.csv"), delimiter=",", skiprows=1).reshape(100, 5, 6)
    ratio, rate = rows[..., 2:5], rows[..., 5]
    assert (rate > 0).any() and (rate == 0).any()  # some are out of reach
    script = Path(__file__).parents[3] / "experiments" / "association.py"
    found = runpy.run_path(str(script))["ours"](ratio)
    assert np.abs(found - rate).max() < 1e-4 * rate.mean()


# Maps


def test_the_shipped_maps_are_those_of_this_version():
    found = maps.districts()
    assert len(found) == len(trace.DISTRICTS) == 20
    assert [(d.city, *d.centre) for d in found] == [(c, float(x), float(y)) for c, x, y in trace.DISTRICTS]
    assert maps.PATH.stat().st_size < 2_000_000
    for place in found:
        assert place.gain.shape == (len(place.cells), trace.STATIONS) and len(place.cells) > 500
        assert (place.gain[np.isfinite(place.gain)] <= maps.BEST_DB).all()
        assert (place.gain.max(1) > -130).mean() > 0.9  # nearly every street cell is reached by one of the candidates


def test_a_map_of_other_bytes_of_another_version_or_of_none_is_refused(tmp_path):
    good = dict(np.load(maps.PATH))
    other, changed, rubbish = tmp_path / "other.npz", tmp_path / "changed.npz", tmp_path / "rubbish.npz"
    np.savez(other, **good | {"version": np.array(2)})
    np.savez(changed, **good)
    rubbish.write_bytes(b"no maps")
    for path, said in (
        (other, "of version 2"),
        (changed, "has SHA-256"),
        (rubbish, "no file of maps"),
        (tmp_path / "x", "no file"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            maps.load(path, maps.SHA256)
        assert "\n" not in str(caught.value)
    assert len(maps.load(changed, hashlib.sha256(changed.read_bytes()).hexdigest())) == 20


def test_no_district_of_held_out_sites_is_shown_to_train_or_dev_sites():
    seen = {kind: set(places("seen", kind)) for kind in RANGES}
    assert seen["train"] == seen["dev"] and seen["held-out"] == seen["sealed"]
    assert not seen["train"] & seen["held-out"] and len(seen["train"]) == 10 and len(seen["held-out"]) == 4
    unseen = set(places("unseen", "held-out"))
    assert {maps.districts()[k].city for k in unseen} == {"florence"} and not unseen & (seen["train"] | seen["held-out"])
    assert {v.city for v in VARIANTS.values() if v.split == "train"} == {"seen"}
    assert "unseen" in {v.city for v in VARIANTS.values() if v.split == "held-out"}


def test_packing_keeps_gains_to_a_quarter_of_a_decibel():
    found = maps.districts()[:2]
    packed = trace.pack(found)
    assert packed["gain"].dtype == np.uint8 and packed["version"] == maps.VERSION
    again = [maps._district(packed, k) for k in range(2)]
    for one, two in zip(found, again, strict=True):
        assert np.array_equal(one.cells, two.cells) and np.array_equal(one.gain, two.gain)
    off = replace(found[0], gain=found[0].gain + np.float32(0.2))
    assert np.array_equal(trace.pack([off])["gain"], trace.pack(found[:1])["gain"])
    assert trace.agreement(packed, [0, 1]) == [(1.0, 0.0)] * 2
    louder = packed | {"gain": np.where(packed["gain"] > 10, packed["gain"] - 4, packed["gain"]).astype(np.uint8)}  # 2 dB
    assert all(near < 0.1 and far == 2.0 for near, far in trace.agreement(louder, [0, 1]))
    assert trace.agreement(packed, [2, 3]) == [(0.0, np.inf)] * 2


def test_tracing_says_what_it_needs(monkeypatch):
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "/nowhere/libLLVM.so")
    with pytest.raises(MissingPackageError, match=r"/nowhere/libLLVM\.so is no file.*apt-get install libllvm19") as caught:
        trace.trace([0])
    assert "\n" not in str(caught.value)
    for number in (-1, len(trace.DISTRICTS)):
        with pytest.raises(InvalidValueError, match=r"--district.*in \[0, 19\]"):
            trace.trace([number])


# Streets


def test_users_keep_to_the_streets_and_to_their_speed():
    place = draw_site(SMALL, DEV[1])
    _, _, where, speed, *_ = draw_scenario(SMALL, place, DEV[1], 5)
    assert where.shape == (SMALL.horizon + 2 + max(LOOKS), 6, 2)
    free = told([place]).street[0] > 0
    street = maps.districts()[place.district].positions @ place.turn.T
    gap = np.linalg.norm(where[:, :, None] - street, axis=-1).min(-1)
    assert gap.max() < maps.CELL * 0.71 and bool(free.any())  # half a diagonal: between two street cells at most
    steps = np.linalg.norm(np.diff(where, axis=0), axis=-1)
    assert (steps <= speed * 0.5 + 2 * maps.PACE).all() and steps.sum(0).max() > 50.0


def test_an_episode_is_the_same_in_any_batch():
    env, alone = HandoverEnv(SMALL), HandoverEnv(SMALL)
    obs, _ = env.reset([DEV[0], DEV[2]], [3, 4])
    assert torch.equal(obs[1:], alone.reset([DEV[2]], [4])[0])
    copied = env.clone_episodes(torch.tensor([1, 1]))
    stay = torch.zeros(2, 6, dtype=torch.long)
    after, mine = env.step(stay), copied.step(stay)
    assert torch.equal(after[0][1], mine[0][0]) and torch.equal(mine[0][0], mine[0][1])


# Links


def test_users_of_a_station_share_its_airtime_and_then_its_backhaul():
    env = env_of(users=2, stations=3, load=1.0)
    need = env.variant.need  # 60 Mbit/s each
    info = env.step(torch.zeros(1, 2, dtype=torch.long))[4]
    assert torch.allclose(info["delivered"], torch.full((1, 2), min(need, BAND * 7.4 / 2) * 0.5))
    assert env.load[0, 0].item() == pytest.approx(2 * need / (BAND * 7.4), rel=1e-3) and env.users[0].tolist() == [2, 0, 0]
    env.backhaul[0, 0] = 30.0
    assert env.step(torch.zeros(1, 2, dtype=torch.long))[4]["delivered"].tolist() == [[7.5, 7.5]]
    env.share[0, 0], env.active[0], env.backhaul[0, 0] = 0.9, 1.0, 1e6  # tenants leave a tenth of the airtime
    got = env.step(torch.zeros(1, 2, dtype=torch.long))[4]["delivered"]
    assert torch.allclose(got, torch.full((1, 2), BAND * 7.4 * 0.05 * 0.5), rtol=1e-3) and env.load[0, 0] == 1.0


def test_only_stations_on_the_same_carrier_disturb_by_their_load():
    assert same_carrier(6).sum(0).tolist() == [6 // CARRIERS - 1.0] * 6 and same_carrier(6)[0].tolist() == [0, 0, 0, 1, 0, 0]
    for disturber, expected in ((3, 1e4 / (1 + 0.5 * 1e3)), (1, 1e4)):
        env = env_of(stations=6)
        env.ratio[..., disturber], env.load[0, disturber] = 1e3, 0.5
        assert env._heard(env.ratio[1])[0, 0].item() == pytest.approx(expected, rel=1e-4)


def test_a_handover_interrupts_is_billed_and_bars_the_next_one():
    def went(billed, charged=True):
        env = env_of(load=0.1)
        env.charged = charged
        env.ratio[..., 1], env.measured[..., 1] = 1e4, 20.0
        env.tariff[0, 1] = float(billed)
        mask = env._observe()[1]["action_mask"]
        assert mask[0, 0].nonzero().flatten().tolist() == [0, 2]  # station 2 of the people is heard, station 3 is not
        return env, env.step(torch.tensor([[2, 0]]))

    env, (obs, reward, _, _, info) = went(billed=True)
    assert env.serving.tolist() == [[1, 0]] and View(obs).moved[0, :, 0].tolist() == [1, 0]
    assert reward[0].tolist() == pytest.approx([(1 - PRICE) / 2, 0.5], rel=1e-5)
    assert not info["action_mask"][0, 0, 1:].any() and info["action_mask"][0, 1, 2]
    for _ in range(HOLD - 1):
        assert env.hold[0, 0] > 0
        info = env.step(torch.tensor([[1, 0]]))[4]  # masked: to stay
        assert env.serving[0, 0] == 1
    assert info["action_mask"][0, 0, 1]
    assert went(billed=False)[1][1][0].tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    assert torch.equal(went(True, charged=False)[1][0], went(True)[1][0])
    env = env_of(load=4.0)  # more is asked than the link carries
    env.ratio[..., 1], env.measured[..., 1] = 1e4, 20.0
    env._observe()
    moved = env.step(torch.tensor([[2, 0]]))[4]["delivered"][0]
    assert (moved[0] / moved[1]).item() == pytest.approx(1 - INTERRUPTION, rel=1e-3)


def test_a_link_that_fails_comes_back_at_the_strongest_station():
    env = env_of()
    env.ratio[1, 0, 0, 0] = 0.1  # -10 dB in slot 0 for user 0
    env.ratio[..., 2], env.measured[..., 2] = 1e5, 50.0
    stay = torch.zeros(1, 2, dtype=torch.long)
    info = env.step(stay)[4]
    assert info["dropped"].tolist() == [[1, 0]] and info["delivered"][0, 0] == 0
    for k in range(REPAIR):
        assert env.wait[0, 0] == REPAIR - k and not env._mask[0, 0, 1:].any()
        assert env.step(stay)[4]["delivered"][0, 0] == 0
    assert env.serving.tolist() == [[2, 0]] and env.step(stay)[4]["delivered"][0, 0] > 0
    assert env.qos()["drops"].item() == 1 and env.qos()["delay_mean"].item() == REPAIR + 1


def test_a_station_without_coverage_is_never_reported():
    env = HandoverEnv(SMALL)
    env.reset([DEV[0]], [0])
    env.measured[..., 3] = DETECTED - 1.0
    assert not env._observe()[1]["action_mask"][..., 4].any()
    assert not View(env._observe()[0]).reported[..., 3].any()


# References


def test_the_genie_finds_the_best_assignment_of_five_users_to_three_stations():
    ratios = []
    for seed in range(8):
        rng = torch.Generator().manual_seed(seed)
        alone, fails = 3.0 * torch.rand(1, 5, 3, len(POINTS), generator=rng), torch.zeros(1, 5, 3, len(POINTS))
        env = SimpleNamespace(
            variant=SimpleNamespace(period=32, need=1.0),
            share=0.8 * torch.rand(1, 3, 32, generator=rng),
            active=torch.rand(1, 3, generator=rng),
            backhaul=0.5 + 2.0 * torch.rand(1, 3, generator=rng),
            serving=torch.randint(3, (1, 5), generator=rng),
            wait=torch.zeros(1, 5),
        )
        price, never = torch.rand(1, 3, generator=rng), torch.full((1, 3), 1e6)
        free = torch.ones(1, 5, 3, dtype=torch.bool).scatter(2, env.serving.unsqueeze(-1), False)
        found = Assignment(env, 0, alone, fails, (price, never), free).solve(3)[0].tolist()
        values = {each: worth_of(each, env, alone[0].numpy(), price[0].numpy()) for each in product(range(3), repeat=5)}
        ratios.append(values[tuple(found)] / max(values.values()))
    assert min(ratios) > 0.85 and np.mean(ratios) > 0.95, ratios


def worth_of(chosen, env, alone, price):
    """What an assignment is worth, in plain loops."""
    total = -sum(price[b] for n, b in enumerate(chosen) if b != env.serving[0, n])
    for h, (point, weight) in enumerate(zip(POINTS, WEIGHTS, strict=True)):
        for b in set(chosen):
            users = [n for n in range(5) if chosen[n] == b]
            p = env.active[0, b].item()
            for chance, left in ((p, 1.0 - env.share[0, b, point].item()), (1.0 - p, 1.0)):
                carried = sum(min(1.0, alone[n, b, h] * left / len(users)) for n in users)
                total += weight * chance * min(carried, env.backhaul[0, b].item())
    return total


def test_an_estimator_reads_map_backhaul_tenants_and_tariffs():
    variant = next(iter(VARIANTS.values()))
    logs = support(FAMILY, variant, DEV[3], 6)
    true, prior = told([draw_site(variant, DEV[3])]), average(variant)
    found, little = estimate(variant, logs), estimate(variant, first(logs, 1))
    heard = (found.sure[0] > 0.8) & (true.level[0] > 10.0)  # what is not heard is only known to be below detection
    assert heard.sum() > 500 and (found.level - true.level)[0][heard].abs().median() < 3.0
    silent = (found.sure[0] > 0.8) & (true.level[0] < -20.0)
    assert silent.sum() > 500 and (found.level[0][silent] < 0.0).float().mean() > 0.75
    for name, part in (("backhaul", 0.5), ("available", 0.8), ("tariff", 0.9)):
        errors = [float((getattr(k, name) - getattr(true, name)).abs().mean()) for k in (prior, little, found)]
        assert errors[2] < part * errors[0] and errors[2] <= errors[1] * 1.05, (name, errors)
    assert found.street[0].sum() == pytest.approx(1.0, abs=1e-4)


def first(logs, shots):
    return Support(*(getattr(logs, n)[:shots] for n in ("obs", "action", "reward", "action_mask")), logs.quality[:shots])


def test_knowing_the_place_earns_more_than_learning_it_within_the_episode():
    variant = next(iter(VARIANTS.values()))
    sites = list(DEV[:6])
    returns = {
        n: play(FAMILY, variant, FAMILY.policies[n](), sites, range(6)).returns for n in ("random", "belief", "oracle", "genie")
    }
    mean = {name: float(each.mean()) for name, each in returns.items()}
    assert mean["random"] < mean["belief"] < mean["oracle"] < mean["genie"]


@pytest.mark.parametrize("load", [0.6, 0.9])
def test_a_rule_without_a_map_beats_the_event_a3_whatever_the_load(load):
    variant = HandoverVariant(16, 6, 0.5, load)
    mean = {
        name: float(play(FAMILY, variant, FAMILY.policies[name](), list(DEV[:12]), range(12)).returns.mean())
        for name in ("prior", "belief")
    }
    assert mean["belief"] > mean["prior"] + 3.0, mean  # satisfied slots


def test_most_handovers_are_free_and_a_station_or_an_hour_that_charges_charges_much():
    tariff = np.stack([draw_site(SMALL, site).tariff for site in DEV[:100]])  # [100, S, L]
    assert tariff.mean() == pytest.approx(average(SMALL).tariff[0, 0, 0].item(), abs=0.02)
    assert (tariff < 0.1).mean() > 0.4 and (tariff > 0.6).mean() > 0.1
    station = tariff.mean(2)
    assert station.std() > 0.15 and (tariff - station[..., None]).std() > 0.15
    assert (tariff[..., 0::4] == tariff[..., 3::4]).all()


def test_a_train_variant_and_one_in_a_city_that_no_train_site_shows_are_admitted():
    admitted = [VARIANTS[name] for name, row in frozen().items() if name in VARIANTS and not row.failures()]
    assert any(v.split == "train" for v in admitted) and any(v.city == "unseen" for v in admitted)


def test_stations_are_renumbered_in_observations_masks_and_actions_alike():
    env = HandoverEnv(SMALL)
    obs, info = env.reset([DEV[0]], [0])
    windows = {"obs": obs.clone(), "action_mask": info["action_mask"], "action": torch.full((1, 6), 2)}
    permute_stations(windows, torch.Generator().manual_seed(1))
    old, new = View(obs), View(windows["obs"])
    place = int(windows["action"][0, 0]) - 1  # where station 1 went
    for name in ("level", "reported", "serving"):
        assert torch.equal(getattr(new, name)[..., place], getattr(old, name)[..., 1]), name
    assert torch.equal(windows["action_mask"][..., place + 1], info["action_mask"][..., 2])
    assert torch.equal(cell_of(150.0 * new.position), cell_of(150.0 * old.position))
    assert torch.equal(windows["obs"][..., View.slices["rate"]], obs[..., View.slices["rate"]])


def test_a_picture_is_drawn_of_one_site_of_this_family(tmp_path):
    pytest.importorskip("matplotlib")
    name, path = next(iter(VARIANTS)), tmp_path / "site.png"
    for given, sites, out, said in (
        ("access/n8-c3-load0.15-l48", (DEV[0],), path, "a variant of handover"),
        ("handover", (DEV[0],), path, "a variant of handover"),
        (name, (), path, "one site"),
        (name, (DEV[0],), tmp_path / "site.txt", r"ends in \.png"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            draw(given, sites, out)
    draw(name, (DEV[0],), path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
