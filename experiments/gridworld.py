"""IQL and RPEX's correction in a grid world, on clean and on corrupted data.

    python -m experiments.gridworld --config=experiments/configs/gridworld.py \
      [--config.grid=wall] --out=runs/gridworld

IQL learns offline, all seeds on clean and on corrupted data in one program. At every
position each of the eight moves is a proposal, drawn from softmax(lambda Q) or, with
the correction, from softmax(lambda Q + kappa w); IQL's own policy stands beside them.
Prints how many moves the most probable path from the start takes to the goal, and how
many sampled paths take. The folder holds the table, results.json and the figure: data,
selection probabilities, paths.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import discrete_iql, folders, study_settings
from experiments.command_line import (
    OUT,
    cache_compilations,
    read_config,
    refuse_arguments,
    run,
)
from experiments.configs.gridworld import get_config
from experiments.gridworld_changes import changes
from experiments.gridworld_data import fewest_moves, make_data
from experiments.gridworld_plot import Panel, plot
from experiments.settings import (
    INFINITY,
    ConfigError,
    check_each,
    check_types,
    check_values,
)
from rpex_jax import results, sweep
from rpex_jax.agents.iql import IQLConfig
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data.statistics import field_deviations, standardise
from rpex_jax.envs import gridworld
from rpex_jax.envs.gridworld import GRIDS, TIME_LIMIT, Grid
from rpex_jax.training import offline
from rpex_jax.training.offline import OfflineData, OfflineState
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Array, Transition

DATA = ("clean", "corrupted")
COUNTS = ("data.walkers", "data.steps", "data.restart")
COUNTS += ("updates", "batch_size", "sampled_paths")
RANGES = {key: (1, INFINITY) for key in COUNTS}
RANGES |= {key: (0, 1) for key in ("data.near_optimal", "data.noise")}
RANGES |= {
    f"corruption.{x}": study_settings.RANGES[f"offline.{x}"] for x in ("rate", "scale")
}
RANGES |= {
    key.replace("agent.iql", "agent"): bounds
    for key, bounds in study_settings.RANGES.items()
    if key.startswith("agent.iql.")
}


class Rule(NamedTuple):
    """How a move is drawn: logits lambda Q + kappa w + share log pi."""

    inv_temperature: float
    kappa: float
    policy: float = 0.0  # share; 1 with the others 0 is IQL's policy


POLICY = Rule(0.0, 0.0, 1.0)


class Paths(NamedTuple):
    """From the start to the goal; one that does not get there has TIME_LIMIT moves."""

    positions: Array  # [..., TIME_LIMIT + 1, 2], of the most probable path
    length: Array  # [...], moves of the most probable path
    sampled: Array  # [...], mean over sampled paths
    arrived: Array  # [...], share of sampled paths that reach the goal


def main(argv: list[str]) -> None:
    refuse_arguments(argv, takes_config=True)
    config = read_config(get_config())
    check(config)
    out = Path(OUT.value or "runs/gridworld")
    folders.check_out("--out", out)
    cache_compilations()
    grid, rules = GRIDS[config.grid], rules_of(config)
    data = make_data(grid, config)
    states, runs = train(grid, config, data)
    paths = find_paths(grid, config, states, runs, rules)
    report = f"{table(config, rules, paths)}\n\n{why(grid, states, runs, rules)}"
    print(report)
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "config": config.to_dict(),
        "rows": rows(config, rules, paths),
    } | folders.provenance("experiments.gridworld")
    text = json.dumps(content, indent=1) + "\n"
    results.write_atomically(out / "results.json", text)
    results.write_atomically(out / "table.md", report + "\n")
    panels = panels_of(grid, config, states, runs, rules, paths)
    plot(grid, sweep.take(data, 0), panels, out / "gridworld.png")


def check(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first setting that cannot be used."""
    check_types(config, get_config())
    check_values(config, RANGES, {"grid": tuple(GRIDS)})
    check_each("seeds", config.seeds, 0, 0)
    check_each("inv_temperatures", config.inv_temperatures, 0.0, 0)
    check_each("kappas", config.kappas, 0.0, 0)
    if 0.0 not in config.kappas or config.shown not in config.kappas:
        raise ConfigError(
            f"kappas is {config.kappas}; it must hold 0 and what is shown, "
            f"{config.shown}"
        )


