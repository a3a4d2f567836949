"""What is measured of policies and of selection; pure functions on arrays."""

import jax
import jax.numpy as jnp

from rpex_jax.types import Array


def excess_kurtosis(samples: Array) -> Array:
    """E[(x - mu)^4] / sigma^4 - 3 of every dimension, with moments of the sample.

    Of a policy's actions the samples are pooled over states, one action a state: given
    the state a Gaussian has excess kurtosis 0, so what is heavy-tailed in it is how its
    means spread over states.

    Args:
      samples: [n, ...].

    Returns:
      [...]; 0 is Gaussian, -1.2 uniform, > 0 heavy-tailed, NaN where nothing varies.

    Source: RPEX, arXiv 2509.24748, appendix A; as scipy.stats.kurtosis.
    """
    deviations = samples - samples.mean(0)
    variance = (deviations**2).mean(0)
    return (deviations**4).mean(0) / variance**2 - 3.0


def effective_sample_size(weights: Array) -> Array:
    """(sum w)^2 / sum w^2 over the last axis, [..., n] -> [...], in [1, n].

    1 / sum p^2 of the normalised weights. Over members: of the softmax of the logits,
    how many members share the choice. Over a batch: of the policy weights, how many of
    its rows a weighted regression rests on.

    Args:
      weights: >= 0, not all 0.

    Source: Kish, Survey Sampling, 1965.
    """
    # by the largest first: squares of weights such as exp(-100) are 0 in float32
    weights = weights / weights.max(-1, keepdims=True)
    return weights.sum(-1) ** 2 / (weights**2).sum(-1)


def effective_members(logits: Array) -> Array:
    """`effective_sample_size` over members, [..., K] -> [...]."""
    return effective_sample_size(jax.nn.softmax(logits))


def selection_entropy(logits: Array) -> Array:
    """Entropy of softmax(logits) over log K, [..., K] -> [...], in [0, 1]; K > 1."""
    log_shares = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(log_shares) * log_shares).sum(-1)
    return entropy / jnp.log(logits.shape[-1])


def member_shares(choice: Array, num_members: int) -> Array:
    """Share of choices [...] that fell on each member, [num_members]."""
    members = jnp.arange(num_members)
    return (choice[..., None] == members).reshape(-1, num_members).mean(0)


def size_ratio(term: Array, of: Array) -> Array:
    """mean |term| / mean |of|, over all axes."""
    return jnp.abs(term).mean() / jnp.abs(of).mean()


def range_ratio(term: Array, of: Array) -> Array:
    """The same with the range over members, max - min of [..., K], in place of | |.

    What all members have in common changes no choice; the ranges leave it out.
    """
    return jnp.ptp(term, axis=-1).mean() / jnp.ptp(of, axis=-1).mean()


def clipped_shares(weights: Array, clip: tuple[float, float]) -> tuple[Array, Array]:
    """Shares of weights at the lower and at the upper edge of their range."""
    low, high = clip
    return (weights <= low).mean(), (weights >= high).mean()


def histogram(samples: Array, edges: Array) -> Array:
    """Counts of every dimension, [n, d] -> [d, bins].

    Samples beyond the outer edges count in the outer bins, so that nothing is lost.

    Args:
      samples: [n, d].
      edges: increasing, [bins + 1].

    Raises:
      ValueError: there is no bin.
    """
    bins = edges.size - 1
    if bins < 1:
        raise ValueError(f"edges has {edges.size} numbers; it must have at least 2")
    place = jnp.clip(jnp.searchsorted(edges, samples, side="right") - 1, 0, bins - 1)
    return (place[..., None] == jnp.arange(bins)).sum(0)
