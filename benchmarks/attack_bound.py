"""What a perturbation's bound does to trained policies, to choose the default by.

    python -m benchmarks.attack_bound --checkpoints=runs/hopper,runs/halfcheetah \
      [--config=experiments/configs/attack.py] --out=benchmarks/results/attack-bound

D4RL scores of every policy under normal, random and adversarial conditions. A bound is
of use where random perturbations hurt and adversarial ones bring the policy down.
`adversarial` is a set found by differential evolution, whose members episodes meet in
turn, as in a study's evaluation.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from benchmarks import reports
from experiments import attack, attack_sets, inspection, policies
from experiments.attack_sets import PURPOSES
from experiments.command_line import (
    CONFIG,
    OUT,
    cache_compilations,
    read_config,
    refuse_arguments,
    run,
)
from experiments.configs.attack import get_config
from experiments.folders import check_out, provenance
from experiments.policies import Policies
from experiments.settings import ConfigError
from experiments.study_results import as_scores
from rpex_jax import results, sweep
from rpex_jax.envs import Env
from rpex_jax.training.conditions import Attacked
from rpex_jax.training.offline import OfflineState

CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "Folders of trained policies.")
IGNORED = (  # they came with an import
    inspection.CHECKPOINT,
    inspection.EPISODES,
    inspection.RUN,
    inspection.VIDEO,
)
BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5)
EPISODES = 100
CONDITIONS = ("normal", "random", "adversarial")


def main(argv: list[str]) -> None:
    config, loaded = read(argv)
    made_with = provenance("benchmarks.attack_bound")
    rows = []
    for env, groups in loaded:
        for group in groups:
            rows += measure(env, group, config, BOUNDS, EPISODES)
    settings = ", ".join(f"{key} {config[key]}" for key in config if key != "bound")
    reports.write(made_with | {"attack": settings}, table(rows), rows)


def read(argv: list[str]) -> tuple[ConfigDict, list[tuple[Env, list[Policies]]]]:
    """The attack's settings and what `--checkpoints` names."""
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder it reads
    refuse_arguments(argv, takes_config=True, ignored=IGNORED)
    if not CHECKPOINTS.value:
        raise ConfigError("--checkpoints is empty; it must name folders of policies")
    config = get_config()
    if CONFIG.value:
        config = read_config(config)
    attack.check(config)
    if OUT.value:
        check_out("--out", Path(OUT.value).absolute().parent)
    loaded = [
        policies.load(Path(place), "--checkpoints") for place in CHECKPOINTS.value
    ]
    cache_compilations()
    return config, loaded


def measure(
    env: Env,
    group: Policies,
    config: ConfigDict,
    bounds: tuple[float, ...],
    episodes: int,
) -> list[dict]:
    """A row for each run and bound: `env`, `policy`, `bound`, returns by condition.

    All runs and bounds are attacked in one program.
    """
    count = len(bounds)
    states, statistics, runs, steps = jax.tree.map(
        lambda x: jnp.repeat(jnp.asarray(x), count, axis=0),
        (group.states, group.statistics, group.runs, group.step),
    )
    of_runs = jnp.tile(jnp.array(bounds), len(group.labels))
    vectors, _ = attack_sets.search(
        f"attack {env.name}",
        group.agent,
        env,
        config,
        OfflineState(states, statistics, steps),
        runs,
        of_runs,
        PURPOSES.index("evaluation"),
    )
    evaluate = sweep.conditions_phase(
        group.agent, env, CONDITIONS, num_episodes=episodes, pretrained=group.agent
    )
    attacked = Attacked(of_runs, jnp.asarray(vectors), None, None)
    returns = evaluate(states, statistics, runs, steps, attacked)
    returns = {name: np.asarray(x, np.float64).tolist() for name, x in returns.items()}
    return [
        {
            "env": env.name,
            "policy": " ".join(str(value) for value in labels.values()),
            "bound": bound,
            "returns": {name: returns[name][run * count + i] for name in CONDITIONS},
        }
        for run, labels in enumerate(group.labels)
        for i, bound in enumerate(bounds)
    ]


def table(rows: list[dict]) -> str:
    """Scores of all rows in Markdown, and what they are."""
    header = ["environment", "policy", "bound", *CONDITIONS]
    lines = []
    for row in rows:
        summaries = [
            results.summarise(as_scores(row["env"], row["returns"][name]))
            for name in CONDITIONS
        ]
        spreads = [f"{s.mean:.1f} ± {s.standard_error:.1f}" for s in summaries]
        lines.append([row["env"], row["policy"], f"{row['bound']:g}", *spreads])
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        "D4RL score (mean return where there is none); ±: standard error over episodes."
    )


if __name__ == "__main__":
    run(main)
