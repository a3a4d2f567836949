"""Small runs, data and agents whose workings can be seen from outside."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpex_jax.agents.iql import IQLConfig
from rpex_jax.attacks.corruption import ELEMENTS, corruption
from rpex_jax.data.dataset import Dataset
from rpex_jax.envs import Env
from rpex_jax.training import offline
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent, Transition

HIDDEN, BATCH = (16, 16), 16
NUM_ROWS = 200
# Programs of other shapes may add in another order; ten Adam steps at rate 1e-2 turn a
# last-bit difference of a gradient into some 1e-6 of a weight of order 1.
REASSOCIATED = dict(rtol=1e-4, atol=1e-5)


def make_run(
    seed: int = 0,
    agent: Any = None,
    offline_elements: tuple[str, ...] = ELEMENTS,
    online_elements: tuple[str, ...] = ELEMENTS,
    rate: float = 0.5,
    corrupt_again: int = 0,
) -> RunConfig:
    """A run whose data and transitions are damaged in all elements unless told."""
    return RunConfig(
        seed=seed,
        agent=IQLConfig(learning_rate=1e-2, hidden_dims=HIDDEN)
        if agent is None
        else agent,
        offline_corruption=corruption(offline_elements, rate, 1.0),
        online_corruption=corruption(online_elements, rate, 1.0),
        corrupt_again=corrupt_again,
    )


def make_data(observation_dim: int = 3, action_dim: int = 2) -> offline.OfflineData:
    """Random rows. `terminations` holds the row's number: it is never damaged.

    The numbers start at 1: whoever multiplies with 1 - d gets no infinity from them.
    """
    rng = np.random.default_rng(0)
    observations = rng.normal(3.0, 2.0, (NUM_ROWS, observation_dim))
    transitions = Transition(
        observations=observations,
        actions=rng.uniform(-1.0, 1.0, (NUM_ROWS, action_dim)),
        rewards=rng.normal(size=NUM_ROWS),
        next_observations=observations + rng.normal(size=observations.shape),
        terminations=1.0 + np.arange(NUM_ROWS),
    )
    transitions = jax.tree.map(lambda x: x.astype(np.float32), transitions)
    return offline.put_on_device(Dataset(transitions, np.zeros(NUM_ROWS, bool)))


def with_true_flags(data: offline.OfflineData) -> offline.OfflineData:
    """The same data with every third row a terminal one, for agents that learn."""
    flags = (data.transitions.terminations % 3 == 0).astype(jnp.float32)
    return data._replace(transitions=data.transitions._replace(terminations=flags))


def glass_agent(
    action=lambda observations, greedy: observations, batches: int | None = None
) -> Agent:
    """An agent that learns nothing: its metrics are the batch, its state a count.

    With one update in a chunk the metrics of the chunk are the batch, untouched.
    """

    def update(key, state, batch, config):
        return state + 1, {"batch": batch}

    def act(key, state, observations, config, *, greedy):
        return action(observations, greedy)

    return Agent(
        init=lambda key, spec, config: jnp.zeros((), jnp.int32),
        update=update,
        act=act,
        policy=None,
        action_value=None,
        state_value=None,
        restart=None,
        batches=batches and (lambda config: batches),
    )


def cut_inside(env: Env, length: int) -> Env:
    """The environment itself cuts its episodes after `length` steps."""

    def step(state, action):
        state = env.step(state, action)
        return state._replace(truncated=state.time >= length)

    return env._replace(step=step)
