"""Balanced replay of Off2On, arXiv 2107.00591: offline rows that look like online ones.

Rows of the data set and of the online replay are drawn together, in proportion to their
priorities: an estimate of the density ratio online / offline of (s, a), learned by a
network that tells uniform batches of the two apart. Rows of the data set begin at
priority 1; a new online row gets the highest there is, which begins so high that a
given share of the first batches is online. Priorities are renewed as rows are drawn.

Source: the paper and shlee94/Off2OnRL, rlkit/torch/sac/ours.py. The
network sees standardised observations, as agents do: our choice.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from rpex_jax.data import sum_tree
from rpex_jax.networks import MLP, torch_linear, uniform_within
from rpex_jax.optimizers import adam_init, adam_step
from rpex_jax.types import Array, Key, Spec, Transition, static

TINY = 1e-10  # in logarithms and quotients
PRIORITY_RANGE = (1e-3, 1e3)


@struct.dataclass
class BalanceConfig:
    """The numbers of the source."""

    temperature: float = 5.0  # priorities are ratios to the power of 1 over it
    learning_rate: float = 3e-4
    online_share: float = 0.5  # of the first batches
    first_rows: float = 1000.0  # online ones, when learning begins
    hidden_dims: tuple[int, ...] = static((256, 256))


class BalanceState(NamedTuple):
    """The ratio's network and the priorities of all rows, the data set's first."""

    ratio: Any  # parameters
    optimizer: optax.ScaleByAdamState
    tree: Array
    highest: Array  # [], priority of new rows


def _begin_at_one(fan_in: int, fan_out: int, is_head: bool):
    """Ratios begin near 1. Source: the authors' code, rlkit's ConcatMlp."""
    if is_head:
        return uniform_within(3e-3), nn.initializers.ones
    return torch_linear(fan_in, fan_out, is_head)


def start(
    key: Key, spec: Spec, num_offline: int, capacity: int, config: BalanceConfig
) -> BalanceState:
    """Priorities of `num_offline` rows and of the `capacity` that are still to come."""
    inputs = jnp.zeros(spec.observation_dim + spec.action_dim)
    ratio = MLP(config.hidden_dims, 1, _begin_at_one).init(key, inputs)
    odds = config.online_share / (1.0 - config.online_share)
    return BalanceState(
        ratio=ratio,
        optimizer=adam_init(ratio),
        tree=sum_tree.make_tree(
            jnp.zeros(num_offline + capacity).at[:num_offline].set(1.0)
        ),
        highest=jnp.maximum(num_offline * odds / config.first_rows, 1.0),
    )


def added(state: BalanceState, row: Array) -> BalanceState:
    """The state after a new row was stored as `row`, counted after the data set's."""
    tree = sum_tree.change(state.tree, row[None], state.highest[None])
    return state._replace(tree=tree)


def density_ratio(params: Any, rows: Transition, config: BalanceConfig) -> Array:
    """w(s, a) >= 0, an estimate of p_online / p_offline; [batch]."""
    inputs = jnp.concatenate([rows.observations, rows.actions], -1)
    output = MLP(config.hidden_dims, 1, _begin_at_one).apply(params, inputs)
    return nn.relu(output.squeeze(-1))


def ratio_loss(offline: Array, online: Array) -> Array:
    """-E_online f'(w) + E_offline f*(f'(w)), f of the Jensen-Shannon divergence.

        f'(w) = log(2 w / (w + 1)),  f*(f'(w)) = -log(2 / (w + 1))

    Least where w is the density ratio online / offline.

    Args:
      offline: w at rows of the data set, [batch].
      online: w at rows of the replay, [batch].

    Source: arXiv 2107.00591; its code.
    """
    conjugate = -jnp.log(2.0 / (offline + 1.0) + TINY)
    slope = jnp.log(2.0 * online / (online + 1.0) + TINY)
    return conjugate.mean() - slope.mean()


def learn(
    state: BalanceState,
    offline: Transition,
    online: Transition,
    rows: Array,
    drawn: Transition,
    config: BalanceConfig,
) -> tuple[BalanceState, dict]:
    """One step of the ratio's network, and new priorities of the rows just drawn.

    Args:
      state: before.
      offline: rows of the data set, drawn uniformly, [batch, ...].
      online: of the replay, drawn uniformly, [batch, ...].
      rows: where the drawn rows are, [batch].
      drawn: these rows, [batch, ...]; their priorities come from the network before
        its step, as in the source.
    """

    def loss_fn(params):
        of_offline = density_ratio(params, offline, config)
        of_online = density_ratio(params, online, config)
        return ratio_loss(of_offline, of_online), (of_offline, of_online)

    (loss, (of_offline, of_online)), gradients = jax.value_and_grad(
        loss_fn, has_aux=True
    )(state.ratio)
    power = 1.0 / config.temperature
    scale = (of_offline**power).mean() + TINY
    priorities = jnp.clip(
        density_ratio(state.ratio, drawn, config) ** power / scale, *PRIORITY_RANGE
    )
    ratio, optimizer = adam_step(
        gradients, state.optimizer, state.ratio, config.learning_rate
    )
    state = BalanceState(
        ratio=ratio,
        optimizer=optimizer,
        tree=sum_tree.change(state.tree, rows, priorities),
        highest=jnp.maximum(state.highest, priorities.max()),
    )
    metrics = {
        "balance/loss": loss,
        "balance/offline": of_offline.mean(),
        "balance/online": of_online.mean(),
    }
    return state, metrics
