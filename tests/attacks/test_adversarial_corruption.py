"""Adversarial corruption: bounds, that values fall, and every step against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import AGENTS, sac
from rpex_jax.agents.edac import EDACConfig
from rpex_jax.attacks import adversarial_corruption
from rpex_jax.attacks.adversarial_corruption import OFFLINE, ONLINE, Attacker, Descent
from rpex_jax.attacks.corruption import (
    ELEMENTS,
    Shifts,
    corrupt,
    corruption,
    mixed,
    row_keys,
)
from rpex_jax.data.statistics import (
    FieldDeviations,
    ObservationStatistics,
    standardise,
)
from rpex_jax.types import Spec, Transition

N, SPEC = 64, Spec(observation_dim=3, action_dim=2)
FIELDS = dict(zip(("observation", "action", "dynamics"), Shifts._fields, strict=True))
SCALE = jnp.array([1.0, 0.5, 2.0, 0.25])  # by element
DEVIATIONS = FieldDeviations(
    observations=jnp.array([0.5, 2.0, 7.0]),
    actions=jnp.array([0.3, 0.6]),
    next_observations=jnp.array([0.6, 2.5, 6.0]),
)
STATISTICS = ObservationStatistics(
    jnp.array([1.0, -2.0, 0.5]), jnp.array([2.0, 3, 0.7])
)


def make_rows() -> Transition:
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32),
        Transition(
            observations=rng.normal(1, 3, (N, 3)),
            actions=rng.uniform(-1, 1, (N, 2)),
            rewards=rng.normal(size=N),
            next_observations=rng.normal(1, 3, (N, 3)),
            terminations=np.zeros(N),
        ),
    )


ROWS = make_rows()


def make_attacker() -> Attacker:
    """Untrained, with heads that are large enough to tell actions apart."""
    config = EDACConfig(hidden_dims=(16, 16), num_critics=4)
    state = AGENTS["edac"].init(jax.random.key(7), SPEC, config)
    larger = jax.tree.map(lambda x: 100 * x, state.critic["params"])
    return Attacker(state._replace(critic={"params": larger}), STATISTICS, config)


ATTACKER = make_attacker()


def attack(descent, elements=ELEMENTS, key=0) -> Shifts:
    return adversarial_corruption.attack(
        jax.random.key(key),
        ROWS,
        ATTACKER,
        SCALE,
        DEVIATIONS,
        descent,
        elements,
    )


def values(element, shifts):
    """mean_k Q_k where the attack would have it low; the policy's noise is fixed."""
    moved = jax.tree.map(
        lambda x, z, unit: x + z * unit,
        Shifts(ROWS.observations, ROWS.actions, ROWS.next_observations),
        shifts,
        Shifts(*DEVIATIONS),
    )
    if element == "observation":
        return adversarial_corruption.action_value(
            ATTACKER, moved.observations, ROWS.actions
        )
    if element == "action":
        return adversarial_corruption.action_value(
            ATTACKER, ROWS.observations, moved.actions
        )
    noise = jax.random.split(jax.random.key(0))[1]
    return adversarial_corruption.policy_value(noise, ATTACKER, moved.next_observations)


def random_shifts() -> Shifts:
    rng = np.random.default_rng(4)
    shapes = Shifts(ROWS.observations, ROWS.actions, ROWS.next_observations)
    draws = (
        rng.uniform(-1, 1, x.shape) * SCALE[i]
        for x, i in zip(shapes, (0, 1, 3), strict=True)
    )
    return Shifts(*map(jnp.asarray, draws))


def test_the_papers_descents():
    """Two steps of a tenth of the scale online. Offline a hundred that cross the box,
    wherever they start: the released ones of 0.01 would go half as far."""
    assert ONLINE == Descent(2, 0.1)
    assert OFFLINE.num_steps == 100 and OFFLINE.num_steps * OFFLINE.step_size == 2


@pytest.mark.parametrize("descent", [OFFLINE, ONLINE])
def test_bounds_are_never_exceeded(descent):
    for name, shift in attack(descent)._asdict().items():
        bound = SCALE[ELEMENTS.index({v: k for k, v in FIELDS.items()}[name])]
        assert abs(shift).max() <= bound
        assert abs(shift).max() > 0.9 * bound


@pytest.mark.parametrize("element", FIELDS)
def test_values_fall(element):
    """Offline for nine rows of ten, and much further than by random damage."""
    nothing = jax.tree.map(jnp.zeros_like, random_shifts())
    clean, noisy, attacked = (
        np.asarray(values(element, shifts))
        for shifts in (nothing, random_shifts(), attack(OFFLINE))
    )
    assert (attacked < clean).mean() > 0.9
    assert (clean - attacked).mean() > 5 * abs((clean - noisy).mean())
    # Two steps from a random start are better than the start.
    start, after = attack(Descent(0, 0.1)), attack(ONLINE)
    assert values(element, after).mean() < values(element, start).mean()