def rules_of(config: ConfigDict) -> list[Rule]:
    """IQL's policy, and every kappa at every temperature."""
    pairs = [Rule(x, k) for x in config.inv_temperatures for k in config.kappas]
    return [POLICY, *pairs]


def train(
    grid: Grid, config: ConfigDict, data: Transition
) -> tuple[OfflineState, RunConfig]:
    """IQL of every seed on its data, clean and corrupted: [len(DATA), seeds, ...]."""
    agent, spec = discrete_iql.AGENT, gridworld.make(grid).spec
    nothing = corruption(())
    damage = corruption(
        ("observation",), config.corruption.rate, config.corruption.scale
    )
    own = IQLConfig(**config.agent.to_dict())
    runs = sweep.stack(
        [
            sweep.stack([RunConfig(s, own, d, nothing, 0) for s in config.seeds])
            for d in (nothing, damage)
        ]
    )
    chunk = offline.make_chunk(
        agent, batch_size=config.batch_size, num_updates=config.updates
    )

    def of_run(run, transitions):
        data = OfflineData(transitions, field_deviations(transitions))
        return chunk(offline.start(agent, spec, run, data), run, data)[0]

    of_seeds = jax.vmap(of_run)
    return jax.jit(jax.vmap(of_seeds, in_axes=(0, None)))(runs, data), runs


def logits(state: OfflineState, run: RunConfig, rule: Rule, positions: Array) -> Array:
    """Of the eight moves at positions [..., 2]."""
    observations = standardise(positions, state.statistics)
    return discrete_iql.logits_of_all(
        state.agent, observations, run.agent, rule.inv_temperature, rule.kappa
    ) + rule.policy * discrete_iql.log_policy(state.agent, observations, run.agent)


@jax.jit
def logits_of_runs(
    states: OfflineState, runs: RunConfig, rule: Rule, positions: Array
) -> Array:
    """`logits` of all data and seeds: [len(DATA), seeds, n, 8] at positions [n, 2]."""
    of_seeds = jax.vmap(logits, (0, 0, None, None))
    return jax.vmap(of_seeds, (0, 0, None, None))(states, runs, rule, positions)


def find_paths(
    grid: Grid,
    config: ConfigDict,
    states: OfflineState,
    runs: RunConfig,
    rules: list[Rule],
) -> Paths:
    """Of every run under every rule, [len(DATA), seeds, rules, ...]."""
    env, start = gridworld.make(grid), gridworld.centres(grid, "S")[0]

    def path(state, run, rule, key, noise):
        def one_step(env_state, key):
            scores = logits(state, run, rule, env_state.physics)
            action = scores + noise * jax.random.gumbel(key, scores.shape)
            following = env.step(env_state, action)
            done = env_state.terminated
            following = jax.tree.map(
                lambda old, new: jnp.where(done, old, new), env_state, following
            )
            return following, following.physics

        keys = jax.random.split(key, TIME_LIMIT)
        last, positions = jax.lax.scan(one_step, gridworld.at(start), keys)
        return jnp.concatenate([start[None], positions]), last.time, last.terminated

    def of_rule(state, run, rule):
        key = jax.random.key(run.seed)
        positions, length, _ = path(state, run, rule, key, 0.0)
        keys = jax.random.split(key, config.sampled_paths)
        sample = functools.partial(path, state, run, rule, noise=1.0)
        _, lengths, arrived = jax.vmap(sample)(keys)
        return Paths(positions, length, lengths.mean(), arrived.mean())

    def of_run(state, run):
        return jax.vmap(lambda rule: of_rule(state, run, rule))(sweep.stack(rules))

    return jax.jit(jax.vmap(jax.vmap(of_run)))(states, runs)


def rows(config: ConfigDict, rules: list[Rule], paths: Paths) -> list[dict]:
    """Every run under every rule, as it goes to disk."""
    lengths, sampled, arrived = (
        np.asarray(x, np.float64) for x in (paths.length, paths.sampled, paths.arrived)
    )
    return [
        {"data": name, "seed": seed}
        | rule._asdict()
        | {
            "length": lengths[i, j, k],
            "sampled_length": sampled[i, j, k],
            "arrived": arrived[i, j, k],
        }
        for i, name in enumerate(DATA)
        for j, seed in enumerate(config.seeds)
        for k, rule in enumerate(rules)
    ]


