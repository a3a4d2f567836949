"""Shapes, initialisers and clamps of the networks, and what a forward pass computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.networks import (
    MLP,
    CriticEnsemble,
    DeterministicPolicy,
    GaussianPolicy,
    TanhGaussianPolicy,
    Value,
    edac_ensemble,
    torch_linear,
)

HIDDEN = (64, 48)
FAN_IN, ACTION_DIM = 36, 4
OBSERVATION_DIM = FAN_IN - ACTION_DIM
OBSERVATION, ACTION = jnp.zeros(OBSERVATION_DIM), jnp.zeros(ACTION_DIM)


def layers_of(params):
    """[(kernel, bias)] in the order of depth."""
    tree = params["params"]
    tree = tree[next(name for name in tree if "MLP" in name)]
    return [(tree[name]["kernel"], tree[name]["bias"]) for name in sorted(tree)]


def assert_uniform_within(values, bound):
    """Inside +-bound, nearly reaching it, and with a uniform's deviation."""
    values = np.asarray(values, np.float64).ravel()
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert np.abs(values).max() > bound * (1 - 8.0 / values.size)
    # Var(x^2) of a uniform gives 5 standard errors of the mean square
    error = 5 * np.sqrt(4 / 45) / np.sqrt(values.size)
    assert abs((values**2).mean() / bound**2 - 1 / 3) < error


def init(module, *inputs, seed=0):
    return jax.jit(module.init)(jax.random.key(seed), *inputs)


def test_value_starts_as_a_torch_linear():
    """Weights and biases in +-1/sqrt(fan_in), the head included."""
    layers = layers_of(init(Value(HIDDEN), jnp.zeros(FAN_IN)))
    for (kernel, bias), fan_in in zip(layers, (FAN_IN, *HIDDEN), strict=True):
        assert kernel.shape[0] == fan_in
        assert_uniform_within(kernel, fan_in**-0.5)
        assert np.abs(bias).max() <= fan_in**-0.5
        assert np.any(bias != 0.0)


def test_gaussian_policy_starts_as_xavier():
    """Weights in +-sqrt(6 / (in + out)), zero biases, log-deviation 0."""
    params = init(GaussianPolicy(HIDDEN, ACTION_DIM), jnp.zeros(FAN_IN))
    for kernel, bias in layers_of(params):
        assert_uniform_within(kernel, np.sqrt(6.0 / sum(kernel.shape)))
        np.testing.assert_array_equal(bias, 0.0)
    np.testing.assert_array_equal(params["params"]["log_std"], np.zeros(ACTION_DIM))


def test_riql_ensemble_starts_as_edac():
    """Bound 1/sqrt(fan_out), biases 0.1; head weights and biases within 3e-3."""
    module = CriticEnsemble(HIDDEN, 5, edac_ensemble)
    *hidden, head = layers_of(init(module, OBSERVATION, ACTION))
    for (kernel, bias), fan_out in zip(hidden, HIDDEN, strict=True):
        assert kernel.shape[0] == 5 and kernel.shape[-1] == fan_out
        assert_uniform_within(kernel, fan_out**-0.5)
        np.testing.assert_array_equal(bias, np.float32(0.1))
    assert_uniform_within(head[0], 3e-3)
    assert np.all(np.abs(head[1]) <= 3e-3) and np.all(head[1] != 0.0)


@pytest.mark.parametrize("layer_init", [torch_linear, edac_ensemble])
def test_ensemble_members_differ_and_match_single_networks(layer_init):
    """Each member is its own MLP on (s, a), with its own draw of weights."""
    module = CriticEnsemble(HIDDEN, 3, layer_init)
    params = init(module, OBSERVATION, ACTION)
    for kernel, _ in layers_of(params):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(kernel[i] - kernel[j]).max() > 1e-3
    rng = np.random.default_rng(0)
    s, a = rng.normal(size=(7, OBSERVATION_DIM)), rng.normal(size=(7, ACTION_DIM))
    q = module.apply(params, jnp.asarray(s), jnp.asarray(a))
    for k in range(3):
        x = np.concatenate([s, a], -1)
        for depth, (kernel, bias) in enumerate(layers_of(params)):
            x = x @ np.asarray(kernel[k], np.float64) + np.asarray(bias[k], np.float64)
            x = np.maximum(x, 0.0) if depth < len(HIDDEN) else x
        np.testing.assert_allclose(q[k], x[:, 0], rtol=1e-5, atol=1e-6)


