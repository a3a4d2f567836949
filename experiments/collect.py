"""Trains SAC on an environment and records its replay as a Minari data set.

    python -m experiments.collect --env=Hopper-v4 --dataset_id=hopper/replay-v0

The replay holds every step in order, with sampled actions, as D4RL's medium-replay
does: training stops when the evaluated score reaches `--target_score`.
"""

import csv
import shlex
import sys
from pathlib import Path

import jax
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags
from minari.storage import get_dataset_path

from experiments.progress import progress_bar
from rpex_jax import envs, sweep
from rpex_jax.agents import sac
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data import compact, recorder, scores
from rpex_jax.data.dataset import Dataset
from rpex_jax.methods import METHODS
from rpex_jax.training import offline
from rpex_jax.training.run import RunConfig

_ENV = flags.DEFINE_string("env", "Hopper-v4", "Environment id.")
_STEPS = flags.DEFINE_integer("steps", 200_000, "Environment steps at most.")
_TARGET = flags.DEFINE_float(
    "target_score", 34.0, "D4RL score at which to stop; a third of the expert's."
)
_MIN_STEPS = flags.DEFINE_integer("min_steps", 0, "Environment steps at least.")
_WARMUP = flags.DEFINE_integer("warmup", 5_000, "Steps before the first update.")
_EVERY = flags.DEFINE_integer("evaluate_every", 5_000, "Steps between evaluations.")
_EPISODES = flags.DEFINE_integer("episodes", 10, "Episodes of an evaluation.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed.")
_ID = flags.DEFINE_string("dataset_id", None, "Minari id to record as.", required=True)
_AUTHOR = flags.DEFINE_string("author", "rpex_jax", "Minari's author field.")
_OUT = flags.DEFINE_string("out", "runs/collect", "Folder for the learning curve.")
_BUILTIN = flags.DEFINE_string("builtin", None, "Also write a built-in set here.")


def episode_ends(replay) -> np.ndarray:
    """Where an episode ended in a replay in order of time, [N] bool.

    Inside an episode the next observation is the observation of the next row, bit for
    bit; a reset breaks that.
    """
    breaks = (replay.next_observations[:-1] != replay.observations[1:]).any(axis=1)
    return np.append(breaks, True) | (replay.terminations > 0)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    try:
        env = envs.make(_ENV.value)
    except ValueError as error:
        sys.exit(f"error: --env: {error}")
    # Better said now than after hours of training.
    if get_dataset_path(_ID.value).exists():
        sys.exit(f"error: --dataset_id {_ID.value} exists already; raise its version")
    clean = corruption(())
    run = RunConfig(_SEED.value, sac.SACConfig(), clean, clean, corrupt_again=0)
    runs = sweep.stack([run])  # the loops of a sweep, with one run
    pretrained, no_data = offline.from_scratch(env.spec)
    phase = sweep.online_phase(
        sac.AGENT,
        METHODS["scratch"],
        env,
        batch_size=256,
        num_offline=0,
        capacity=_STEPS.value,
        warmup=_WARMUP.value,
        num_steps=_EVERY.value,
        updates_per_step=1,
        num_episodes=_EPISODES.value,
    )
    pretrained = sweep.stack([pretrained])
    state = phase.start(pretrained, runs, no_data)
    curve = []
    with progress_bar(f"SAC {env.name}", _STEPS.value, "step") as bar:
        bar.update(_WARMUP.value)
        while True:
            returns = phase.evaluate(state, pretrained.statistics, runs)[0]
            returns = np.asarray(returns, np.float64)
            score = scores.normalised_score(env.name, returns).mean()
            step = int(state.step[0])
            curve.append((step, returns.mean(), score))
            bar.set_postfix(score=f"{score:.1f}")
            if step >= _MIN_STEPS.value and score >= _TARGET.value:
                break
            if step + _EVERY.value > _STEPS.value:
                break
            state, _ = phase.chunk(state, pretrained.statistics, runs, no_data)
            bar.update(_EVERY.value)

    replay = jax.tree.map(lambda x: np.asarray(x[0, :step]), state.buffer.data)
    dataset = Dataset(replay, episode_ends(replay))
    command = shlex.join(["python", "-m", "experiments.collect", *sys.argv[1:]])
    if _BUILTIN.value:
        compact.save_builtin(_BUILTIN.value, dataset)
    write_curve(Path(_OUT.value), env.name, curve, command)
    folder = recorder.record(
        dataset,
        _ID.value,
        env.name,
        algorithm_name="SAC (rpex_jax), replay buffer, sampled actions",
        author=_AUTHOR.value,
        command=command,
        description=f"Replay of {step} steps up to an evaluated score of {score:.1f}.",
    )
    print(f"{_ID.value}: {step} transitions in {folder}; curve in {_OUT.value}")


def write_curve(out: Path, env_name: str, curve: list[tuple], command: str) -> None:
    """The learning curve as `curve.csv` and `curve.png`, with the command."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "command.txt").write_text(command + "\n")
    with open(out / "curve.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "mean_return", "d4rl_score"])
        writer.writerows(curve)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    steps, _, score = zip(*curve, strict=True)
    axes.plot(steps, score)
    axes.set(xlabel="environment steps", ylabel="D4RL score", title=f"SAC, {env_name}")
    figure.savefig(out / "curve.png", dpi=150)


if __name__ == "__main__":
    app.run(main)
