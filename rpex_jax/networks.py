"""Networks of the IQL, RIQL and SAC families, with their references' initialisers."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from rpex_jax.distributions import DiagonalGaussian, TanhGaussian
from rpex_jax.types import Array

# (fan_in, fan_out, is_head) -> (kernel initialiser, bias initialiser) of one layer.
LayerInit = Callable[[int, int, bool], tuple[Callable, Callable]]


def uniform_within(bound: float) -> Callable:
    """Initialiser drawing from U(-bound, bound)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def torch_linear(fan_in: int, fan_out: int, is_head: bool) -> tuple[Callable, Callable]:
    """PyTorch's default Linear: weights and biases in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5
    return uniform_within(bound), uniform_within(bound)


def xavier(fan_in: int, fan_out: int, is_head: bool) -> tuple[Callable, Callable]:
    """Xavier uniform weights, zero biases: the Gaussian policy of PEX and RPEX."""
    return nn.initializers.xavier_uniform(), nn.initializers.zeros


def edac_ensemble(
    fan_in: int, fan_out: int, is_head: bool
) -> tuple[Callable, Callable]:
    """RIQL's critic ensemble, as EDAC: biases 0.1, head within 3e-3.

    The bound is 1/sqrt(fan_out), not fan_in: PyTorch reads the fan-in of a
    (ensemble, in, out) weight from axis 1 of each (in, out) slice.
    Source: RIQL.py and RPEX value_functions.py.
    """
    if is_head:
        return uniform_within(3e-3), uniform_within(3e-3)
    return uniform_within(fan_out**-0.5), nn.initializers.constant(0.1)


def edac_policy(fan_in: int, fan_out: int, is_head: bool) -> tuple[Callable, Callable]:
    """EDAC's policy: PyTorch's weights, biases 0.1, both heads within 1e-3.

    Source: RIQL's and CORL's EDAC.py.
    """
    if is_head:
        return uniform_within(1e-3), uniform_within(1e-3)
    return uniform_within(fan_in**-0.5), nn.initializers.constant(0.1)


CRITIC_INITS = {"edac": edac_ensemble, "torch": torch_linear}


class MLP(nn.Module):
    """ReLU layers and a linear head: [..., in] -> [..., out_dim]."""

    hidden_dims: Sequence[int]
    out_dim: int
    layer_init: LayerInit

    @nn.compact
    def __call__(self, x: Array) -> Array:
        widths = (*self.hidden_dims, self.out_dim)
        for depth, width in enumerate(widths):
            is_head = depth == len(widths) - 1
            kernel_init, bias_init = self.layer_init(x.shape[-1], width, is_head)
            x = nn.Dense(width, kernel_init=kernel_init, bias_init=bias_init)(x)
            if not is_head:
                x = nn.relu(x)
        return x


class Value(nn.Module):
    """V(s): [..., observation_dim] -> [...]."""

    hidden_dims: Sequence[int]

    @nn.compact
    def __call__(self, observations: Array) -> Array:
        return MLP(self.hidden_dims, 1, torch_linear)(observations).squeeze(-1)


class CriticEnsemble(nn.Module):
    """Q_k(s, a) of every member: -> [num_critics, ...]."""

    hidden_dims: Sequence[int]
    num_critics: int
    layer_init: LayerInit

    @nn.compact
    def __call__(self, observations: Array, actions: Array) -> Array:
        ensemble = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=self.num_critics,
        )
        inputs = jnp.concatenate([observations, actions], axis=-1)
        return ensemble(self.hidden_dims, 1, self.layer_init)(inputs).squeeze(-1)


class GaussianPolicy(nn.Module):
    """Diagonal Gaussian round tanh(mean), spread independent of the state.

    The mean is squashed, the distribution is not: log-densities carry no Jacobian and
    samples are not clipped. Source: PEX and RPEX pex/networks/policy.py.
    """

    hidden_dims: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observations: Array) -> DiagonalGaussian:
        mean = nn.tanh(MLP(self.hidden_dims, self.action_dim, xavier)(observations))
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_dim,))
        return DiagonalGaussian(
            mean, jnp.broadcast_to(jnp.clip(log_std, -5.0, 2.0), mean.shape)
        )


class TanhGaussianPolicy(nn.Module):
    """tanh of a Gaussian whose mean and spread depend on the state. Source: SAC."""

    hidden_dims: Sequence[int]
    action_dim: int
    log_std_min: float = -20.0
    layer_init: LayerInit = torch_linear

    @nn.compact
    def __call__(self, observations: Array) -> TanhGaussian:
        def hidden_init(fan_in, fan_out, _):  # the trunk has no head
            return self.layer_init(fan_in, fan_out, False)

        trunk = MLP(self.hidden_dims[:-1], self.hidden_dims[-1], hidden_init)
        hidden = nn.relu(trunk(observations))
        head = partial(MLP, (), self.action_dim, self.layer_init)
        mean = head(name="mean")(hidden)
        log_std = head(name="log_std")(hidden)
        return TanhGaussian(mean, jnp.clip(log_std, self.log_std_min, 2.0))


class DeterministicPolicy(nn.Module):
    """tanh of a mean: [..., observation_dim] -> [..., action_dim]. Source: TD3."""

    hidden_dims: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observations: Array) -> Array:
        return nn.tanh(
            MLP(self.hidden_dims, self.action_dim, torch_linear)(observations)
        )
