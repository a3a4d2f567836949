"""Statistics against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data import statistics
from rpex_jax.types import Transition

RTOL = 1e-5  # float32, summed in blocks


def make_transitions(num_rows, seed=0):
    """Dimensions of very different offset and spread."""
    rng = np.random.default_rng(seed)
    offset = np.array([0, 1000, -3, 0.01])
    spread = np.array([1, 0.5, 1e-3, 20])

    def observations():
        return (offset + spread * rng.normal(size=(num_rows, 4))).astype(np.float32)

    return Transition(
        observations(),
        rng.uniform(-1, 1, (num_rows, 2)).astype(np.float32),
        rng.normal(size=num_rows).astype(np.float32),
        observations() + np.float32(0.1),
        np.zeros(num_rows, np.float32),
    )


def oracle(transitions):
    both = np.concatenate([transitions.observations, transitions.next_observations])
    both = both.astype(np.float64)
    return both.mean(0), both.std(0) + 1e-3


@pytest.mark.parametrize(
    ("num_rows", "block_size"), [(1, 8), (7, 8), (64, 8), (67, 8), (10_001, 512)]
)
@pytest.mark.parametrize("jit", [False, True])
def test_observation_statistics(num_rows, block_size, jit):
    transitions = make_transitions(num_rows)

    def compute(transitions):
        return statistics.observation_statistics(transitions, block_size=block_size)

    result = (jax.jit(compute) if jit else compute)(transitions)
    mean, std = oracle(transitions)
    # a mean is known to the rounding of the data
    np.testing.assert_allclose(result.mean, mean, rtol=RTOL, atol=1e-6)
    np.testing.assert_allclose(result.std, std, rtol=RTOL)


def test_many_rows_stay_accurate():
    transitions = make_transitions(300_000)
    result = jax.jit(statistics.observation_statistics)(transitions)
    mean, std = oracle(transitions)
    np.testing.assert_allclose(result.mean, mean, rtol=RTOL, atol=1e-4)
    np.testing.assert_allclose(result.std, std, rtol=RTOL)


def test_transform_sees_every_row_once_with_its_index():
    transitions = make_transitions(67)
    scales = jnp.linspace(0.0, 2.0, 3)

    def shifted(rows, block, scale, ones=jnp):
        moved = block.observations + scale * ones.sin(1.0 * rows)[:, None]
        return block._replace(observations=moved)

    def compute(scale):
        return statistics.observation_statistics(
            transitions, lambda rows, block: shifted(rows, block, scale), block_size=8
        )

    batched = jax.jit(jax.vmap(compute))(scales)
    for run, scale in enumerate(np.asarray(scales)):
        whole = shifted(np.arange(67), transitions, scale, np)
        mean, std = oracle(whole)
        np.testing.assert_allclose(batched.mean[run], mean, rtol=RTOL, atol=1e-6)
        np.testing.assert_allclose(batched.std[run], std, rtol=RTOL)


def test_memory_is_one_block():
    transitions = make_transitions(100_000)
    noise = jax.vmap(lambda key, row: jax.random.fold_in(key, row), in_axes=(None, 0))

    def corrupted(rows, block):
        keys = noise(jax.random.key(0), rows)
        extra = jax.vmap(lambda key: jax.random.normal(key, (4,)))(keys)
        return block._replace(observations=block.observations + extra)

    def compute(transitions):
        return statistics.observation_statistics(transitions, corrupted, 1000)

    compiled = jax.jit(compute).lower(transitions).compile()
    whole = 100_000 * 8 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < whole / 10


def test_field_deviations():
    transitions = make_transitions(1003)
    result = jax.jit(statistics.field_deviations, static_argnums=1)(transitions, 100)
    for name, deviation in result._asdict().items():
        field = getattr(transitions, name).astype(np.float64)
        np.testing.assert_allclose(deviation, field.std(0), rtol=RTOL)


def test_standardise():
    transitions = make_transitions(500)
    result = statistics.observation_statistics(transitions)
    both = np.concatenate([transitions.observations, transitions.next_observations])
    scaled = statistics.standardise(both, result)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-3)
    std = both.astype(np.float64).std(0)
    np.testing.assert_allclose(scaled.std(0), std / (std + 1e-3), rtol=1e-4)
