"""Perturbed actuators: what is executed is not what the policy meant.

    executed = clip(clip(a, -1, 1) (1 + delta), -1, 1)    with probability q, else a

delta is drawn once an episode, from a box or from a set of attacks, or found anew in
each step by PGD on a critic. The perturbation is a part of the world: `perturbed(env)`
is an environment too, so whoever stores transitions stores the intended action, next to
the reward and the next observation of the executed one.

Source: arXiv 2510.13358, equations 8 and 12. The clipping is our choice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.attacks.curriculum import Curriculum
from rpex_jax.attacks.gradient import sign_descent
from rpex_jax.envs.base import Env, EnvState
from rpex_jax.types import Array, Key, static

# `split` and `fold_in` of one key can agree at small numbers; no split is as wide.
_FAULT_STREAM = 2**31 - 1


@struct.dataclass
class PGDSettings:
    """Of the attack that finds delta anew in every step; both are our choice."""

    num_steps: int = static(10)
    step_size: Any = 2.5  # beta, in units of bound / num_steps


@struct.dataclass
class Perturbation:
    """How the episodes of one run are perturbed; numbers take a run axis."""

    members: Array  # [K, action_dim], the set that deltas are drawn from
    bound: Any = 0.3  # epsilon: deltas of the box and of PGD lie in [-bound, bound]
    uniform: Any = 0.0  # share of perturbed episodes with a delta of the box
    curriculum: Curriculum = struct.field(default_factory=Curriculum)
    pgd: PGDSettings | None = None  # None: delta is that of the episode


class Fault(NamedTuple):
    """What is wrong with the actuators in one episode."""

    hit: Array  # [], 1.0 where the episode is perturbed, else 0.0
    delta: Array  # [action_dim]


class Faulty(NamedTuple):
    """The physics of a perturbed environment."""

    physics: Any
    fault: Fault


# (raw observation [observation_dim], action [action_dim]) -> delta [action_dim]
Attack = Callable[[Array, Array], Array]


def perturb(action: Array, delta: Array) -> Array:
    """What is executed: [..., action_dim], in [-1, 1]; `action` clipped if delta is 0.

    The inner clip is the actuator's range for what is meant; without the outer one a
    scaled-up action would cost reward and move nothing.
    """
    return jnp.clip(jnp.clip(action, -1.0, 1.0) * (1.0 + delta), -1.0, 1.0)


def draw_fault(key: Key, q: Array, perturbation: Perturbation) -> Fault:
    """The fault of a new episode, which is hit with probability q."""
    key_hit, key_which, key_box, key_member = jax.random.split(key, 4)
    members = perturbation.members
    member = members[jax.random.randint(key_member, (), 0, len(members))]
    box = uniform_deltas(key_box, member.shape, perturbation.bound)
    in_box = jax.random.uniform(key_which) < perturbation.uniform
    hit = jax.random.uniform(key_hit) < q  # in [0, 1): never at 0, always at 1
    return Fault(hit.astype(jnp.float32), jnp.where(in_box, box, member))


def uniform_deltas(key: Key, shape: tuple[int, ...], bound: Array) -> Array:
    """delta ~ U([-bound, bound]), equation 12."""
    return bound * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def with_fault(state: EnvState, fault: Fault) -> EnvState:
    """The state of an environment as one of the perturbed environment."""
    return state._replace(physics=Faulty(state.physics, fault))


def perturbed(
    env: Env, draw: Callable[[Key], Fault] | None = None, attack: Attack | None = None
) -> Env:
    """The environment with faulty actuators.

    Args:
      env: any environment.
      draw: the fault of an episode, at its start; from a key that resets do not use,
        so episodes that are not hit are those of `env`, bit for bit. None where all
        states come from `with_fault`.
      attack: finds delta anew in every step; None leaves that of the episode.
    """

    def reset(key: Key) -> EnvState:
        fault = draw(jax.random.fold_in(key, _FAULT_STREAM))
        return with_fault(env.reset(key), fault)

    def step(state: EnvState, action: Array) -> EnvState:
        physics, fault = state.physics
        delta = attack(state.observation, action) if attack else fault.delta
        executed = perturb(action, fault.hit * delta)
        return with_fault(env.step(state._replace(physics=physics), executed), fault)

    def reset_where(key: Key, state: EnvState, ended: Array) -> EnvState:
        physics, old = state.physics
        new = draw(jax.random.fold_in(key, _FAULT_STREAM))
        fault = jax.tree.map(lambda new, old: jnp.where(ended, new, old), new, old)
        state = env.reset_where(key, state._replace(physics=physics), ended)
        return with_fault(state, fault)

    return env._replace(
        reset=reset, step=step, reset_where=env.reset_where and reset_where
    )


def pgd(
    value: Callable[[Array], Array],
    action: Array,
    bound: Array,
    settings: PGDSettings,
) -> Array:
    """delta in [-bound, bound] that lowers `value` of the executed action.

        delta := clip(delta - beta sign(d value(a (1 + delta)) / d delta), +- bound)

    Starts at 0; beta = step_size bound / num_steps. The gradient passes over the clip
    of what is executed, or saturated joints could not be attacked.

    Args:
      value: of one action [action_dim] -> []; a critic at the present observation.
      action: [action_dim], intended.
      bound: [], epsilon.
      settings: of the descent.

    Raises:
      ValueError: there is no step.

    Source: arXiv 2510.13358, appendix E.
    """
    num_steps = settings.num_steps
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; it must be at least 1")
    action = jnp.clip(action, -1.0, 1.0)
    box = jnp.full_like(action, bound)
    return sign_descent(
        lambda delta: value(action * (1.0 + delta)),
        jnp.zeros_like(action),
        -box,
        box,
        num_steps=num_steps,
        step_size=settings.step_size * bound / num_steps,
    )
