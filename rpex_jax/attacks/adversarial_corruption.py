"""Adversarial corruption of stored data: the shift that an ensemble's values mind most.

    z := clip(z - step sign(d objective / dz), -scale, scale),  z ~ U(-scale, scale)

    observation  mean_k Q_k(s + z std(s), a)
    action       mean_k Q_k(s, a + z std(a))
    dynamics     mean_k Q_k(s', pi(s')),  s' := s' + z std(s')

Each element on its own, the others clean. Critics and policy are those of an EDAC agent
that was trained on clean data. Rows are raw; they are standardised on their way into
the networks, so bounds mean the same whatever the agent under attack does with them.

Source: RIQL, arXiv 2310.12955, and RPEX, arXiv 2509.24748, both attack.py. Their Adam
is new in each step, and its first step is its rate times the sign of the gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.agents import sac
from rpex_jax.agents.critics import apply_critics
from rpex_jax.attacks.corruption import ELEMENTS, Shifts
from rpex_jax.attacks.gradient import sign_descent
from rpex_jax.data.statistics import (
    FieldDeviations,
    ObservationStatistics,
    standardise,
)
from rpex_jax.types import Array, Key, Transition


class Attacker(NamedTuple):
    """Whose values are attacked: an EDAC agent, or any of SAC's form."""

    agent: sac.SACState
    statistics: ObservationStatistics  # of the data that it was trained on
    config: sac.SACConfig


class Descent(NamedTuple):
    """How hard an attack tries."""

    num_steps: int
    step_size: float  # over the scale


# Wide enough to cross the box. The released code has steps of 0.01, which lead from a
# bound to 0, and starts scaled by the deviations twice: where these are above 1, mostly
# at a bound.
OFFLINE = Descent(num_steps=100, step_size=0.02)
ONLINE = Descent(num_steps=2, step_size=0.1)


def action_value(attacker: Attacker, observations: Array, actions: Array) -> Array:
    """mean_k Q_k(s, a) at raw observations, [...]; what attacks on data lower."""
    seen = standardise(observations, attacker.statistics)
    return apply_critics(attacker.agent.critic, seen, actions, attacker.config).mean(0)


def policy_value(key: Key, attacker: Attacker, observations: Array) -> Array:
    """mean_k Q_k(s, a), a ~ pi(. | s), at raw observations; `key` decides the noise."""
    seen = standardise(observations, attacker.statistics)
    policy = sac.policy(attacker.agent, seen, attacker.config)
    return action_value(attacker, observations, policy.sample(key))


def attack(
    key: Key,
    rows: Transition,
    attacker: Attacker,
    scale: Any,
    deviations: FieldDeviations,
    descent: Descent,
    elements: tuple[str, ...] = ELEMENTS,
) -> Shifts:
    """The shifts that adversarial damage of these rows would be, in deviations.

    Args:
      key: decides where descents start, and the policy's noise, fixed within one.
      rows: raw and clean, [n, ...].
      attacker: whose values fall.
      scale: the bound of every coordinate, [4] by element, as `Corruption.scale`.
      deviations: the unit of shifts per dimension.
      descent: `OFFLINE` or `ONLINE`.
      elements: that are attacked; the others' shifts are zeros.

    Returns:
      Shifts within +-scale, [n, ...].
    """
    key_starts, key_policy = jax.random.split(key)
    starts = jax.random.split(key_starts, 3)

    def descend(element, key, objective, values, deviation):
        if element not in elements:
            return jnp.zeros_like(values)
        bound = scale[ELEMENTS.index(element)]
        start = bound * jax.random.uniform(key, values.shape, minval=-1.0)
        return sign_descent(
            lambda z: objective(values + z * deviation).sum(),
            start,
            -bound,
            bound,
            num_steps=descent.num_steps,
            step_size=descent.step_size * bound,
        )

    return Shifts(
        observations=descend(
            "observation",
            starts[0],
            lambda s: action_value(attacker, s, rows.actions),
            rows.observations,
            deviations.observations,
        ),
        actions=descend(
            "action",
            starts[1],
            lambda a: action_value(attacker, rows.observations, a),
            rows.actions,
            deviations.actions,
        ),
        next_observations=descend(
            "dynamics",
            starts[2],
            lambda s: policy_value(key_policy, attacker, s),
            rows.next_observations,
            deviations.next_observations,
        ),
    )
