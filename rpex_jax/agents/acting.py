"""Agents that act and never learn."""

from collections.abc import Callable

from rpex_jax.types import Agent


def acting(act: Callable, policy: Callable | None = None) -> Agent:
    """An agent of these functions alone; its updates leave its state as it is."""
    return Agent(
        init=lambda key, spec, config: (),
        update=lambda key, state, batch, config: (state, {}),
        act=act,
        policy=policy,
        action_value=None,
        state_value=None,
        restart=lambda state: state,
    )
