"""TD3 and SAC learn from scratch, online, what takes foresight.

Pushing costs more than it pays at once, so an agent that does not bootstrap, or not
from the state that its action led to, stays where it is: return 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.sac import SACConfig
from rpex_jax.agents.td3 import TD3Config
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data.buffer import make_buffer
from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.training import offline, online
from rpex_jax.training.evaluation import make_evaluate
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Spec

NUM_SEEDS, NUM_STEPS, BATCH = 4, 2000, 64
NUMBERS = dict(learning_rate=3e-3, discount=0.9, hidden_dims=(32, 32))
CONFIGS = {
    "td3": TD3Config(**NUMBERS, target_update_rate=0.02, exploration_noise=0.5),
    "sac": SACConfig(**NUMBERS, target_update_rate=0.02, initial_temperature=0.1),
}
LENGTH = 8
# On average, pushing to the right until x = 1 earns 2.9, rest 0 and random pushes -1.3.
GOOD_RETURN = 2.0


def push() -> Env:
    """A point x in [-1, 1] that moves by a / 4; reward x - a^2 / 2, where x was before.

    Episodes of 8 steps are cut, not ended: what is ahead still counts.
    """

    def reset(key):
        x = jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return EnvState((), x, jnp.zeros(()), no, no, zero, no)

    def step(state, action):
        x, force = state.observation, jnp.clip(action, -1.0, 1.0)
        return state._replace(
            observation=jnp.clip(x + force / 4, -1.0, 1.0),
            reward=(x - force**2 / 2)[0],
            time=state.time + 1,
        )

    return Env("push", Spec(1, 1), reset, step, LENGTH)


@pytest.fixture(
    scope="module", params=["td3", pytest.param("sac", marks=pytest.mark.slow)]
)
def train(request):
    """`train(**numbers) -> mean return of each seed`, one program for all numbers."""
    agent, config = AGENTS[request.param], CONFIGS[request.param]
    env, buffer = push(), make_buffer(NUM_STEPS, BATCH)
    (_, statistics, _), data = offline.from_scratch(env.spec)
    chunk = online.make_chunk(
        agent, env, buffer, num_steps=NUM_STEPS, updates_per_step=1, num_offline=0
    )
    evaluate = make_evaluate(agent, env, num_episodes=256)

    @jax.jit
    @jax.vmap
    def returns(run):
        fresh = agent.init(jax.random.key(run.seed), env.spec, run.agent)
        state = online.start(fresh, env, buffer, run)
        state, _ = chunk(state, statistics, run, data)
        return evaluate(state.agent, statistics, run, state.step).mean()

    def train(**numbers):
        clean = corruption(())
        runs = [
            RunConfig(seed, config.replace(**numbers), clean, clean, corrupt_again=0)
            for seed in range(NUM_SEEDS)
        ]
        return np.asarray(returns(sweep.stack(runs)))

    return train


def test_learns_to_push_now_for_what_it_pays_later(train):
    """Every seed, from scratch; and without foresight none, in the same program."""
    assert (train() > GOOD_RETURN).all()
    assert (train(discount=0.0) < GOOD_RETURN / 2).all()