def test_seeds_give_other_networks():
    """A run's weights come from its own seed."""
    module = MLP(HIDDEN, 1, torch_linear)
    params = [init(module, jnp.zeros(FAN_IN), seed=seed) for seed in (0, 1)]
    a, b = ([np.asarray(x) for x in jax.tree.leaves(p)] for p in params)
    assert all(not np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_gaussian_policy_squashes_its_mean_and_clamps_its_spread():
    """tanh on the mean alone; log-deviation in [-5, 2], the same in every state."""
    module = GaussianPolicy(HIDDEN, ACTION_DIM)
    params = init(module, jnp.zeros(FAN_IN))
    params["params"]["log_std"] = jnp.asarray([-9.0, -1.0, 1.5, 7.0])
    policy = module.apply(params, 100.0 * jnp.ones((2, 6, FAN_IN)))
    assert policy.mean.shape == policy.log_std.shape == (2, 6, ACTION_DIM)
    assert np.abs(policy.mean).max() <= 1.0
    np.testing.assert_array_equal(
        policy.log_std, np.broadcast_to([-5.0, -1.0, 1.5, 2.0], (2, 6, ACTION_DIM))
    )
    x = np.ones(FAN_IN)
    for depth, (kernel, bias) in enumerate(layers_of(params)):
        x = x @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
        x = np.maximum(x, 0.0) if depth < len(HIDDEN) else np.tanh(x)
    mean = module.apply(params, jnp.ones(FAN_IN)).mean
    np.testing.assert_allclose(mean, x, rtol=1e-5, atol=1e-6)


def test_tanh_policy_shares_a_trunk_and_clamps_its_spread():
    """Mean and log-deviation are two heads of one trunk; the latter in [-20, 2]."""
    module = TanhGaussianPolicy(HIDDEN, ACTION_DIM)
    params = init(module, jnp.zeros(FAN_IN))
    tree = params["params"]
    head_shape = (HIDDEN[-1], ACTION_DIM)
    assert tree["mean"]["Dense_0"]["kernel"].shape == head_shape
    assert tree["log_std"]["Dense_0"]["kernel"].shape == head_shape
    assert_uniform_within(tree["mean"]["Dense_0"]["kernel"], HIDDEN[-1] ** -0.5)
    tree["log_std"]["Dense_0"]["bias"] = jnp.asarray([-500.0, 0.0, 0.1, 500.0])
    log_std = module.apply(params, jnp.ones((2, FAN_IN))).log_std
    assert np.all(log_std[:, 0] == -20.0) and np.all(log_std[:, 3] == 2.0)
    x = np.ones((2, FAN_IN))
    for kernel, bias in layers_of(params):
        x = np.maximum(x @ np.asarray(kernel, np.float64) + np.asarray(bias), 0.0)
    head = tree["log_std"]["Dense_0"]
    expected = (x @ np.asarray(head["kernel"], np.float64) + head["bias"])[:, 1:3]
    np.testing.assert_allclose(log_std[:, 1:3], expected, rtol=1e-5, atol=1e-6)


def test_deterministic_policy_is_a_tanh_that_starts_as_a_torch_linear():
    """TD3's actor: PyTorch's default layers, head included, and tanh at the end."""
    module = DeterministicPolicy(HIDDEN, ACTION_DIM)
    layers = layers_of(init(module, jnp.zeros(FAN_IN)))
    for (kernel, bias), fan_in in zip(layers, (FAN_IN, *HIDDEN), strict=True):
        assert_uniform_within(kernel, fan_in**-0.5)
        assert 0.0 < np.abs(bias).max() <= fan_in**-0.5
    inputs = np.random.default_rng(0).normal(size=(2, 3, FAN_IN))
    x = inputs
    for depth, (kernel, bias) in enumerate(layers):
        x = x @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
        x = np.maximum(x, 0.0) if depth < len(HIDDEN) else np.tanh(x)
    params = init(module, jnp.zeros(FAN_IN))
    actions = module.apply(params, jnp.asarray(inputs))
    assert actions.shape == (2, 3, ACTION_DIM)
    np.testing.assert_allclose(actions, x, rtol=1e-5, atol=1e-6)


def test_value_keeps_leading_axes():
    """One state, a batch, or any leading axes: the same network."""
    module = Value(HIDDEN)
    params = init(module, jnp.zeros(FAN_IN))
    for lead in ((), (3,), (2, 3)):
        assert module.apply(params, jnp.ones((*lead, FAN_IN))).shape == lead
