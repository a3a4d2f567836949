"""What training knows of an environment; anyone can write one."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rpex_jax.types import Array, Key, Spec


class EnvState(NamedTuple):
    """One environment after a step, not yet reset."""

    physics: Any  # what the environment needs to go on; a PhysicsState in our tasks
    observation: Array  # [observation_dim]
    reward: Array  # []
    terminated: Array  # [], bool: the task ended
    truncated: Array  # [], bool: cut short from inside the environment
    time: Array  # [], int32, steps since the reset
    failed: Array  # [], bool: physics was not finite
    readings: Any = ()  # of the physics engine, beyond its state, where a task needs it


class Env(NamedTuple):
    """The functions of one environment, all pure but for those of `bridge`."""

    name: str
    spec: Spec
    reset: Callable[[Key], EnvState]
    step: Callable[[EnvState, Array], EnvState]  # no reset, no time limit
    time_limit: int  # steps
    # (key, state, ended) -> state, reset where ended. For environments that live
    # outside and cannot be reset speculatively; the others have None.
    reset_where: Callable[[Key, EnvState, Array], EnvState] | None = None


def check_action(action: Array, action_dim: int) -> None:
    """Raises a `ValueError` unless it is one action, [action_dim]."""
    if action.shape != (action_dim,):
        raise ValueError(
            f"the action has shape {action.shape}; it must be {(action_dim,)}"
        )
