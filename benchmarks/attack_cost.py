"""What the attack finds, and what it costs, beside a search of corners and SciPy's.

    python -m benchmarks.attack_cost --checkpoints=runs/hopper,runs/halfcheetah \
      [--config=experiments/configs/attack.py] --out=benchmarks/results/attack-cost

The first run of every checkpoint is attacked within `config.bound` by our differential
evolution, by trying all 2^A corners of the box in the same episodes, and by SciPy's
differential evolution, which steps `gymnasium.make` of the same environment from the
same resets, with the same population and generations. Ours runs alone and, as an
attack set needs them, `config.searches` at once; also with SciPy's rule for what leaves
the box, and with as few generations as find what SciPy's found. SciPy gets the policy
in NumPy, on one core and on all, and as one compiled JAX call a step. What each found
is run again in fresh episodes, the same for all.
"""

import itertools
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import reports, scipy_attack
from benchmarks.attack_bound import read
from experiments import attack_sets
from experiments.command_line import run
from experiments.folders import provenance
from experiments.policies import Policies
from rpex_jax import results, sweep
from rpex_jax.attacks import differential_evolution
from rpex_jax.data.statistics import standardise
from rpex_jax.devices import num_cores
from rpex_jax.envs import Env
from rpex_jax.training.attack import mean_returns
from rpex_jax.training.run import stream
from rpex_jax.types import Array, Key

FRESH_EPISODES = 100
OURS, CORNERS, SCIPY = "rpex_jax", "all corners", "SciPy, NumPy"
ENOUGH = f"{OURS}, until as low as SciPy"


class Problem(NamedTuple):
    """One policy to attack, as functions."""

    # (key, episodes, deltas [n, action_dim]) -> mean returns [n]; key decides resets
    returns: Callable[[Key, int, Array], Array]
    lengths: Callable[[Key, int, Array], Array]  # the same for mean steps
    act: Callable[[Array], Array]  # raw observation -> action
    starts: Callable[[Key, int], list]  # [(qpos, qvel)], of `returns`
    policy: scipy_attack.Policy  # `act` in NumPy
    key: Key


def main(argv: list[str]) -> None:
    config, loaded = read(argv)
    made_with = provenance("benchmarks.attack_cost")
    settings = ", ".join(f"{key} {config[key]}" for key in config if key != "searches")
    rows = []
    for env, groups in loaded:
        rows += measure(env, groups[0], config, FRESH_EPISODES)
        # An environment takes minutes, so what is known is kept.
        reports.write(made_with | {"attack": settings}, table(rows), rows)


