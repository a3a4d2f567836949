"""Adam, the cosine schedule and the soft update, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.optimizers import adam_init, adam_step, cosine, polyak


def numpy_adam(gradients, start, rates):
    x, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return x


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # 1 - 0.999^t costs float32 four digits, half of them under the root
    [("float32", 5e-5), ("float64", 1e-12)],
)
def test_ten_steps_of_adam(precision, tolerance):
    """Ten steps with a rate that changes, over gradients from 1e-8 to 1e2.

    The smallest are near Adam's epsilon, whose place in the formula they pin.
    """
    rng = np.random.default_rng(0)
    scale = 10.0 ** np.arange(-8, 3)
    gradients = rng.normal(size=(10, 11)) * scale
    start, rates = rng.normal(size=11), np.linspace(1.0, 0.1, 10)
    expected = numpy_adam(gradients, start, rates)
    with jax.enable_x64(precision == "float64"):
        params, step = {"w": jnp.asarray(start)}, jax.jit(adam_step)
        state = adam_init(params)
        for g, rate in zip(gradients, rates, strict=True):
            params, state = step({"w": jnp.asarray(g)}, state, params, rate)
    assert int(state.count) == 10
    assert params["w"].dtype == precision
    np.testing.assert_allclose(params["w"], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("decay_steps", [1, 20, 2_000_001])
def test_cosine_is_torch_cosine_annealing(decay_steps):
    """Torch: lr = base (1 + cos(pi t / T)) / 2 after t steps, down to 0 at T."""
    counts = np.unique(np.linspace(0, decay_steps, 11).astype(int))
    expected = 0.5 * (1.0 + np.cos(np.pi * counts / decay_steps))
    ours = jax.jit(cosine)(jnp.asarray(counts), float(decay_steps))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-7)
    assert cosine(jnp.int32(0), decay_steps) == 1.0
    assert abs(cosine(jnp.int32(decay_steps), decay_steps)) < 1e-7


def test_cosine_stays_at_zero_after_the_end():
    """Longer training than planned must not raise the rate again."""
    late = cosine(jnp.asarray([20, 21, 40, 1000]), 20.0)
    np.testing.assert_allclose(late, 0.0, atol=1e-7)


def test_infinite_decay_holds_the_rate_constant():
    """Exactly 1, for any count: fine-tuning has no schedule."""
    counts = jnp.asarray([0, 1, 10, 2_000_000])
    np.testing.assert_array_equal(cosine(counts, float("inf")), 1.0)


def test_polyak_moves_by_the_share_of_the_new():
    """`rate` is the share of the new weights, not of the old."""
    new, old = {"w": jnp.asarray([1.0, 4.0])}, {"w": jnp.asarray([3.0, 0.0])}
    np.testing.assert_allclose(polyak(new, old, 0.25)["w"], [2.5, 1.0], rtol=1e-7)
    np.testing.assert_array_equal(polyak(new, old, 0.0)["w"], old["w"])
    np.testing.assert_array_equal(polyak(new, old, 1.0)["w"], new["w"])
