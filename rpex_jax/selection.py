"""Selection among proposed actions by value: the logits of PEX and RPEX, and the draw.

Sources: PEX, arXiv 2302.00935; RPEX, arXiv 2509.24748.
"""

import jax
import jax.numpy as jnp

from rpex_jax.types import Array, Key

DENSITY_FLOOR = 1e-6
WEIGHT_RANGE = (-1e4, 1e2)


def inverse_probability_weights(
    action_values: Array,
    state_value: Array,
    log_densities: Array,
    *,
    density_floor: float = DENSITY_FLOOR,
    clip: tuple[float, float] = WEIGHT_RANGE,
) -> Array:
    """w_i = clip((Q_i - V) / (p_i + floor)), [..., K]; RPEX section 6."""
    inverse_density = jnp.exp(-jnp.logaddexp(log_densities, jnp.log(density_floor)))
    advantages = action_values - state_value[..., None]
    return jnp.clip(advantages * inverse_density, *clip)


def selection_logits(
    action_values: Array,
    state_value: Array,
    log_densities: Array,
    inv_temperature: Array,
    kappa: Array,
    *,
    density_floor: float = DENSITY_FLOOR,
    clip: tuple[float, float] = WEIGHT_RANGE,
) -> Array:
    """Logits over K proposed actions: PEX, and RPEX's correction for heavy tails.

        logits = inv_temperature * Q_i + kappa * clip((Q_i - V) / (p_i + floor))

    Args:
      action_values: Q of each proposal, [..., K]; minimum or quantile of the ensemble.
      state_value: V, [...].
      log_densities: log p_i of each proposal under the policy that made it, [..., K].
      inv_temperature: lambda, in 1 / units of value; scalar.
      kappa: weight of the correction; scalar, 0 is PEX.
      density_floor: added to p_i, so that a tail action divides by no zero.
      clip: range of the weighted advantage.

    Returns:
      Logits, [..., K].

    Raises:
      ValueError: values and densities are not of the same proposals.

    Source: RPEX, arXiv 2509.24748, section 6; felix-thu/RPEX pex/algorithms/rpex.py.
    """
    if action_values.shape != log_densities.shape:
        raise ValueError(
            f"action_values have shape {action_values.shape} and log_densities "
            f"{log_densities.shape}; they must be the same"
        )
    weights = inverse_probability_weights(
        action_values,
        state_value,
        log_densities,
        density_floor=density_floor,
        clip=clip,
    )
    return inv_temperature * action_values + kappa * weights


def printed_logits(
    action_values: Array,
    state_value: Array,
    log_densities: Array,
    inv_temperature: Array,
    kappa: Array,
    *,
    density_floor: float = DENSITY_FLOOR,
    clip: tuple[float, float] = WEIGHT_RANGE,
) -> Array:
    """RPEX's equation as printed, P_i ~ exp(lambda Q_i) + kappa w_i; an ablation.

    In logarithms, which do not overflow. With w_i very negative the printed sum is no
    probability; it is then a millionth of exp(lambda Q_i). Arguments and result as
    `selection_logits`.

    Source: RPEX, arXiv 2509.24748, equation 6 as printed.
    """
    weights = inverse_probability_weights(
        action_values,
        state_value,
        log_densities,
        density_floor=density_floor,
        clip=clip,
    )
    scaled, correction = inv_temperature * action_values, kappa * weights
    tiny = jnp.finfo(correction.dtype).tiny
    more = jnp.logaddexp(scaled, jnp.log(jnp.maximum(correction, tiny)))
    share = correction * jnp.exp(jnp.minimum(-scaled, 80.0))  # 80: exp is finite
    less = scaled + jnp.log(jnp.maximum(1.0 + jnp.minimum(share, 0.0), 1e-6))
    return jnp.where(correction > 0, more, less)


LOGITS = {"logit": selection_logits, "printed": printed_logits}


def select(key: Key, logits: Array, epsilon: Array = 1.0) -> Array:
    """Which of K: the best, or with probability `epsilon` one drawn from the softmax.

    Args:
      key: random key.
      logits: [..., K].
      epsilon: in [0, 1]; 1 draws always, as training does, and 0 is greedy.

    Returns:
      Indices in [0, K), [...].
    """
    key_epsilon, key_choice = jax.random.split(key)
    drawn = jax.random.categorical(key_choice, logits)
    explores = jax.random.bernoulli(key_epsilon, epsilon, drawn.shape)
    return jnp.where(explores, drawn, logits.argmax(-1))