def numpy_value(observations, actions):
    """mean_k Q_k in float64, from the weights."""
    layers = ATTACKER.agent.critic["params"]
    (layers,) = layers.values()
    x = (observations - np.asarray(STATISTICS.mean)) / np.asarray(STATISTICS.std)
    x = np.concatenate([x, actions], -1)
    hidden = np.repeat(x[None], 4, 0)
    for depth in range(3):
        dense = layers[f"Dense_{depth}"]
        kernel, bias = (np.asarray(dense[k], np.float64) for k in ("kernel", "bias"))
        hidden = hidden @ kernel + bias[:, None]
        hidden = hidden if depth == 2 else np.maximum(hidden, 0)
    return hidden[..., 0].mean(0)


@jax.jit
def policy_sample(observations):
    """The attacker's action at raw states, with the noise of `attack`'s key 0."""
    noise = jax.random.split(jax.random.key(0))[1]
    seen = standardise(observations, STATISTICS)
    return sac.policy(ATTACKER.agent, seen, ATTACKER.config).sample(noise)


@pytest.mark.parametrize(
    ("element", "step"), [("observation", 1e-6), ("action", 1e-6), ("dynamics", 1e-3)]
)
def test_one_step_against_finite_differences(element, step):
    """z := clip(z - step sign(dQ/dz)), coordinate by coordinate; values in float64,
    the policy's action in float32, which wants a larger step."""
    start = np.asarray(getattr(attack(Descent(0, 0.1)), FIELDS[element]), np.float64)
    after = np.asarray(getattr(attack(Descent(1, 0.1)), FIELDS[element]))
    unit = np.asarray(getattr(DEVIATIONS, FIELDS[element]))
    bound = float(SCALE[ELEMENTS.index(element)])

    def value(z):
        s, a = np.asarray(ROWS.observations), np.asarray(ROWS.actions)
        if element == "observation":
            return numpy_value(s + z * unit, a)
        if element == "dynamics":
            s = np.asarray(ROWS.next_observations) + z * unit
            return numpy_value(s, np.asarray(policy_sample(s)))
        return numpy_value(s, a + z * unit)

    for column in range(start.shape[1]):
        nudge = step * np.eye(start.shape[1])[column]
        slope = (value(start + nudge) - value(start - nudge)) / (2 * step)
        expected = np.clip(
            start[:, column] - 0.1 * bound * np.sign(slope), -bound, bound
        )
        np.testing.assert_allclose(after[:, column], expected, atol=1e-6)


def test_elements_that_are_not_attacked_stay():
    """And the others do not notice."""
    shifts = attack(OFFLINE, elements=("action",))
    assert not shifts.observations.any() and not shifts.next_observations.any()
    np.testing.assert_array_equal(shifts.actions, attack(OFFLINE).actions)


def test_policy_noise_is_fixed_within_a_descent_and_new_with_the_key():
    once, again, other = (attack(OFFLINE, key=key) for key in (0, 0, 1))
    np.testing.assert_array_equal(once.next_observations, again.next_observations)
    assert (once.next_observations != other.next_observations).any()


def test_rows_take_their_shifts_and_rewards_turn_round():
    """s + shift std(s), r := -scale r; and the same rows are hit as at random."""
    keys = row_keys(jax.random.key(2), jnp.arange(N))
    shifts = attack(OFFLINE)
    told = corruption(ELEMENTS, rate=0.5, scale=0.5)
    at_random = corrupt(keys, ROWS, told, DEVIATIONS)
    told = told.replace(adversarial=jnp.ones(4))
    attacked = corrupt(keys, ROWS, told, DEVIATIONS, shifts)
    for name in ("observations", "actions", "next_observations"):
        clean = np.asarray(getattr(ROWS, name))
        hit = (np.asarray(getattr(at_random, name)) != clean).any(1)
        assert 10 < hit.sum() < N - 10
        moved = clean + np.asarray(getattr(shifts, name) * getattr(DEVIATIONS, name))
        expected = np.where(hit[:, None], moved, clean)
        np.testing.assert_allclose(getattr(attacked, name), expected, rtol=1e-6)
    hit = np.asarray(at_random.rewards != ROWS.rewards)
    expected = np.where(hit, -0.5 * ROWS.rewards, ROWS.rewards)
    np.testing.assert_array_equal(attacked.rewards, expected)


def test_kinds_mix_by_element():
    """Random rewards beside attacked actions, each at its own rate and scale."""
    told = mixed(
        [
            corruption(("reward",), 0.2, 0.1),
            corruption(("action",), 0.7, 0.5, adversarial=True),
        ]
    )
    np.testing.assert_allclose(told.rate, [0, 0.7, 0.2, 0])
    np.testing.assert_allclose(told.scale, [0, 0.5, 0.1, 0])
    np.testing.assert_array_equal(told.adversarial, [0, 1, 0, 0])
