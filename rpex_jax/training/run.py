"""What a run is told, and where its randomness comes from."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from rpex_jax.attacks.corruption import Corruption
from rpex_jax.attacks.perturbation import Perturbation
from rpex_jax.data.balanced_replay import BalanceConfig
from rpex_jax.types import Agent, Array, Key, Transition

# One independent stream of randomness for each purpose; a run's seed decides them all.
STREAMS = (
    "init",
    "data",
    "offline",
    "expansion",
    "env",
    "online",
    "evaluation",
    "curriculum",
    "attack",
    "prefill",
)


@struct.dataclass
class RunConfig:
    """All that may differ between the runs of one program: every leaf is a number."""

    seed: Array  # [], int32
    agent: Any  # the agent's config
    offline_corruption: Corruption  # of the data set
    online_corruption: Corruption  # of what the environment gives
    corrupt_again: Array  # [], 0: online batches see pretraining's damage; n > 0: new
    perturbation: Perturbation | None = None  # of what is executed online
    balance: BalanceConfig | None = None  # of replay and data set online; else by count
    pretraining_seed: Array | None = None  # [], int32, of the data's damage; None: seed
    standardise: Array = 1.0  # [], 0: agents see observations as they are


def stream(run: RunConfig, name: str) -> Key:
    """The key of one of `STREAMS`."""
    return jax.random.fold_in(jax.random.key(run.seed), STREAMS.index(name))


def num_batches(agent: Agent, run: RunConfig) -> int:
    """Batches that one update takes; an update counts as so many."""
    return 1 if agent.batches is None else agent.batches(run.agent)


def draw(
    agent: Agent, run: RunConfig, sample: Callable[[Key], Transition], key: Key
) -> Transition:
    """What one update takes: a batch, or several stacked."""
    if agent.batches is None:
        return sample(key)
    return jax.vmap(sample)(jax.random.split(key, num_batches(agent, run)))


def check_counts(**counts: int) -> None:
    """Raises a `ValueError` at the first that is less than 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")


def whole_rounds(num: int, each: int, what: str) -> int:
    """`num / each`.

    Raises:
      ValueError: it is no whole number.
    """
    if num % each:
        raise ValueError(f"{what} is {num}; it must be a multiple of {each}")
    return num // each
