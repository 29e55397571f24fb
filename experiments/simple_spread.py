"""Our MAPPO, QMIX and IQL beside BenchMARL's on VMAS simple_spread: same frames, same evaluation episodes.

    pip install -e . benchmarl==1.5.2 vmas && python experiments/simple_spread.py --out runs [--algorithm mappo] [--side ours]

Three agents, discrete actions, 100 slots an episode. BenchMARL runs at its defaults, which are made for ten million frames, and
once more (`benchmarl-tuned`) with our settings as far as it knows them; ours with the settings in `OURS`. Every finished run is
a file in `--out`: called again, the script plays only what is missing, then prints the table of all that is there.
`experiments/marl.py` compares the speed at equal networks and updates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from spread import AGENTS, FAMILY, HORIZON, Act, Spread, evaluate
from torch import Tensor
from wbench.baselines.common.networks import first_view, next_view
from wbench.baselines.common.online import PracticeConfig, learn_online
from wbench.baselines.common.ppo import PpoConfig
from wbench.baselines.common.q_learning import ValueModel
from wbench.baselines.common.rollout import learn, sample
from wbench.baselines.iql import Iql
from wbench.baselines.mappo import MappoConfig, fresh
from wbench.baselines.qmix import Qmix
from wbench.benchmark.family import FamilyShape

ALGORITHMS, SIDES = ("mappo", "qmix", "iql"), ("benchmarl", "benchmarl-tuned", "ours")
ROUND = 6_000  # frames of an iteration of BenchMARL


PPO = PpoConfig(epochs=10, batch_size=1200, learning_rate=7e-4, discount=0.95, gae_lambda=0.9, entropy_coef=0.01)


@dataclass(frozen=True)
class Settings:
    """How our side learns.

    Attributes:
        hidden: width of the networks' two layers.
        episodes: a round of MAPPO.
        ppo: how MAPPO learns from it.
        updates: of QMIX and IQL, in ROUND frames.
        batch_size: rows of agents in each of them.
        learning_rate: of theirs.
    """

    hidden: int = 256
    episodes: int = 20
    ppo: PpoConfig = PPO
    updates: int = 1000
    batch_size: int = 384  # 128 frames of three agents
    learning_rate: float = 5e-4


OURS = Settings()
TUNED = {  # our settings in BenchMARL's words: of its experiment, and of MAPPO
    "mappo": {
        "lr": PPO.learning_rate,
        "gamma": PPO.discount,
        "clip_grad_val": PPO.max_grad_norm,
        "on_policy_collected_frames_per_batch": OURS.episodes * HORIZON,
        "on_policy_n_envs_per_worker": OURS.episodes,
        "on_policy_n_minibatch_iters": PPO.epochs,
        "on_policy_minibatch_size": PPO.batch_size // AGENTS,
    },
    "values": {
        "lr": OURS.learning_rate,
        "polyak_tau": 0.02,
        "off_policy_collected_frames_per_batch": 10 * HORIZON,
        "off_policy_n_optimizer_steps": OURS.updates * 10 * HORIZON // ROUND,
        "off_policy_train_batch_size": OURS.batch_size // AGENTS,
        "exploration_eps_init": 1.0,
        "exploration_eps_end": 0.05,
    },
}
TUNED_MAPPO = {"clip_epsilon": PPO.clip_coef, "lmbda": PPO.gae_lambda, "entropy_coef": PPO.entropy_coef}


@dataclass(frozen=True)
class Run:
    """One training run: mean return of the evaluation episodes after so many frames, and the CPU seconds of training.

    Policies are evaluated as they are (`sampled`) and by their likeliest action (`greedy`); for values both are the same.
    """

    side: str
    algorithm: str
    seed: int
    frames: int
    sampled: float
    greedy: float
    seconds: float


def benchmarl(
    algorithm: str, seed: int, frames: int, folder: Path, tuned: bool = False, hidden: int = 256
) -> tuple[Act, float]:
    """Train BenchMARL at its defaults (two layers of 256), or with our settings; returns its policy and the CPU seconds."""
    from benchmarl.algorithms import IqlConfig, MappoConfig, QmixConfig
    from benchmarl.environments import VmasTask
    from benchmarl.experiment import Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig
    from tensordict import TensorDict
    from torchrl.envs.utils import ExplorationType, set_exploration_type

    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames, config.prefer_continuous_actions, config.evaluation = frames, False, False
    config.loggers, config.create_json, config.save_folder = [], False, str(folder)
    chosen = {"mappo": MappoConfig, "qmix": QmixConfig, "iql": IqlConfig}[algorithm].get_from_yaml()
    if tuned:
        config = replace(config, exploration_anneal_frames=frames // 2, **TUNED["mappo" if algorithm == "mappo" else "values"])
        chosen = replace(chosen, **TUNED_MAPPO) if algorithm == "mappo" else chosen
    task, mlp = VmasTask.SIMPLE_SPREAD.get_from_yaml(), replace(MlpConfig.get_from_yaml(), num_cells=[hidden, hidden])
    experiment = Experiment(task, chosen, mlp, seed, config, critic_model_config=replace(mlp))
    policy = experiment.policy
    begun = time.process_time()
    experiment.run()
    seconds = time.process_time() - begun

    def act(obs: Tensor, greedy: bool) -> Tensor:
        kind = ExplorationType.RANDOM if algorithm == "mappo" and not greedy else ExplorationType.DETERMINISTIC
        batch = TensorDict({"agents": TensorDict({"observation": obs}, obs.shape[:2])}, obs.shape[:1])
        with torch.no_grad(), set_exploration_type(kind):
            return policy(batch)["agents", "action"].reshape(obs.shape[:2])

    return act, seconds


def ours(algorithm: str, seed: int, frames: int, settings: Settings = OURS) -> tuple[Act, float]:
    """Train ours; returns its policy and the CPU seconds."""
    return (mappo if algorithm == "mappo" else values)(algorithm, seed, frames, settings)


def mappo(_: str, seed: int, frames: int, settings: Settings) -> tuple[Act, float]:
    """Our MAPPO."""
    model = fresh(MappoConfig({"spread": FamilyShape.of(FAMILY)}, settings.hidden, history=1, layers=1), seed)
    begun = time.process_time()
    learn(model, [Spread(seed, frames)], frames // (settings.episodes * HORIZON), settings.episodes, settings.ppo, seed)
    seconds = time.process_time() - begun

    def act(obs: Tensor, greedy: bool) -> Tensor:
        features = next_view(first_view(FAMILY, Spread.variant, 1, len(obs), obs.device), obs).features()
        codec = model.codecs["spread"]
        with torch.no_grad():
            logits = model.logits(features, torch.ones(*obs.shape[:2], codec.size, dtype=torch.bool), "spread")
        return codec.mode(logits) if greedy else codec.decode(sample(codec, logits, torch.rand(logits.shape)))

    return act, seconds


def fresh_values(kind: type[ValueModel], seed: int, settings: Settings) -> ValueModel:
    """Our QMIX or IQL before it has learned."""
    torch.manual_seed(seed)
    shapes, spans = {"spread": FamilyShape.of(FAMILY)}, {"spread": (-800.0, 0.0)}
    return kind(kind.CONFIG(shapes, spans, hidden=settings.hidden, layers=1, history=1, discount=0.99))


def practise(model: ValueModel, seed: int, frames: int, settings: Settings) -> tuple[ValueModel, float]:
    """Train it; returns the averaged network and the CPU seconds."""
    rounds, exploration = frames // ROUND, {"final_epsilon": 0.05, "epsilon_decay": 0.5}
    updates = settings.updates * rounds
    how = PracticeConfig(
        updates,
        settings.batch_size,
        slots=1,
        learning_rate=settings.learning_rate,
        rounds=rounds,
        bfloat16=True,
        **exploration,
    )
    begun = time.process_time()
    trained, _ = learn_online(model, Spread(seed, frames), frames, how)
    return trained, time.process_time() - begun


def values(algorithm: str, seed: int, frames: int, settings: Settings) -> tuple[Act, float]:
    """Our QMIX or IQL."""
    trained, seconds = practise(fresh_values(Qmix if algorithm == "qmix" else Iql, seed, settings), seed, frames, settings)

    def act(obs: Tensor, greedy: bool) -> Tensor:
        view = first_view(FAMILY, Spread.variant, 1, len(obs), obs.device)
        with torch.no_grad():
            return trained(type(view)(obs.unsqueeze(2), view.descriptor, view.identity), "spread").argmax(-1)

    return act, seconds


def play(side: str, algorithm: str, seed: int, frames: int, folder: Path) -> Run:
    """Train and evaluate."""
    tuned = side == "benchmarl-tuned"
    act, seconds = ours(algorithm, seed, frames) if side == "ours" else benchmarl(algorithm, seed, frames, folder, tuned)
    return Run(side, algorithm, seed, frames, evaluate(act, False), evaluate(act, True), seconds)


def table(runs: list[Run]) -> str:
    """Markdown: what each side scored, seed by seed."""
    lines = ["| algorithm | side | frames | sampled, by seed | greedy, by seed | frames a CPU second |", "|" + " --- |" * 6]
    for key in sorted({(run.algorithm, run.frames, run.side) for run in runs}):
        found = sorted((r for r in runs if (r.algorithm, r.frames, r.side) == key), key=lambda run: run.seed)
        columns = [
            f"{statistics.mean(values):.0f} ({', '.join(f'{x:.0f}' for x in values)})"
            for values in ([run.sampled for run in found], [run.greedy for run in found])
        ]
        speed = statistics.median(run.frames / run.seconds for run in found)
        lines.append(f"| {key[0]} | {key[2]} | {key[1]:,} | {columns[0]} | {columns[1]} | {speed:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Play what is missing, print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, action="append")
    parser.add_argument("--algorithm", choices=ALGORITHMS, action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--frames", type=int, default=60_000)
    parser.add_argument("--out", type=Path, default=Path("simple-spread"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seed or range(3):
        for algorithm in options.algorithm or ALGORITHMS:
            for side in options.side or SIDES:
                path = options.out / f"{side}-{algorithm}-{seed}-{options.frames}.json"
                if not path.exists():
                    run = play(side, algorithm, seed, options.frames, options.out)
                    path.write_text(json.dumps(asdict(run)), encoding="utf-8")
                    print(run, flush=True)
    print(table([Run(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(options.out.glob("*-*.json"))]))


if __name__ == "__main__":
    main()