def measure(
    env: Env, group: Policies, config: ConfigDict, fresh_episodes: int
) -> list[dict]:
    """A row for each search against the first run of a group."""
    problem = make_problem(env, group)
    width, cores = env.spec.action_dim, num_cores()
    per_coordinate = -(-config.population_size // width)  # SciPy's unit
    settings = attack_sets.settings(config).replace(
        population_size=per_coordinate * width
    )
    ours = partial(our_search, problem, config, width=width)
    told(env, OURS)
    found = {
        OURS: ours(settings, searches=1),
        f"{OURS}, {config.searches} at once": ours(settings, searches=config.searches),
        f"{OURS}, redraw": ours(settings.replace(outside="redraw"), searches=1),
    }
    told(env, CORNERS)
    found[CORNERS] = corner_search(problem, config, width)
    key_fitness, _ = keys_of(problem, 0)
    starts = problem.starts(key_fitness, config.episodes)
    numbers = {"coordinates": width} | {
        name: getattr(settings, name) for name in settings.__dataclass_fields__
    }
    compiled = jax.jit(problem.act)
    policies = {
        SCIPY: (problem.policy, 1),
        f"{SCIPY}, {cores} cores": (problem.policy, cores),
        "SciPy, JAX call a step": (lambda x: np.asarray(compiled(x)), 1),
    }
    check_policies(problem.policy, compiled, env.spec.observation_dim)
    steps = None
    for name, (policy, processes) in policies.items():
        told(env, name)
        fitness = scipy_attack.Fitness(env.name, policy, starts)
        outcome = scipy_attack.search(fitness, config.bound, numbers, processes)
        steps = fitness.steps if processes == 1 else steps  # else in other processes
        found[name] = outcome._asdict() | {"steps": steps}
    enough = generations_to(found[SCIPY]["fitness"], found[OURS]["history"])
    if enough is not None:
        told(env, ENOUGH)
        found[ENOUGH] = ours(settings.replace(generations=enough), searches=1)

    vectors = jnp.stack([jnp.asarray(f["vector"], jnp.float32) for f in found.values()])
    fresh = fresh_returns(problem, vectors, fresh_episodes)
    return [
        {"env": env.name, "policy": " ".join(map(str, group.labels[0].values()))}
        | {"bound": config.bound, "search": name}
        | of_search
        | {"vector": np.asarray(of_search["vector"]).tolist(), "fresh": fresh[i]}
        for i, (name, of_search) in enumerate(found.items())
    ]


def told(env: Env, search: str) -> None:
    """Says on standard error what comes next, since each may take minutes."""
    print(f"{env.name}: {search}", file=sys.stderr)


def make_problem(env: Env, group: Policies) -> Problem:
    """The first run of a group."""
    state, statistics, run = sweep.take((group.states, group.statistics, group.runs), 0)
    counting = env._replace(
        step=lambda *args: env.step(*args)._replace(reward=jnp.ones(()))
    )

    def under(world, key, episodes, deltas):
        return mean_returns(
            group.agent, world, state, statistics, run.agent, key, episodes, deltas
        )

    def act(observation):
        seen = standardise(observation, statistics)
        key = jax.random.key(0)  # greedy actions take nothing from it
        return group.agent.act(key, state, seen, run.agent, greedy=True)

    def starts(key, episodes):
        key_reset, _ = jax.random.split(key)
        physics = jax.vmap(env.reset)(jax.random.split(key_reset, episodes)).physics
        return list(
            zip(np.asarray(physics.qpos), np.asarray(physics.qvel), strict=True)
        )

    return Problem(
        returns=partial(under, env),
        lengths=partial(under, counting),
        act=act,
        starts=starts,
        policy=in_numpy(state.actor["params"], statistics),
        key=jax.random.fold_in(stream(run, "attack"), 2),  # a study has 0 and 1
    )


def in_numpy(params: Any, statistics: Any) -> scipy_attack.Policy:
    """The policy of TD3, IQL or SAC: a trunk, and SAC's head beside it."""
    trunk = params["MLP_0"]
    layers = [trunk[f"Dense_{depth}"] for depth in range(len(trunk))]
    if "mean" in params:
        layers.append(params["mean"]["Dense_0"])
    layers = [(np.asarray(x["kernel"]), np.asarray(x["bias"])) for x in layers]
    return scipy_attack.Policy(layers, *map(np.asarray, statistics))


def check_policies(policy: Callable, compiled: Callable, width: int) -> None:
    """Raises a `ValueError` if NumPy's policy is another than ours; and compiles it."""
    for observation in np.random.default_rng(0).normal(size=(10, width)):
        ours, theirs = np.asarray(compiled(observation)), policy(observation)
        if not np.allclose(ours, theirs, atol=1e-5):
            raise ValueError(f"the policy in NumPy gives {theirs}, in JAX {ours}")


def keys_of(problem: Problem, search: Array) -> tuple[Key, Key]:
    """Of the episodes of a search, and of the search itself."""
    key_fitness, key_search = jax.random.split(jax.random.fold_in(problem.key, search))
    return key_fitness, key_search


def our_search(
    problem: Problem, config: ConfigDict, settings: Any, *, width: int, searches: int
) -> dict:
    """What the first of so many searches at once finds, and what each takes.

    Compiled, then timed: the slower of two rounds. One round more counts steps.
    """
    high = jnp.full(width, config.bound, jnp.float32)
    steps = []

    def count(lengths):
        steps.append(float(lengths.sum()) * config.episodes)

    def search(number, counting):
        key_fitness, key_search = keys_of(problem, number)

        def fitness(deltas):
            if counting:
                lengths = problem.lengths(key_fitness, config.episodes, deltas)
                jax.debug.callback(count, lengths)
            return problem.returns(key_fitness, config.episodes, deltas)

        return differential_evolution.minimise(
            key_search, fitness, -high, high, settings
        )

    def all_searches(counting):
        of_search = partial(search, counting=counting)
        return jax.jit(lambda: jax.vmap(of_search)(jnp.arange(searches)))

    begin = time.perf_counter()
    compiled = all_searches(counting=False).lower().compile()
    compile_seconds = time.perf_counter() - begin
    rounds = []
    for _ in range(2):
        begin = time.perf_counter()
        found = jax.block_until_ready(compiled())
        rounds.append(time.perf_counter() - begin)
    jax.block_until_ready(all_searches(counting=True)())
    jax.effects_barrier()
    return {
        "vector": found.best[0],
        "fitness": float(found.fitness[0]),
        "history": found.history[0].tolist(),
        "seconds": max(rounds) / searches,
        "compile_seconds": compile_seconds,
        "steps": round(sum(steps) / searches),
    }


def corner_search(problem: Problem, config: ConfigDict, width: int) -> dict:
    """All 2^A sign patterns at the bound, in the episodes of the search."""
    signs = jnp.array(list(itertools.product((-1.0, 1.0), repeat=width)))
    key_fitness, _ = keys_of(problem, 0)
    returns = jax.jit(
        lambda deltas: problem.returns(key_fitness, config.episodes, deltas)
    )(config.bound * signs)
    best = int(returns.argmin())
    return {"vector": config.bound * signs[best], "fitness": float(returns[best])}


def fresh_returns(problem: Problem, vectors: Array, episodes: int) -> list[list[float]]:
    """Returns [n, episodes] in episodes that no search has seen, the same for all."""
    keys = jax.random.split(jax.random.fold_in(problem.key, 2**31 - 1), episodes)
    returns = jax.jit(jax.vmap(lambda key: problem.returns(key, 1, vectors)))(keys)
    return np.asarray(returns.T, np.float64).tolist()


def table(rows: list[dict]) -> str:
    """All searches in Markdown, with the time of each over ours."""
    ours = {row["env"]: row["seconds"] for row in rows if row["search"] == OURS}
    lines = []
    for row in rows:
        fresh = results.summarise(row["fresh"])
        seconds, steps = row.get("seconds"), row.get("steps")
        lines.append(
            [
                row["env"],
                row["search"],
                f"{row['fitness']:.1f}",
                f"{fresh.mean:.1f} ± {fresh.standard_error:.1f}",
                f"{len(row['history']) - 1}" if "history" in row else "",
                f"{steps}" if steps else "",
                f"{seconds:.2f}" if seconds else "",
                f"{seconds / ours[row['env']]:.1f}" if seconds else "",
                f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "",
            ]
        )
    header = ["environment", "search", "return in the search", "in fresh episodes"]
    header += [
        "generations",
        "steps",
        "seconds",
        "over ours",
        "compiling, seconds",
    ]
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        "Seconds and steps are for one search, without compiling and without starting "
        "processes; steps are those of episodes that have not ended. ±: standard error "
        "over fresh episodes."
    )


def generations_to(goal: float, history: list[float]) -> int | None:
    """After how many generations the best return is as low as the goal, if ever."""
    return next((i for i, best in enumerate(history) if best <= goal), None)


if __name__ == "__main__":
    run(main)
