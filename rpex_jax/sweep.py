"""Many runs at once: a grid, its static groups, and the axis that a group shares.

The only file that knows that more than one run exists. A run's config is a pytree;
runs whose trees have the same structure differ in numbers alone, so they are stacked
and mapped over by one program.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rpex_jax.agents.uniform import uniform
from rpex_jax.attacks.differential_evolution import DESettings
from rpex_jax.data.buffer import make_buffer
from rpex_jax.devices import compile_for
from rpex_jax.envs import Env
from rpex_jax.methods import Method, online_agent, start_agent
from rpex_jax.training import adversarial, evaluation, offline, online
from rpex_jax.training.attack import Search, make_search
from rpex_jax.training.conditions import make_evaluate_under
from rpex_jax.training.run import RunConfig, stream
from rpex_jax.types import Agent

T = TypeVar("T")


class Phase(NamedTuple):
    """One program, compiled for all runs of a group; every state has a run axis."""

    start: Callable[..., Any]
    chunk: Callable[..., Any]
    evaluate: Callable[..., Any]


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the axes' values; the last axis varies fastest."""
    return [
        dict(zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    ]


def group_by(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Any, list[T]]:
    """Items with equal keys together, in order of first appearance."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def structure(run: RunConfig) -> Hashable:
    """What two runs must agree on to share a program."""
    return jax.tree.structure(run)


def stack(trees: Sequence[T]) -> T:
    """Trees of one structure as one tree with a leading run axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take(tree: T, run: int) -> T:
    """One run of a stacked tree, without the run axis."""
    return jax.tree.map(lambda x: x[run], tree)


def over_runs(chunk: Callable[..., Any]) -> Callable[..., Any]:
    """`chunk(state, run, data)` for stacked states and runs, and shared data.

    A CPU is fastest with one run after the other, whose weights and moments then stay
    in its cache; accelerators want all of them side by side.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(chunk, in_axes=(0, 0, None))
    return lambda states, runs, data: jax.lax.map(
        lambda pair: chunk(*pair, data), (states, runs)
    )


def update_over_runs(agent: Agent) -> Agent:
    """The same for the updates alone, where environments step side by side."""
    if jax.default_backend() != "cpu":
        return agent
    return agent._replace(update=jax.custom_batching.sequential_vmap(agent.update))


def offline_phase(
    agent: Agent,
    env: Env,
    *,
    batch_size: int,
    num_updates: int,
    num_episodes: int,
    mesh: Mesh | None = None,
) -> Phase:
    """Pretraining of a group, on the devices of a mesh of `devices.run_mesh`.

    Returns:
      `start(runs, data)`, `chunk(states, runs, data) -> (states, metrics)` and
      `evaluate(states, runs, step) -> returns [runs, num_episodes]`; `chunk` takes
      its states over.
    """
    evaluate = evaluation.make_evaluate(agent, env, num_episodes=num_episodes)
    chunk = offline.make_chunk(agent, batch_size=batch_size, num_updates=num_updates)

    def start(run, data):
        return offline.start(agent, env.spec, run, data)

    def evaluate_state(state, run):
        return evaluate(state.agent, state.statistics, run, state.step)

    return Phase(
        start=compile_for(mesh, jax.vmap(start, in_axes=(0, None)), (0, None)),
        chunk=compile_for(mesh, over_runs(chunk), (0, 0, None), donate_argnums=(0,)),
        evaluate=compile_for(mesh, jax.vmap(evaluate_state), (0, 0)),
    )


def online_phase(
    base: Agent,
    method: Method,
    env: Env,
    *,
    batch_size: int,
    num_offline: int,
    capacity: int,
    warmup: int,
    num_steps: int,
    updates_per_step: int,
    num_episodes: int,
    online_policy: str = "fresh",
    critic_transfer: str = "full",
    warmup_actions: str = "policy",
    prefill: int = 0,
    curriculum_episodes: int = 0,
    mesh: Mesh | None = None,
) -> Phase:
    """Online training of a group, on the devices of a mesh of `devices.run_mesh`.

    Returns:
      `start(pretrained, runs, data, members)`, which also puts `prefill` rows of the
      data set into the replay and collects `warmup` steps without learning, by the
      agent or with "uniform" `warmup_actions`; `members` are the frozen policies of
      sets, [runs, K - 1, ...], or None for the pretrained one;
      `chunk(states, statistics, runs, data) -> (states, metrics)` and
      `evaluate(states, statistics, runs) -> returns [runs, num_episodes]`; `chunk`
      takes its states over. `pretrained` are offline states.
    """
    agent = online_agent(method, base)
    buffer = make_buffer(capacity, batch_size - num_offline)
    evaluate = evaluation.make_evaluate(agent, env, num_episodes=num_episodes)
    explorer = agent
    if warmup_actions == "uniform":
        act = uniform(env.spec).act
        explorer = agent._replace(act=act, explore=None, notice=None)

    def make_chunk(who, steps, updates, episodes):
        return online.make_chunk(
            who,
            env,
            buffer,
            num_steps=steps,
            updates_per_step=updates,
            num_offline=num_offline,
            curriculum_episodes=episodes,
        )

    collect = make_chunk(explorer, warmup, 0, 0)
    chunk = make_chunk(
        update_over_runs(agent), num_steps, updates_per_step, curriculum_episodes
    )

    def start(pretrained, run, data, members):
        agent_state = start_agent(
            method,
            base,
            stream(run, "expansion"),
            env.spec,
            pretrained.agent,
            run.agent,
            members=members,
            online_policy=online_policy,
            critic_transfer=critic_transfer,
        )
        num_rows = 0 if data.transitions is None else len(data.transitions.rewards)
        state = online.start(agent_state, env, buffer, run, num_rows)
        if prefill:
            state = online.prefill(state, buffer, run, data, prefill)
        if run.perturbation is not None and curriculum_episodes:
            state = adversarial.first_score(
                agent, env, state, pretrained.statistics, run, curriculum_episodes
            )
        if not warmup:
            return state
        return collect(state, pretrained.statistics, run, data)[0]

    def evaluate_state(state, statistics, run):
        return evaluate(state.agent, statistics, run, state.step)

    def start_runs(pretrained, runs, data, members=None):
        of_runs = jax.vmap(start, in_axes=(0, 0, None, 0))
        return of_runs(pretrained, runs, data, members)

    axes = (0, 0, 0, None)
    chunk_runs = jax.vmap(chunk, in_axes=axes)
    return Phase(
        start=compile_for(mesh, start_runs, (0, 0, None, 0)),
        chunk=compile_for(mesh, chunk_runs, axes, donate_argnums=(0,)),
        evaluate=compile_for(mesh, jax.vmap(evaluate_state), (0, 0, 0)),
    )


def attack_phase(
    agent: Agent,
    env: Env,
    settings: DESettings,
    *,
    num_searches: int,
    num_episodes: int,
    mesh: Mesh | None = None,
) -> Search:
    """Attacks on the policies of a group of pretrainings.

    Returns:
      `start(states, runs, bounds, purpose) -> searches [runs, searches, ...]` and
      `generation(number, searches, states, runs, bounds, purpose) -> searches`.
      `states` are offline states, `bounds` is [runs]; searches with another number as
      `purpose` are independent.
    """
    search = make_search(
        agent, env, settings, num_searches=num_searches, num_episodes=num_episodes
    )

    def arguments(state, run, bound, purpose):
        key = jax.random.fold_in(stream(run, "attack"), purpose)
        return key, state.agent, state.statistics, run.agent, bound

    def start(*args):
        return search.start(*arguments(*args))

    def generation(number, searches, *args):
        return search.generation(number, searches, *arguments(*args))

    axes = (0, 0, 0, None)
    start_runs = compile_for(mesh, jax.vmap(start, in_axes=axes), axes)
    axes = (None, 0, *axes)
    generation_runs = compile_for(mesh, jax.vmap(generation, in_axes=axes), axes)
    return Search(start=start_runs, generation=generation_runs)


def conditions_phase(
    agent: Agent,
    env: Env,
    conditions: Sequence[str],
    *,
    num_episodes: int,
    pretrained: Agent,
    mesh: Mesh | None = None,
) -> Callable:
    """`evaluate(agents, statistics, runs, steps, attacked) -> {condition: returns}`.

    Returns are [runs, num_episodes]; all but the conditions has a run axis.
    """
    evaluates = {
        condition: make_evaluate_under(
            condition,
            agent,
            env,
            num_episodes=num_episodes,
            pretrained=pretrained,
        )
        for condition in conditions
    }

    def of_run(*args):
        return {name: evaluate(*args) for name, evaluate in evaluates.items()}

    return compile_for(mesh, jax.vmap(of_run), (0,) * 5)
