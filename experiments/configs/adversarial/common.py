"""What the studies of adversarial fine-tuning share: presets, tasks and runs.

A study is `get_config("small,HalfCheetah-v4")`: a preset, by default `paper`, and an
environment, by default Hopper-v4. Numbers that the paper lost are our choice.

Source: arXiv 2510.13358, section 5.1 and appendices B to E.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.configs.default import default_config
from experiments.settings import ConfigError, check_name, look_up
from rpex_jax import sweep

# The runs that the tables compare, by the settings that tell them apart.
NORMAL = {
    "method": "direct",
    "perturbation.kind": "none",
    "curriculum.kind": "fixed",
}
RANDOM = NORMAL | {"perturbation.kind": "random"}
ADVERSARIAL = NORMAL | {"perturbation.kind": "adversarial"}
FULLY_ONLINE = ADVERSARIAL | {"method": "scratch"}
LINEAR = ADVERSARIAL | {"curriculum.kind": "linear"}
ADAPTIVE = ADVERSARIAL | {"curriculum.kind": "adaptive"}
PGD = ADAPTIVE | {"perturbation.kind": "pgd"}

# What the figures vary; our choice, all of it.
Q_MAX = (0.2, 0.4, 0.6, 0.8, 1.0)
SMOOTHING = (0.05, 0.1, 0.3, 0.5, 0.9)
STEP_SIZE = (0.1, 0.25, 0.5, 1.0, 2.0)
OFFLINE_SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


class Task(NamedTuple):
    """What the paper sets for each environment, and lost; our choice."""

    bound: float  # epsilon
    population_size: int  # of differential evolution
    step_size: float  # eta of the adaptive curriculum
    prefill: float  # rho: share of the data set in the replay


TASKS = {
    "Hopper": Task(bound=0.3, population_size=20, step_size=1.0, prefill=0.1),
    "HalfCheetah": Task(bound=0.3, population_size=30, step_size=1.0, prefill=0.5),
    "Ant": Task(bound=0.5, population_size=40, step_size=0.5, prefill=0.5),
}


class Preset(NamedTuple):
    """A budget."""

    note: str
    seeds: int
    width: int  # of both hidden layers
    batch_size: int
    offline_updates: dict[str, int]  # by base
    offline_chunk: int
    fixed_steps: int  # online, where q is fixed
    scheduled_steps: int  # online, with a curriculum; tables look at its thirds
    chunk: int  # online, and the period of a curriculum
    smoothing: float  # alpha of the adaptive one; over a like share of the training
    warmup: int  # uniform actions before training from scratch
    capacity: int
    evaluate_every: int  # chunks
    episodes: int  # of an evaluation, per condition
    attack: dict[str, int]  # on top of the task's
    curriculum_episodes: int


PRESETS = {
    "paper": Preset(
        note="",
        seeds=5,
        width=256,
        batch_size=256,
        offline_updates={"td3": 5_000_000, "iql": 3_000_000},
        offline_chunk=50_000,
        fixed_steps=1_000_000,
        scheduled_steps=3_000_000,
        chunk=10_000,
        smoothing=0.1,
        warmup=25_000,
        capacity=1_000_000,
        evaluate_every=10,
        episodes=100,
        attack={"searches": 10, "generations": 20},
        curriculum_episodes=10,
    ),
    "small": Preset(
        note=(
            "reduced budget: networks of half the paper's width, batches of half its "
            "size; the paper has 5,000,000 offline updates (of IQL 3,000,000), and "
            "1,000,000 online steps at a fixed q, 3,000,000 with a curriculum"
        ),
        seeds=3,
        width=128,
        batch_size=128,
        offline_updates={"td3": 50_000, "iql": 50_000},
        offline_chunk=10_000,
        fixed_steps=120_000,
        scheduled_steps=120_000,
        chunk=2_000,
        smoothing=0.3,
        warmup=2_000,
        capacity=200_000,
        evaluate_every=4,
        episodes=20,
        attack={"searches": 10, "generations": 10, "population_size": 20},
        curriculum_episodes=10,
    ),
    "smoke": Preset(
        note="smoke-sized budget: it shows that everything runs, not who wins",
        seeds=2,
        width=64,
        batch_size=64,
        offline_updates={"td3": 2_000, "iql": 2_000},
        offline_chunk=1_000,
        fixed_steps=1_500,
        scheduled_steps=1_500,
        chunk=500,
        smoothing=0.3,
        warmup=500,
        capacity=200_000,
        evaluate_every=1,
        episodes=5,
        attack={"searches": 2, "generations": 3, "population_size": 6},
        curriculum_episodes=3,
    ),
}


def start(study: str, argument: str, base: str = "td3") -> tuple[ConfigDict, Preset]:
    """A study without its runs, and its preset.

    Args:
      study: the table or figure that the report draws.
      argument: "small", "small,HalfCheetah-v4" or ",HalfCheetah-v4".
      base: what is pretrained.

    Raises:
      ConfigError: a preset or an environment that there is not.
    """
    name, _, env = argument.partition(",")
    name, env = name or "paper", env or "Hopper-v4"
    check_name("the preset", name, tuple(PRESETS))
    task_name = env.split("-")[0]
    check_name("the study's environment", task_name, tuple(TASKS))
    preset, task = PRESETS[name], TASKS[task_name]

    config = default_config()
    config.study = study
    config.note = preset.note
    config.env = env
    config.data.source = f"{env.lower()}/expert-v0"
    if name == "smoke" and task_name == "Hopper":
        config.data.source = "hopper-medium-replay"
    if base == "iql":
        config.data.reward_scale = 0.0  # as IQL's authors: by the range of returns
    config.sweep.base = (base,)
    config.sweep.corruption = ("clean",)
    config.sweep.seed = tuple(range(preset.seeds))
    for agent in config.agent.values():
        agent.hidden_dims = (preset.width, preset.width)

    config.offline.steps = preset.offline_updates[base]
    config.offline.chunk = preset.offline_chunk
    config.offline.batch_size = preset.batch_size
    config.online.steps = preset.scheduled_steps
    config.online.warmup = 0
    config.online.warmup_actions = "uniform"
    config.online.chunk = preset.chunk
    config.online.batch_size = preset.batch_size
    config.online.offline_ratio = 0.0
    config.online.prefill = task.prefill
    config.online.capacity = preset.capacity
    thirds = (third * preset.scheduled_steps // 3 for third in (1, 2, 3))
    config.online.snapshots = tuple(thirds)

    config.perturbation.bound = task.bound
    config.curriculum.smoothing = preset.smoothing
    config.curriculum.step_size = task.step_size
    config.curriculum.q_max = 0.0  # of linear: as exposed as the adaptive runs
    config.curriculum.episodes = preset.curriculum_episodes
    config.attack.population_size = task.population_size
    config.attack.update(preset.attack)
    config.evaluation.conditions = ("normal", "random", "adversarial")
    config.evaluation.episodes = preset.episodes
    config.evaluation.every = preset.evaluate_every
    return config, preset


def table1_runs(preset: Preset) -> list[dict[str, Any]]:
    """Fine-tuning under three conditions, and the same from scratch.

    All have the same steps; from scratch they begin with a warm-up, after which the
    rest must be whole chunks.
    """
    from_scratch = {
        "online.warmup": preset.warmup,
        "online.chunk": math.gcd(preset.chunk, preset.warmup),
        "online.prefill": 0.0,
    }
    runs = [NORMAL, RANDOM, ADVERSARIAL, FULLY_ONLINE | from_scratch]
    return [run | {"online.steps": preset.fixed_steps} for run in runs]


def scheduled(preset: Preset, *runs: dict[str, Any]) -> list[dict[str, Any]]:
    """These, for the budget of the curricula."""
    return [run | {"online.steps": preset.scheduled_steps} for run in runs]


def with_runs(config: ConfigDict, runs: Sequence[dict[str, Any]]) -> ConfigDict:
    """The study of exactly these runs, for every seed; locked.

    What they disagree in becomes an axis of the grid. `sweep.skip` gets the pairs of
    values that no run has, as far as they are needed to leave nothing but the runs.

    Args:
      config: what all runs share, and what a run that says nothing of a key has.
      runs: settings by key, and "method".

    Raises:
      ConfigError: pairs cannot tell these runs from all others.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run))
    wanted = [
        {key: run[key] if key in run else look_up(config, key) for key in keys}
        for run in runs
    ]
    axes = {key: tuple(dict.fromkeys(run[key] for run in wanted)) for key in keys}
    config.sweep.method = axes.pop("method")
    for key, values in axes.items():
        if len(values) == 1:
            config.update_from_flattened_dict({key: values[0]})
    axes = {key: values for key, values in axes.items() if len(values) > 1}
    config.sweep.axes = tuple(
        f"{key}={','.join(map(str, values))}" for key, values in axes.items()
    )

    axes = {"method": config.sweep.method} | axes
    wanted = [{key: run[key] for key in axes} for run in wanted]
    unwanted = [point for point in sweep.grid(axes) if point not in wanted]
    skip = []
    for pair in itertools.chain.from_iterable(
        sweep.grid({key: axes[key] for key in keys})
        for keys in itertools.combinations(axes, 2)
    ):
        hit = [point for point in unwanted if pair.items() <= point.items()]
        if hit and not any(pair.items() <= run.items() for run in wanted):
            skip.append(" ".join(f"{key}={value}" for key, value in pair.items()))
            unwanted = [point for point in unwanted if point not in hit]
    if unwanted:
        raise ConfigError(f"the runs of {config.study} cannot be told from {unwanted}")
    config.sweep.skip = tuple(skip)
    return config.lock()
