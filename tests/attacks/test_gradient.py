"""Sign descent against closed forms, NumPy, and the loop of RIQL's attack on data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rpex_jax.attacks.gradient import sign_descent

EPSILON, STEPS = 0.3, 10
STEP_SIZE = 2.5 * EPSILON / STEPS  # crosses half of the box in 4 steps
RNG = np.random.default_rng(0)
CRITIC = RNG.normal(size=5)
ACTIONS = np.c_[RNG.uniform(-1, 1, (6, 4)), np.zeros(6)]  # the last joint is at rest
MATRIX = RNG.normal(size=(5, 5))


def linear(delta, action):
    """w . a (1 + delta)"""
    return jnp.asarray(CRITIC, jnp.float32) @ (action * (1 + delta))


def curved(x):
    """Not convex, and its coordinates are coupled."""
    return jnp.sin(4 * (jnp.asarray(MATRIX, jnp.float32) @ x)).sum()


def attack(action, num_steps):
    return sign_descent(
        lambda delta: linear(delta, action),
        jnp.zeros_like(action),
        -EPSILON,
        EPSILON,
        num_steps=num_steps,
        step_size=STEP_SIZE,
    )


def test_a_linear_critic_is_driven_to_a_corner():
    """delta = -epsilon sign(w a) after ceil(epsilon / step) steps and not before; a
    joint at rest has no gradient and stays. The value falls with each step."""
    actions = jnp.asarray(ACTIONS, jnp.float32)
    deltas = [jax.vmap(lambda a, n=n: attack(a, n))(actions) for n in (0, 1, 3, 4, 10)]
    signs = np.sign(CRITIC * ACTIONS)
    np.testing.assert_array_equal(deltas[0], np.zeros_like(signs))
    np.testing.assert_allclose(deltas[2], -3 * STEP_SIZE * signs, atol=1e-6)
    for delta in deltas[3:]:
        np.testing.assert_array_equal(delta, -np.float32(EPSILON) * signs)
    values = [jax.vmap(linear)(delta, actions) for delta in deltas]
    assert (np.diff(values, axis=0) <= 0).all()
    np.testing.assert_allclose(
        values[-1] - values[0],
        -EPSILON * np.abs(CRITIC * ACTIONS).sum(axis=1),
        rtol=1e-5,
    )


def test_each_step_is_numpys():
    """With the analytic gradient in float64, in a box that is not symmetric; so sign,
    step and clip are where they should be."""
    low = np.array([-0.3, -0.1, 0.0, -1.0, -0.2])
    high = np.array([0.2, 0.1, 0.5, 1.0, 0.2])
    x = np.array([0.1, 0.0, 0.9, -0.4, -0.6])  # partly outside
    ours = sign_descent(
        curved, jnp.asarray(x, jnp.float32), low, high, num_steps=7, step_size=0.06
    )
    for _ in range(7):
        gradient = MATRIX.T @ (4 * np.cos(4 * MATRIX @ x))
        x = np.clip(x - 0.06 * np.sign(gradient), low, high)
    np.testing.assert_allclose(ours, x, atol=1e-6)
    inside = (ours > low) & (ours < high)
    assert inside.any() and not inside.all()


def test_it_is_riqls_attack_on_data():
    """An Adam made anew in each step, then a clamp; all rows in one mean over critics,
    which attacks each row as if alone."""
    weights = jnp.asarray(RNG.normal(size=(3, 5, 8)), jnp.float32)

    def mean_q(rows):
        return jnp.tanh(rows @ weights).sum(-1).mean()

    start = jnp.asarray(2 * EPSILON * (RNG.uniform(size=(6, 5)) - 0.5), jnp.float32)
    start = 1.7 * start  # RIQL starts with a factor that may leave the box
    rate = 0.01 * EPSILON

    @jax.jit
    def riql_step(z):
        adam = optax.adam(rate)
        updates, _ = adam.update(jax.grad(mean_q)(z), adam.init(z))
        return jnp.clip(optax.apply_updates(z, updates), -EPSILON, EPSILON)

    z = start
    for _ in range(20):
        z = riql_step(z)

    def run(objective, start):
        return sign_descent(
            objective, start, -EPSILON, EPSILON, num_steps=20, step_size=rate
        )

    # Adam divides by |g| + 1e-8: a small gradient's step is shorter by its share.
    np.testing.assert_allclose(run(mean_q, start), z, atol=1e-5)
    alone = jax.vmap(lambda row: run(mean_q, row))(start)
    np.testing.assert_allclose(alone, z, atol=1e-5)


def test_batched_is_a_python_loop_and_stays_in_the_box():
    """Boxes and steps may differ between rows of one program."""
    starts = jnp.asarray(RNG.uniform(-0.3, 0.3, (4, 5)), jnp.float32)
    bounds = jnp.asarray([0.05, 0.3, 0.3, 1.0])
    step_sizes = jnp.asarray([0.04, 0.04, 0.2, 0.3])

    @jax.jit
    def one(start, bound, step_size):
        return sign_descent(
            curved, start, -bound, bound, num_steps=STEPS, step_size=step_size
        )

    batched = jax.vmap(one)(starts, bounds, step_sizes)
    alone = [one(*row) for row in zip(starts, bounds, step_sizes, strict=True)]
    np.testing.assert_allclose(batched, alone, atol=1e-6)
    assert (np.abs(batched) <= bounds[:, None]).all()
    assert jax.vmap(curved)(batched).mean() < jax.vmap(curved)(starts).mean() - 1


def test_no_steps():
    start = jnp.asarray([0.2, -0.5])
    ours = sign_descent(jnp.sum, start, -1.0, 1.0, num_steps=0, step_size=0.1)
    np.testing.assert_array_equal(ours, start)
