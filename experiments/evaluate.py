"""Evaluates the policies of a sweep or of a collection, and films one.

    python -m experiments.evaluate --checkpoint=runs/quickstart --episodes=100 \
      [--out=returns.json] [--video=out.mp4 --run=0]

A checkpoint is OUT/checkpoints/GROUP/NUMBER; without the number the last one, and OUT
alone stands for all groups. Policies act greedily. Prints two tables in Markdown: mean
raw return of every run, with its standard error over episodes, and the mean over seeds
with the standard error over seeds; the D4RL score beside each.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from experiments import folders, policies
from experiments.command_line import OUT, cache_compilations, fail
from experiments.policies import Policies
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from rpex_jax import results, sweep
from rpex_jax.data import scores
from rpex_jax.data.statistics import standardise
from rpex_jax.envs import TASKS, Env, rendering, tasks
from rpex_jax.envs.rendering import RenderingError
from rpex_jax.training import evaluation
from rpex_jax.training.run import stream

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "What to evaluate.")
_EPISODES = flags.DEFINE_integer("episodes", 100, "Episodes of each run.", 1)
_VIDEO = flags.DEFINE_string("video", None, "Film an episode; its file, out.mp4.")
_RUN = flags.DEFINE_integer("run", 0, "Which run to film, counted as in the table.", 0)

# condition: (agent, env, num_episodes=) -> evaluate(agent_state, statistics, run, step)
CONDITIONS: dict[str, Callable[..., Callable]] = {"normal": evaluation.make_evaluate}


class Row(NamedTuple):
    """The episodes of one run under one condition."""

    labels: dict[str, Any]
    condition: str
    step: int
    returns: list[float]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    if _CHECKPOINT.value is None:
        raise app.UsageError("--checkpoint must name what to evaluate")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it reads
    try:
        env, groups = policies.load(Path(_CHECKPOINT.value))
        if _VIDEO.value:
            check_video(env, groups, Path(_VIDEO.value), _RUN.value)
    except (ConfigError, RenderingError) as error:
        fail(error)
    cache_compilations()
    rows = evaluate(env, groups, _EPISODES.value)
    print(report(env.name, rows))
    if OUT.value:
        about = folders.provenance("experiments.evaluate")
        content = {"env": env.name, "rows": [row._asdict() for row in rows]} | about
        results.write_atomically(Path(OUT.value), json.dumps(content, indent=1) + "\n")
    if _VIDEO.value:
        film(env, *nth_run(groups, _RUN.value), Path(_VIDEO.value))
        print(f"video: {_VIDEO.value}")


def evaluate(env: Env, groups: list[Policies], episodes: int) -> list[Row]:
    """Every run under every condition; the randomness is that of the run and step."""
    rows = []
    total = sum(len(group.labels) for group in groups) * len(CONDITIONS) * episodes
    with progress_bar(f"evaluate {env.name}", total, "episode") as bar:
        for group in groups:
            for condition, make in CONDITIONS.items():
                of_run = make(group.agent, env, num_episodes=episodes)
                returns = jax.jit(jax.vmap(of_run))(
                    group.states, group.statistics, group.runs, group.step
                )
                returns = np.asarray(returns, np.float64).tolist()
                steps = group.step.tolist()
                rows += [
                    Row(labels, condition, step, of_episodes)
                    for labels, step, of_episodes in zip(
                        group.labels, steps, returns, strict=True
                    )
                ]
                bar.update(len(group.labels) * episodes)
    return rows


def report(env_name: str, rows: list[Row]) -> str:
    """The table of runs and, where a run has several seeds, the one over seeds."""
    scored = ("score",) if scores.has_reference(env_name) else ()

    def score(returns):
        if not scored:
            return []
        return [f"{scores.normalised_score(env_name, np.mean(returns)):.1f}"]

    names = list(dict.fromkeys(name for row in rows for name in row.labels))
    table = [
        [str(row.labels.get(name, "")) for name in names]
        + [str(row.step), row.condition, in_short(row.returns)]
        + score(row.returns)
        for row in rows
    ]
    text = results.markdown_table(
        [*names, "step", "condition", "return", *scored], table
    )
    over_seeds = sweep.group_by(
        rows,
        lambda row: (
            *(str(row.labels.get(name, "")) for name in names if name != "seed"),
            str(row.step),
            row.condition,
        ),
    )
    if all(len(members) == 1 for members in over_seeds.values()):
        return text
    names.remove("seed")
    table = []
    for labels, members in over_seeds.items():
        means = [np.mean(row.returns) for row in members]
        table.append([*labels, str(len(means)), in_short(means), *score(means)])
    header = [*names, "step", "condition", "seeds", "return", *scored]
    return f"{text}\n\n{results.markdown_table(header, table)}"


def in_short(returns: list[float]) -> str:
    """'mean ± standard error'."""
    summary = results.summarise(returns)
    return f"{summary.mean:.1f} ± {summary.standard_error:.1f}"


def nth_run(groups: list[Policies], number: int) -> tuple[Policies, int]:
    """The group of a run, counted over all groups, and its place there."""
    places = [(group, run) for group in groups for run in range(len(group.labels))]
    if number >= len(places):
        raise ConfigError(f"--run is {number}; there are {len(places)}, from 0")
    return places[number]


def check_video(env: Env, groups: list[Policies], path: Path, run: int) -> None:
    """Raises an error in one sentence if the film could not be made in the end."""
    if env.name not in TASKS:
        raise ConfigError(
            f"--video needs one of {', '.join(TASKS)}; {env.name} moves elsewhere"
        )
    if path.suffix != ".mp4" or not path.absolute().parent.is_dir():
        raise ConfigError(
            f"--video is {path}; it must end in .mp4, in a folder there is"
        )
    nth_run(groups, run)
    rendering.find_backend()


def film(env: Env, group: Policies, run: int, path: Path) -> None:
    """Films the first episode of an evaluation."""
    positions, ended = jax.jit(lambda: episode(env, group, run))()
    length = int(np.argmax(ended)) + 1
    model = tasks.load_model(TASKS[env.name])
    dt = TASKS[env.name].frame_skip * model.opt.timestep
    rendering.write_video(path, model, np.asarray(positions)[:length], dt)


def episode(env: Env, group: Policies, run: int) -> tuple[jax.Array, jax.Array]:
    """Positions of an episode, [time_limit, nq], and where it ends, [time_limit]."""
    state, statistics, config, step = sweep.take(
        (group.states, group.statistics, group.runs, group.step), run
    )
    key = jax.random.fold_in(stream(config, "evaluation"), step)
    key_reset, key_act = jax.random.split(key)

    def one_step(env_state, time):
        observation = standardise(env_state.observation, statistics)
        action = group.agent.act(
            jax.random.fold_in(key_act, time),
            state,
            observation,
            config.agent,
            greedy=True,
        )
        env_state = env.step(env_state, action)
        ended = env_state.terminated | env_state.truncated
        return env_state, (env_state.physics.qpos, ended | (time == env.time_limit - 1))

    times = jax.numpy.arange(env.time_limit)
    return jax.lax.scan(one_step, env.reset(key_reset), times)[1]


if __name__ == "__main__":
    app.run(main)
