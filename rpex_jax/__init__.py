"""Robust offline-to-online reinforcement learning in JAX, as pure functions."""

from importlib.metadata import version

from rpex_jax.agents import AGENTS
from rpex_jax.attacks.corruption import Corruption, corrupt, corruption
from rpex_jax.data.sources import load
from rpex_jax.envs import make
from rpex_jax.expansion import expand, policy_set
from rpex_jax.methods import METHODS
from rpex_jax.selection import select, selection_logits
from rpex_jax.types import Agent, Spec, Transition

__version__ = version("rpex_jax")

__all__ = [
    "AGENTS",
    "METHODS",
    "Agent",
    "Corruption",
    "Spec",
    "Transition",
    "corrupt",
    "corruption",
    "expand",
    "load",
    "make",
    "policy_set",
    "select",
    "selection_logits",
]
