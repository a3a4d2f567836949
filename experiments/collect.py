"""Records data sets in the manner of D4RL's, as Minari data sets.

From one training of SAC, or of given policies:

    python -m experiments.collect --config=experiments/configs/collect.py \
      --config.env=Hopper-v4 --config.kinds='("random", "medium-replay")' \
      --out=runs/hopper [--overwrite]
    python -m experiments.collect --config=experiments/configs/collect.py \
      --config.env=Hopper-v4 --config.policies='("a2c.npz", "runs/hopper")' \
      --config.kinds='("mixed",)' --out=runs/mixed

`experiments/kinds.py` says what the kinds are, `rpex_jax/data/policy_files.py` what a
file of a policy holds. The folder gets the config, versions, and of a training the
learning curve and the policies, as checkpoints for `experiments.evaluate`, else the
returns of each policy.
"""

import contextlib
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from experiments import folders, kinds, ladder, rollouts, settings, study_inputs
from experiments.command_line import (
    OUT,
    cache_compilations,
    read_config,
    refuse_arguments,
    run,
)
from experiments.configs.collect import get_config
from experiments.progress import progress_bar
from experiments.reports import figures
from experiments.study_results import as_scores
from rpex_jax import checkpoints, results, sweep
from rpex_jax.agents import sac
from rpex_jax.agents.uniform import uniform
from rpex_jax.data import compact, recorder, scores, sources
from rpex_jax.data.dataset import Dataset
from rpex_jax.data.recorder import Recording
from rpex_jax.envs import Env
from rpex_jax.methods import METHODS
from rpex_jax.training import offline

_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is there.")
_BUILTIN = flags.DEFINE_string(
    "builtin", None, "Also write the data set, if it is one, as this compact .npz."
)


class Evaluated(NamedTuple):
    """A training at an evaluation; arrays have a run axis of one."""

    step: int
    mean_return: float
    policy: offline.OfflineState  # what a checkpoint holds
    steps: Dataset  # since the evaluation before


def main(argv: list[str]) -> None:
    refuse_arguments(argv, takes_config=True)
    config = read_config(get_config())
    out = Path(OUT.value or "runs/collect")
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    made = collect(config, out, overwrite=_OVERWRITE.value, builtin=_BUILTIN.value)
    for kind, dataset_id in made.items():
        print(f"{kind}: {dataset_id}")
    print(f"{'returns' if config.policies else 'curve and policies'}: {out}")


def collect(
    config: ConfigDict,
    out: Path,
    *,
    overwrite: bool = False,
    builtin: str | None = None,
) -> dict[str, str]:
    """Makes the data sets of a config, and leaves curve and policies in `out`.

    Returns:
      The Minari id of each kind.

    Raises:
      ConfigError, DatasetError, PolicyFileError: before anything is compiled.
    """
    settings.check_types(config, get_config())
    env = study_inputs.make_env(config)
    ids = kinds.dataset_ids(config)
    rungs = ladder.load(config, env)
    names = [rung.name for rung in rungs] or ["SAC"]
    by = {"random": "uniform", "mixed": ", ".join(names)}
    if builtin and len(ids) > 1:
        raise settings.ConfigError(
            f"--builtin is {builtin}, one file; it needs one kind, not {len(ids)}"
        )
    if builtin:
        folders.check_out_file("--builtin", Path(builtin))
    folders.check_out("--out", out)
    about = folders.provenance("experiments.collect")
    with contextlib.ExitStack() as stack:
        recordings = {
            kind: stack.enter_context(
                recorder.recording(
                    dataset_id,
                    config.env,
                    algorithm_name=by.get(kind, names[-1]),
                    author=config.author,
                    command=about["command"],
                    overwrite=overwrite,
                )
            )
            for kind, dataset_id in ids.items()
        }
        for opened in recordings.values():
            opened.check_widths(*env.spec)
        stack.enter_context(folders.locked(out))
        check_replaceable(out, overwrite)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        for returns in out.glob("*-returns.*"):
            returns.unlink()
        for name, content in (("versions", about), ("config", config.to_dict())):
            text = json.dumps(content, indent=1) + "\n"
            results.write_atomically(out / f"{name}.json", text)
        cache_compilations()
        if "random" in recordings:
            rollout = rollouts.of_config(uniform(env.spec), env, config)
            acting = functools.partial(rollout, (), ())
            record_rollout("random", acting, config, recordings)
        if rungs:
            ladder.record(config, env, recordings, rungs, out)
        elif kinds.policies(config.kinds):
            record_training(config, env, recordings, out)
    if builtin:
        compact.save_builtin(builtin, sources.load(*ids.values()))
    return ids


def check_replaceable(out: Path, overwrite: bool) -> None:
    """Raises a `ConfigError` where results would go that nobody gave up.

    A collection that failed at its beginning has left its config and no results.
    """
    saved = out / "config.json"
    left = (out / "checkpoints", out / "curve.csv", *out.glob("*-returns.json"))
    holds_results = any(path.exists() for path in left)
    if not saved.exists() and not holds_results:
        return
    if not saved.exists() or "kinds" not in folders.read_json(saved):
        raise settings.ConfigError(
            f"--out is {out}, which is no collection's folder; it must be one, or a "
            "new one"
        )
    if holds_results and not overwrite:
        raise settings.ConfigError(
            f"--out is {out}, which holds results; pass --overwrite or another folder"
        )


