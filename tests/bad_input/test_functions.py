"""Public functions with arguments that cannot be."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import envs, transfer
from rpex_jax.agents import AGENTS, CONFIGS, edac, iql
from rpex_jax.agents.edac import EDACConfig
from rpex_jax.agents.sac import SACConfig
from rpex_jax.attacks import curriculum, perturbation
from rpex_jax.attacks import differential_evolution as de
from rpex_jax.attacks.corruption import corruption
from rpex_jax.attacks.gradient import sign_descent
from rpex_jax.comparison import (
    as_tasks,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)
from rpex_jax.data import scores
from rpex_jax.data.buffer import make_buffer
from rpex_jax.envs import gridworld
from rpex_jax.envs.base import check_action
from rpex_jax.envs.bridge import from_gymnasium
from rpex_jax.expansion import ExpansionConfig, expand
from rpex_jax.measures import histogram
from rpex_jax.selection import selection_logits
from rpex_jax.training import attack, conditions, evaluation, offline, run
from rpex_jax.types import Spec
from tests.bad_input.sentence import Says, assert_says

NAN, INF = math.nan, math.inf
KEY = jax.eval_shape(lambda: jax.random.key(0))
SPEC = Spec(4, 2)


def shape(*sizes):
    """An array as far as shapes are looked at."""
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def bootstrap(scores=None, **settings):
    scores = {"a": [1.0, 2.0]} if scores is None else scores
    return partial(stratified_bootstrap, interquartile_mean, scores, **settings)


def damage(*args):
    return partial(corruption, *args)


def evolution(**changes):
    return partial(de.minimise, KEY, None, None, None, de.DESettings(**changes))


def expanded(**switches):
    config = ExpansionConfig(iql.IQLConfig())
    return partial(expand, AGENTS["iql"], KEY, SPEC, None, config, **switches)


CASES = [
    # Environments
    (
        partial(envs.make, "hopper-v4"),
        Says("'hopper-v4'", "", "did you mean Hopper-v4"),
    ),
    (partial(envs.make, "Quadruped"), Says("'Quadruped'", "", "known are Hopper-v4")),
    (partial(envs.make, ""), Says("unknown environment", "''", "known are Hopper-v4")),
    (
        partial(envs.make, "antmaze-larg-play-v2"),
        Says("'antmaze-larg-play-v2'", "", "did you mean antmaze-large-play-v2"),
    ),
    (
        partial(envs.make, "Hopper-v4", "brax"),
        Says("unknown engine", "'brax'", "mujoco, mjx, warp, gymnasium"),
    ),
    (
        partial(envs.make, "Pusher-v5", "mjx"),
        Says("Pusher-v5", "'mjx' is for", "engine 'gymnasium' only"),
    ),
    (
        partial(from_gymnasium, "CartPole-v1"),
        Says("CartPole-v1 has the action space", "Discrete(2)", "must be a Box"),
    ),
    (
        partial(from_gymnasium, "Pendulum-v1", time_limit=0),
        Says("'Pendulum-v1'", "", "must be"),
    ),
    (
        partial(from_gymnasium, "Pendulum-v9"),
        Says("'Pendulum-v9'", "", "must be the id of an environment"),
    ),
    (
        partial(gridworld.make, ("S G", "  ")),
        Says("rows of the grid", "[2, 3] cells", "must have equally many"),
    ),
    (partial(gridworld.make, ("  G",)), Says("0 cells", "'S'", "must have one start")),
    (partial(gridworld.make, ("SGG",)), Says("2 cells", "'G'", "must have one goal")),
    (partial(gridworld.make, ()), Says("rows of the grid", "[]", "equally many")),
    (
        partial(check_action, shape(6), 3),
        Says("the action has shape", "(6,)", "must be (3,)"),
    ),
    (
        partial(check_action, shape(), 3),
        Says("the action has shape", "()", "must be (3,)"),
    ),
    # Corruption and attacks
    (damage(("rewards",)), Says("unknown element", "'rewards'", "'reward'")),
    (damage(("reward",), 1.5), Says("corruption rate is", "1.5", "[0, 1]")),
    (damage(("reward",), -0.1), Says("corruption rate is", "-0.1", "[0, 1]")),
    (damage(("reward",), NAN), Says("corruption rate is", "nan", "[0, 1]")),
    (damage(("reward",), 0.3, -1.0), Says("corruption scale is", "-1.0", ">= 0")),
    (damage(("reward",), 0.3, INF), Says("corruption scale is", "inf", "finite")),
    (damage(("reward",), 0.3, NAN), Says("corruption scale is", "nan", "finite")),
    (
        partial(sign_descent, None, None, -1, 1, num_steps=-1, step_size=0.1),
        Says("num_steps is", "-1", "at least 0"),
    ),
    (
        partial(perturbation.pgd, None, None, 0.3, perturbation.PGDSettings(0)),
        Says("num_steps is", "0", "at least 1"),
    ),
    (
        partial(curriculum.linear_increment, 0.5, 0),
        Says("periods is", "0", "at least 1"),
    ),
    (evolution(strategy="best2bin"), Says("strategy is", "'best2bin'", "'best1bin'")),
    (evolution(outside="reflect"), Says("outside is", "'reflect'", "'redraw', 'edge'")),
    (evolution(population_size=2), Says("population_size is", "2", "at least 3")),
    (
        evolution(population_size=3, strategy="rand1bin"),
        Says("population_size is", "3", "rand1bin needs at least 4"),
    ),
    (evolution(generations=-1), Says("generations is", "-1", ">= 0")),
    (evolution(crossover=1.5), Says("crossover is", "1.5", "[0, 1]")),
    (evolution(crossover=NAN), Says("crossover is", "nan", "[0, 1]")),
    (
        evolution(mutation_low=1.0, mutation_high=0.5),
        Says("mutation_low is 1.0", "mutation_high 0.5", "in this order"),
    ),
    (evolution(mutation_low=-0.1), Says("mutation_low is", "-0.1", "[0, 2]")),
    (evolution(mutation_high=2.1), Says("mutation_high", "2.1", "[0, 2]")),
    (evolution(mutation_high=NAN), Says("mutation_high", "nan", "[0, 2]")),
    (
        partial(de.latin_hypercube, KEY, shape(), shape(2), 3),
        Says("low and high", "() and (2,)", "one number a coordinate"),
    ),
    # Agents and policy sets
    (
        partial(edac.init, KEY, SPEC, EDACConfig(num_critics=1)),
        Says("EDAC has num_critics", "1", "at least 2"),
    ),
    (expanded(online_policy="new"), Says("online_policy is", "'new'", "fresh, copied")),
    (
        expanded(critic_transfer="none"),
        Says("critic_transfer is", "'none'", "full, target"),
    ),
    (
        partial(selection_logits, shape(8, 2), shape(8), shape(8, 3), 3.0, 0.1),
        Says("log_densities", "(8, 2)", "must be the same"),
    ),
    # Data
    (partial(make_buffer, 0, 4), Says("capacity", "0", "must be positive")),
    (partial(make_buffer, 4, -1), Says("batch_size", "-1", "must be positive")),
    (
        partial(scores.normalised_score, "Hoper-v4", 0.0),
        Says("Hoper-v4", "no D4RL reference score", "there are scores for"),
    ),
    (
        partial(scores.reference_scores, "Pendulum-v1"),
        Says("Pendulum-v1", "no D4RL reference score", "there are scores for"),
    ),
    # Training
    (
        partial(offline.make_chunk, AGENTS["iql"], batch_size=0, num_updates=1),
        Says("batch_size is", "0", "at least 1"),
    ),
    (
        partial(offline.make_chunk, AGENTS["iql"], batch_size=1, num_updates=0),
        Says("num_updates is", "0", "at least 1"),
    ),
    (
        partial(evaluation.make_evaluate, AGENTS["iql"], None, num_episodes=0),
        Says("num_episodes is", "0", "at least 1"),
    ),
    (
        partial(conditions.make_evaluate_under, "windy", None, None, num_episodes=1),
        Says("unknown condition", "'windy'", "allowed are normal"),
    ),
    (
        partial(conditions.make_evaluate_under, "pgd", None, None, num_episodes=-3),
        Says("num_episodes is", "-3", "at least 1"),
    ),
    (
        partial(
            attack.make_search,
            *(AGENTS["iql"], None, de.DESettings()),
            num_searches=0,
            num_episodes=1,
        ),
        Says("num_searches is", "0", "at least 1"),
    ),
    (
        partial(run.whole_rounds, 3, 2, "num_updates"),
        Says("num_updates is", "3", "a multiple of 2"),
    ),
    # Results
    (bootstrap({}), Says("scores", "of no task", "at least 1")),
    (bootstrap({"a": []}), Says("task 'a'", "of no run", "at least 1")),
    (bootstrap(np.zeros((0, 2))), Says("task '0'", "of no run", "at least 1")),
    (bootstrap(level=1.5), Says("level is", "1.5", "(0, 1)")),
    (bootstrap(level=NAN), Says("level is", "nan", "(0, 1)")),
    (bootstrap(resamples=0), Says("resamples is", "0", "at least 1")),
    (partial(as_tasks, {}), Says("scores", "of no task", "at least 1")),
    (
        partial(probability_of_improvement, {"a": [1], "b": [1]}, {"b": [1]}),
        Says("the tasks are a, b", "b of the other", "must be the same"),
    ),
    (partial(histogram, shape(8, 2), shape(1)), Says("edges has", "1", "at least 2")),
]


@pytest.mark.parametrize(("call", "expected"), CASES)
def test_an_argument_that_cannot_be(call, expected):
    with pytest.raises(ValueError) as error:
        call()
    assert_says(error.value, expected)


def test_an_objective_of_another_shape():
    """It is only known when it is traced."""
    low, settings = shape(2), de.DESettings()
    start = partial(de.init, evaluate=jnp.sum, settings=settings)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(lambda key, low: start(key, low=low, high=low), KEY, low)
    says = Says("evaluate gives shape", "()", "must give one number a member")
    assert_says(error.value, says)


def test_more_rows_than_a_buffer_holds():
    buffer = make_buffer(4, 4)
    state = jax.eval_shape(buffer.init, shape(2))
    with pytest.raises(ValueError) as error:
        jax.eval_shape(buffer.add, state, shape(5, 2))
    assert_says(error.value, Says("5 rows", "do not fit", "a buffer of 4"))


@pytest.mark.parametrize(
    ("agent", "widths", "critics"),
    [("iql", (8, 16), 2), ("iql", (8,), 2), ("iql", (8, 8), 5), ("riql", (8, 8), 2)],
)
def test_a_sac_of_other_networks(agent, widths, critics):
    """What it was told, and what the pretrained agent has."""
    config = CONFIGS[agent](hidden_dims=(8, 8))
    state = jax.eval_shape(lambda key: AGENTS[agent].init(key, SPEC, config), KEY)
    told = SACConfig(hidden_dims=widths, num_critics=critics)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(lambda state: transfer.iql_to_sac(state, told), state)
    says = Says(
        f"SAC has hidden_dims {widths} and {critics} critics",
        f"(8, 8) and {config.num_critics}",
        "must be those of the pretrained agent",
    )
    assert_says(error.value, says)
