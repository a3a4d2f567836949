"""From a pretrained agent to an agent of another family, one function a pair.

| from | to | function |
|---|---|---|
| TD3+BC | TD3 | `td3_bc_to_td3` |
| IQL, RIQL | SAC | `iql_to_sac` |
| IQL, RIQL | a policy set (PEX, RPEX) | `expansion.expand` |
| a policy of IQL's | one that sees other statistics | `restandardised` |
"""

from typing import Any

import jax
import jax.numpy as jnp

from rpex_jax.agents import iql, sac, td3
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.optimizers import adam_init


def td3_bc_to_td3(pretrained: td3.TD3State) -> td3.TD3State:
    """Networks and targets are kept, optimisers fresh.

    That the cloning term is dropped is the config's part: `bc_weight` is 0 online.

    Source: adversarial fine-tuning, arXiv 2510.13358, section 4.2.
    """
    return td3.restart(pretrained)


def iql_to_sac(pretrained: iql.IQLState, config: sac.SACConfig) -> sac.SACState:
    """Trunk, mean and critics are kept, so greedy actions and Q do not change.

    The state-independent log-std of IQL, clipped to its [-5, 2], becomes the bias of
    SAC's log-std head, whose kernel is zero. IQL adds its spread after the tanh and SAC
    before it, so SAC explores less where |tanh(mean)| is near 1. V is dropped, the
    optimisers are fresh and the temperature is the config's; our choice is 0.1, since
    1 pushes a good policy towards a wide one at once.

    Args:
      pretrained: of IQL, or of RIQL, whose quantile becomes SAC's minimum.
      config: SAC's, with the widths and the number of critics of `pretrained`.

    Raises:
      ValueError: it has others.

    Source: our choice; arXiv 2510.13358 (appendix D) goes this way and gives no recipe.
    """
    layers = pretrained.actor["params"]["MLP_0"]
    depth = len(config.hidden_dims)
    widths = tuple(len(layers[f"Dense_{i}"]["bias"]) for i in range(len(layers) - 1))
    num_critics = len(jax.tree.leaves(pretrained.critic)[0])
    if (widths, num_critics) != (config.hidden_dims, config.num_critics):
        raise ValueError(
            f"SAC has hidden_dims {config.hidden_dims} and {config.num_critics} "
            f"critics; they must be those of the pretrained agent, {widths} and "
            f"{num_critics}"
        )
    log_std = jnp.clip(pretrained.actor["params"]["log_std"], -5.0, 2.0)
    head = layers[f"Dense_{depth}"]
    constant = {"kernel": jnp.zeros_like(head["kernel"]), "bias": log_std}
    trunk = {f"Dense_{i}": layers[f"Dense_{i}"] for i in range(depth)}
    actor = {
        "params": {
            "MLP_0": trunk,
            "mean": {"Dense_0": head},
            "log_std": {"Dense_0": constant},
        }
    }
    log_temperature = jnp.log(jnp.asarray(config.initial_temperature, jnp.float32))
    return sac.SACState(
        critic=pretrained.critic,
        critic_optimizer=adam_init(pretrained.critic),
        log_temperature=log_temperature,
        temperature_optimizer=adam_init(log_temperature),
        actor=actor,
        actor_optimizer=adam_init(actor),
        target_critic=pretrained.target_critic,
    )


def restandardised(
    policy: Any, own: ObservationStatistics, seen: ObservationStatistics
) -> Any:
    """The same policy for observations that are standardised by other statistics.

    With x = z seen.std + seen.mean, its first layer takes (x - own.mean) / own.std.

    Args:
      policy: parameters of IQL's or RIQL's policy.
      own: what it was trained with.
      seen: what its observations will be standardised with.

    Returns:
      Parameters whose policy agrees on raw observations.
    """
    inner = policy["params"]
    first = inner["MLP_0"]["Dense_0"]
    kernel = first["kernel"] * (seen.std / own.std)[:, None]
    bias = first["bias"] + ((seen.mean - own.mean) / own.std) @ first["kernel"]
    trunk = inner["MLP_0"] | {"Dense_0": {"kernel": kernel, "bias": bias}}
    return policy | {"params": inner | {"MLP_0": trunk}}