def training(config: ConfigDict, env: Env) -> Iterator[Evaluated]:
    """SAC through the online loop of a sweep, with one run."""
    runs = sweep.stack([kinds.sac_run(config)])
    pretrained, no_data = offline.from_scratch(env.spec)
    pretrained = sweep.stack([pretrained])
    statistics = pretrained.statistics
    phase = sweep.online_phase(
        sac.AGENT,
        METHODS["scratch"],
        env,
        batch_size=config.batch_size,
        num_offline=0,
        capacity=config.steps,
        warmup=config.warmup,
        num_steps=config.evaluate_every,
        updates_per_step=config.updates_per_step,
        num_episodes=config.episodes,
        warmup_actions=config.warmup_actions,
    )
    state, new = phase.start(pretrained, runs, no_data), config.warmup
    while True:
        returns = np.asarray(phase.evaluate(state, statistics, runs), np.float64)
        yield Evaluated(
            step=int(state.step[0]),
            mean_return=float(returns.mean()),
            policy=offline.OfflineState(state.agent, statistics, state.step),
            steps=rollouts.newest(state, new),
        )
        new = config.evaluate_every
        state, _ = phase.chunk(state, statistics, runs, no_data)


def record_training(
    config: ConfigDict, env: Env, recordings: dict[str, Recording], out: Path
) -> None:
    """Trains SAC; records its replay as it goes, and its policies when they are due."""
    rollout = rollouts.of_config(sac.AGENT, env, config)
    episodes = rollouts.Episodes(num_collectors=1)
    due, curve = kinds.policies(config.kinds), []
    replays = {
        policy: recordings[kind]
        for policy, kind in kinds.REPLAYS.items()
        if kind in recordings
    }
    with progress_bar(f"SAC {env.name}", config.steps, "step") as bar:
        for now in training(config, env):
            score = float(as_scores(env.name, now.mean_return))
            bar.set_postfix(score=f"{score:.1f}")
            bar.update(now.step - bar.n)
            curve.append((now.step, now.mean_return, score))
            write_curve(out, env.name, curve)
            ended = episodes.add(now.steps)
            for policy in due:
                if policy in replays:
                    append(replays[policy], ended)
            while due and (
                now.step == config.steps
                or kinds.is_reached(due[0], config, now.step, now.mean_return)
            ):
                policy = due.pop(0)
                missed = kinds.shortfall(policy, config, now.mean_return)
                checkpoints.save(out / "checkpoints" / policy, now.step, now.policy)
                if policy in replays:
                    append(replays[policy], rollouts.closed(episodes.unfinished()))
                    about = f"The training of SAC up to {now.step} steps, sampled."
                    kinds.finish(replays[policy], about, missed, now.mean_return)
                state = sweep.take(now.policy.agent, 0)
                acting = functools.partial(rollout, state, kinds.sac_run(config).agent)
                record_rollout(policy, acting, config, recordings, now, missed)
            if not due:
                return


def record_rollout(
    policy: str,
    rollout: Callable[[list[int], int], Iterator[Dataset]],
    config: ConfigDict,
    recordings: dict[str, Recording],
    now: Evaluated | None = None,
    missed: str = "",
) -> None:
    """Records what a policy does, `rollout(seed, rows)`, for all kinds that have it."""
    wanted = [kind for kind in kinds.ROLLOUTS[policy] if kind in recordings]
    if not wanted:
        return
    seed = [config.seed, list(kinds.ROLLOUTS).index(policy)]
    with progress_bar(f"{policy} {config.env}", config.rows, "step") as bar:
        for batch in rollout(seed, config.rows):
            bar.update(len(batch.episode_ends))
            for kind in wanted:
                # D4RL's stitch_dataset drops the last episode of the first part
                goes_on = kind != policy and policy == "medium"
                keep = rollouts.whole if goes_on else rollouts.closed
                append(recordings[kind], keep(batch))
    about = f"Sampled actions of SAC after {now.step} steps." if now else "Uniform."
    for kind in wanted:
        if kind == policy or policy == "expert":
            mean_return = now and now.mean_return
            kinds.finish(recordings[kind], about, missed, mean_return)


def append(recording: Recording, episodes: Dataset) -> None:
    """Adds episodes if there are any."""
    if len(episodes.episode_ends):
        recording.append(episodes)


def write_curve(out: Path, env_name: str, curve: list[tuple]) -> None:
    """The learning curve so far as `curve.csv` and `curve.png`."""
    rows = ["step,mean_return,score", *(",".join(map(str, row)) for row in curve)]
    results.write_atomically(out / "curve.csv", "\n".join(rows) + "\n")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    steps, _, score = zip(*curve, strict=True)
    axes.plot(steps, score)
    unit = "D4RL score" if scores.has_reference(env_name) else "return"
    axes.set(xlabel="environment steps", ylabel=unit, title=f"SAC, {env_name}")
    figures.save(figure, out / "curve.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