def table(config: ConfigDict, rules: list[Rule], paths: Paths) -> str:
    """Lengths over seeds, and what corruption and the correction add, in Markdown.

    The differences are of the same seed.
    """
    best = fewest_moves(GRIDS[config.grid])
    header = ["data", "lambda", "kappa", "most probable path", "arrives"]
    header += ["against clean", "against kappa 0", "sampled path", "arrives"]
    lines = []
    for i, name in enumerate(DATA):
        for k, rule in enumerate(rules):
            plain = rules.index(rule._replace(kappa=0.0))
            numbers = (f"{rule.inv_temperature:g}", f"{rule.kappa:g}")
            length = np.asarray(paths.length, np.float64)
            arrives = (length[i, :, k] < TIME_LIMIT).sum()
            lines.append(
                [
                    name,
                    *(("policy", "") if rule == POLICY else numbers),
                    spread(length[i, :, k]),
                    f"{arrives}/{len(config.seeds)}",
                    spread(length[i, :, k] - length[0, :, k]) if i else "",
                    spread(length[i, :, k] - length[i, :, plain]) if rule.kappa else "",
                    spread(paths.sampled[i, :, k]),
                    f"{np.mean(paths.arrived[i, :, k]):.0%}",
                ]
            )
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        f"Moves, mean ± standard error over {len(config.seeds)} seeds. Who knows the "
        f"way takes {best}; a path that does not arrive counts {TIME_LIMIT}."
    )


def why(grid: Grid, states: OfflineState, runs: RunConfig, rules: list[Rule]) -> str:
    """What the correction changes at the grid's places, in Markdown."""
    cells, goal = gridworld.centres(grid, " S"), gridworld.centres(grid, "G")[0]
    of_cells = functools.partial(logits_of_runs, states, runs, positions=cells)
    log_policy = of_cells(POLICY)
    header = ["data", "lambda", "kappa", "moves changed", "pi of those taken"]
    header += ["pi of those left", "progress lost"]
    lines = []
    for rule in filter(lambda rule: rule.kappa, rules):
        both = of_cells(rule), of_cells(rule._replace(kappa=0.0))
        for i, name in enumerate(DATA):
            logits_of, plain = (x[i] for x in both)
            found = changes(logits_of, plain, log_policy[i], cells, goal)
            lines.append(
                [
                    name,
                    f"{rule.inv_temperature:g}",
                    f"{rule.kappa:g}",
                    f"{found.share:.1%}",
                    f"{found.taken:.3f}",
                    f"{found.left:.3f}",
                    f"{-found.progress:.2f}",
                ]
            )
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        "Of the most probable moves at all places, and where the correction changes "
        "them: probabilities under IQL's policy of the move taken instead, and of the "
        "one left; and how much less the former brings towards the goal, of at most 2."
    )


def spread(values: Any) -> str:
    """Mean and standard error."""
    of_seeds = results.summarise(values)
    return f"{of_seeds.mean:.1f} ± {of_seeds.standard_error:.1f}"


def panels_of(
    grid: Grid,
    config: ConfigDict,
    states: OfflineState,
    runs: RunConfig,
    rules: list[Rule],
    paths: Paths,
) -> list[Panel]:
    """The figure's: clean and corrupted data, without and with the correction."""
    cells = gridworld.centres(grid, " S")
    panels = []
    for i, name in enumerate(DATA):
        for kappa, title in ((0.0, "IQL"), (config.shown, "IQL + IPW")):
            rule = Rule(config.inv_temperatures[0], kappa)
            k = rules.index(rule)
            logits_of = logits_of_runs(states, runs, rule, cells)[i]
            of_cells = np.asarray(jax.nn.softmax(logits_of).mean(0))
            positions = np.asarray(paths.positions[i, :, k])
            length = f"{spread(paths.length[i, :, k])} moves"
            panels.append(
                Panel(f"{title}, {name}: {length}", cells, of_cells, positions)
            )
    return panels


if __name__ == "__main__":
    run(main)
