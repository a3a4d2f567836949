"""Selection against the formulas and check values."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.selection import LOGITS, printed_logits, select, selection_logits

TOLERANCE = 1e-6  # relative; the published check values have seven digits

# RPEX with kappa 0.1, lambda 3, action dim 3: the offline policy at its mode with
# sigma 0.2, the online one with sigma 1 and every coordinate 0.5 from the mean.
LOG_DENSITIES = jnp.asarray([2.071498, -3.131816])
Q = jnp.asarray([1.0, 1.2])
CHECK_VALUES = [
    (1.1, 0.1, (2.9987400, 3.8291502), (0.303558, 0.696442)),
    (1.5, 0.1, (2.9937002, 2.9125493), (0.520276, 0.479724)),
    (1.1, 0.0, (3.0, 3.6), (0.354344, 0.645656)),
    (1.5, 0.0, (3.0, 3.6), (0.354344, 0.645656)),
]


def numpy_weights(q, v, log_p, clip=(-1e4, 1e2)):
    return np.clip((q - v[..., None]) / (np.exp(log_p) + 1e-6), *clip)


def random_selection(num, seed=0, shape=(6,)):
    """Float64 Q, V and log-densities of realistic size."""
    rng = np.random.default_rng(seed)
    q = rng.normal(1.0, 2.0, (*shape, num))
    return q, rng.normal(1.0, 2.0, shape), rng.uniform(-9.0, 8.0, (*shape, num))


@pytest.mark.parametrize(("v", "kappa", "logits", "probabilities"), CHECK_VALUES)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_logits_at_the_check_values(v, kappa, logits, probabilities, wrap):
    """RPEX for V below and above Q, and PEX, which does not look at V."""
    ours = wrap(selection_logits)(Q, jnp.float32(v), LOG_DENSITIES, 3.0, kappa)
    np.testing.assert_allclose(ours, logits, rtol=TOLERANCE, atol=0)
    np.testing.assert_allclose(jax.nn.softmax(ours), probabilities, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num", [2, 4, 8, 16])
def test_logits_for_any_number_of_members(num):
    """lambda Q + kappa clip((Q - V) / (p + 1e-6)) for K members, batched and single."""
    q, v, log_p = random_selection(num)
    expected = 3.0 * q + 0.1 * numpy_weights(q, v, log_p)
    arrays = [jnp.asarray(x) for x in (q, v, log_p)]
    batched = jax.jit(selection_logits)(*arrays, 3.0, 0.1)
    assert batched.shape == (6, num)
    scale = np.maximum(np.abs(expected), 1.0)
    assert np.all(np.abs(batched - expected) < 2e-5 * scale)
    single = selection_logits(*(x[0] for x in arrays), 3.0, 0.1)
    np.testing.assert_allclose(single, batched[0], rtol=TOLERANCE)


def test_correction_is_clipped_on_both_sides():
    """A tail action (density near 0) moves a logit by -1000 or +10, no further."""
    logits = selection_logits(
        jnp.asarray([-1.0, 1.0]), jnp.float32(0.0), jnp.full(2, -50.0), 3.0, 0.1
    )
    np.testing.assert_allclose(logits, [-3.0 - 1000.0, 3.0 + 10.0], rtol=TOLERANCE)


def test_density_floor_decides_the_weight_of_a_tail():
    """With p = 0 the weight is (Q - V) / 1e-6: here 50 and -5000, inside the clip."""
    logits = selection_logits(
        jnp.asarray([5e-5, -5e-3]), jnp.float32(0.0), jnp.full(2, -200.0), 0.0, 1.0
    )
    np.testing.assert_allclose(logits, [50.0, -5000.0], rtol=1e-5)


@pytest.mark.parametrize("form", sorted(LOGITS))
@pytest.mark.parametrize("log_p", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_extreme_densities_and_values_stay_finite(form, log_p, scale):
    """Log-densities of +-1000: exp would overflow; logits and gradients must not."""
    q = scale * jnp.asarray([-1.0, 0.5, 1.0])

    def total(q, v, log_densities):
        logits = LOGITS[form](q, v, log_densities, 3.0, 0.1)
        return logits.sum(), logits

    inputs = (q, jnp.float32(0.1), jnp.asarray([log_p, 0.0, -log_p]))
    gradients, logits = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*inputs)
    chex.assert_tree_all_finite((logits, gradients))
    chex.assert_tree_all_finite(jax.nn.softmax(logits))


@pytest.mark.parametrize("num", [2, 8])
def test_kappa_zero_is_pex_bit_for_bit(num):
    """PEX is a number, not another program: its logits are lambda Q exactly."""
    q, v, log_p = (jnp.asarray(x) for x in random_selection(num))
    for log_densities in (log_p, jnp.full_like(log_p, -1e3)):
        logits = selection_logits(q, v, log_densities, 3.0, 0.0)
        np.testing.assert_array_equal(logits, 3.0 * q)


@pytest.mark.parametrize("num", [2, 4])
def test_printed_form_is_the_printed_equation(num):
    """Where exp(lambda Q) + kappa w is positive, its share is the probability."""
    q, v, log_p = random_selection(num, seed=1, shape=(200,))
    log_p = log_p / 3.0
    sums = np.exp(3.0 * q) + 0.1 * numpy_weights(q, v, log_p)
    positive = np.all(sums > 1e-2 * np.exp(3.0 * q), axis=-1)
    assert 10 < positive.sum() < 200
    expected = (sums / sums.sum(-1, keepdims=True))[positive]
    arrays = [jnp.asarray(x) for x in (q, v, log_p)]
    ours = jax.nn.softmax(printed_logits(*arrays, 3.0, 0.1))[positive]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("offset", [30.0, 1e3, 1e5])
def test_printed_form_where_values_are_low(offset):
    """exp(lambda Q) vanishes beside kappa w, so that shares are those of w: 5, 15."""
    q = jnp.asarray([-40.0, -30.0]) - offset
    logits = printed_logits(q, jnp.float32(-45 - offset), jnp.zeros(2), 3.0, 0.1)
    np.testing.assert_allclose(jax.nn.softmax(logits), [0.25, 0.75], rtol=1e-5)


def test_printed_form_guards_negative_numerators():
    """A numerator below 0 is no probability: it becomes 1e-6 of the plain one."""
    args = (jnp.asarray([-1.0, 1.0]), jnp.float32(0.0), jnp.full(2, -3.0), 3.0, 0.1)
    logits = printed_logits(*args)
    np.testing.assert_allclose(logits[0], -3.0 + np.log(1e-6), rtol=TOLERANCE)
    expected = np.log(np.exp(3.0) + 0.1 / (np.exp(-3.0) + 1e-6))
    np.testing.assert_allclose(logits[1], expected, rtol=TOLERANCE)


def test_select_without_epsilon_is_greedy():
    """The highest logit, whatever the key; indices follow the leading axes."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 4)))
    for seed in range(5):
        choice = select(jax.random.key(seed), logits, 0.0)
        np.testing.assert_array_equal(choice, logits.argmax(-1))


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
def test_select_draws_from_the_softmax_with_probability_epsilon(epsilon):
    """Pearson's chi-square of 20 000 draws, K = 4, below its 1 - 1e-5 quantile."""
    n, logits = 20_000, np.array([0.0, 1.0, -1.0, 0.5])
    share = np.exp(logits) / np.exp(logits).sum()
    expected = epsilon * share + (1.0 - epsilon) * np.eye(4)[1]
    choice = select(
        jax.random.key(7), jnp.broadcast_to(jnp.asarray(logits), (n, 4)), epsilon
    )
    counts = np.bincount(choice, minlength=4)
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum()
    assert chi_square < 25.9  # three degrees of freedom
