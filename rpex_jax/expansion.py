"""Policy expansion: PEX, arXiv 2302.00935, and RPEX, arXiv 2509.24748.

A pretrained policy is kept, frozen, and a new one joins it. Each step every member of
the set proposes an action and one is drawn by its value; RPEX adds a correction for
heavy tails, PEX is `kappa = 0`. The set is an agent like any other; the last member is
the one that learns, by advantage-weighted regression on the actions the set selects.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax import measures
from rpex_jax.agents import iql
from rpex_jax.guided import around
from rpex_jax.selection import (
    DENSITY_FLOOR,
    LOGITS,
    WEIGHT_RANGE,
    inverse_probability_weights,
    select,
)
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static

LOG_LIMIT = math.log(1e3)  # of an adapted inverse temperature


@struct.dataclass
class ExpansionConfig:
    """Selection's numbers round the base's config; the switches are structure."""

    base: Any  # IQLConfig or RIQLConfig
    inv_temperature: float = 3.0  # RPEX lambda, PEX 1/alpha; where it starts
    kappa: float = 0.1  # weight of RPEX's correction; 0 is PEX
    epsilon: float = 0.0  # in evaluation; the released code has 0.1
    temperature_rate: float = 0.0  # how fast lambda adapts; 0 as in the papers
    target_entropy: float = 0.5  # that it adapts to, in [0, 1]: 1 is all alike
    density_floor: float = DENSITY_FLOOR  # added to the density that divides
    lowest_weight: float = WEIGHT_RANGE[0]  # where the correction's w is clipped
    highest_weight: float = WEIGHT_RANGE[1]
    # Log-spread of the frozen policies: 0 their own, as RPEX prints it; 1 that of the
    # policy that learns, as its released code runs; between them a mixture.
    online_spread: float = 0.0
    ipw_form: str = static("logit")  # or "printed"
    offline_action: str = static("mode")  # or "sample"


class PolicySetState(NamedTuple):
    """The frozen members and, as `base`, critics and the policy that learns."""

    members: Any  # policy parameters, leading axis [K - 1]
    base: iql.IQLState
    log_sharpness: Array  # [], log of lambda over the config's


class Selection(NamedTuple):
    """What the set did at a batch of states."""

    actions: Array  # [..., action_dim]
    choice: Array  # [...], index of the member; the last is the one that learns
    logits: Array  # [..., K]
    action_values: Array  # [..., K], of the proposals
    weights: Array  # [..., K], inverse probability weights of the proposals


def expand(
    base: Agent,
    key: Key,
    spec: Spec,
    pretrained: iql.IQLState,
    config: ExpansionConfig,
    *,
    members: Any = None,
    online_policy: str = "fresh",
    critic_transfer: str = "full",
) -> PolicySetState:
    """A policy set from a pretrained agent.

    Args:
      base: the agent that was pretrained, `iql` or `riql`.
      key: for what is drawn afresh.
      spec: widths of the problem.
      pretrained: its state; optimisers start afresh.
      config: of the set.
      members: policy parameters of the frozen members with a leading axis [K - 1];
        None keeps the pretrained policy alone, K = 2 as in the papers.
      online_policy: "fresh" weights, or "copied" from the pretrained policy.
      critic_transfer: "full" keeps critic, target and V; "target" keeps target and V
        and draws a new critic, which is what the released IQL-RPEX does.

    Returns:
      The state of the set.

    Raises:
      ValueError: unknown `online_policy` or `critic_transfer`.
    """
    if online_policy not in ("fresh", "copied"):
        raise ValueError(f"online_policy is {online_policy!r}; allowed: fresh, copied")
    if critic_transfer not in ("full", "target"):
        raise ValueError(
            f"critic_transfer is {critic_transfer!r}; allowed: full, target"
        )
    fresh = base.init(key, spec, config.base)
    state = iql.fresh_optimizers(pretrained)
    if online_policy == "fresh":
        state = state._replace(actor=fresh.actor)
    if critic_transfer == "target":
        state = state._replace(critic=fresh.critic)
    if members is None:
        members = jax.tree.map(lambda x: x[None], pretrained.actor)
    return PolicySetState(members, state, jnp.zeros(()))


def propose(
    base: Agent,
    key: Key,
    state: PolicySetState,
    observations: Array,
    config: ExpansionConfig,
    online_epsilon: Array,
) -> tuple[Array, Array]:
    """One action of each member and its log-density: [K, ..., action_dim], [K, ...].

    Frozen members propose their mode (or a sample, if the config says so), the one that
    learns a sample with probability `online_epsilon`, else its mode.

    In the released RPEX the frozen policy is a deep copy, whose log-spread is behind a
    closure that goes on reading the policy that learns; `online_spread = 1` does that.

    Source: RPEX, arXiv 2509.24748, section 6; felix-thu/RPEX pex/algorithms/rpex.py,
    pex/networks/policy.py.
    """
    key_frozen, key_online, key_epsilon = jax.random.split(key, 3)
    frozen = jax.vmap(
        lambda actor: base.policy(
            state.base._replace(actor=actor), observations, config.base
        )
    )(state.members)
    online = base.policy(state.base, observations, config.base)
    share = config.online_spread
    log_std = (1.0 - share) * frozen.log_std + share * online.log_std
    frozen = frozen._replace(log_std=log_std)
    if config.offline_action == "mode":
        frozen_actions = frozen.mode()
    else:
        frozen_actions = frozen.sample(key_frozen)
    explores = jax.random.bernoulli(
        key_epsilon, online_epsilon, observations.shape[:-1]
    )
    online_actions = jnp.where(
        explores[..., None], online.sample(key_online), online.mode()
    )
    actions = jnp.concatenate([frozen_actions, online_actions[None]])
    log_densities = jnp.concatenate(
        [frozen.log_prob(frozen_actions), online.log_prob(online_actions)[None]]
    )
    return actions, log_densities


def choose(
    base: Agent,
    key: Key,
    state: PolicySetState,
    observations: Array,
    config: ExpansionConfig,
    epsilon: Array = 1.0,
) -> Selection:
    """Lets every member propose and picks one by value, at observations [..., d].

    With `epsilon = 1` all is drawn, as in training. In evaluation the set is greedy but
    for a share `epsilon` of online actions and, independently, of choices.
    """
    key_propose, key_select = jax.random.split(key)
    actions, log_densities = propose(
        base, key_propose, state, observations, config, epsilon
    )
    q = jax.vmap(lambda a: base.action_value(state.base, observations, a, config.base))(
        actions
    )
    v = base.state_value(state.base, observations, config.base)
    proposed = (jnp.moveaxis(q, 0, -1), v, jnp.moveaxis(log_densities, 0, -1))
    weighting = {
        "density_floor": config.density_floor,
        "clip": (config.lowest_weight, config.highest_weight),
    }
    logits = LOGITS[config.ipw_form](
        *proposed, inv_temperature(state, config), config.kappa, **weighting
    )
    choice = select(key_select, logits, epsilon)
    chosen = jnp.take_along_axis(actions, choice[None, ..., None], axis=0)[0]
    # the compiler sees the same twice
    weights = inverse_probability_weights(*proposed, **weighting)
    return Selection(chosen, choice, logits, proposed[0], weights)


def inv_temperature(state: PolicySetState, config: ExpansionConfig) -> Array:
    """lambda, as far as it has adapted; [] or a number."""
    return config.inv_temperature * jnp.exp(state.log_sharpness)


def adapted(
    state: PolicySetState, logits: Array, config: ExpansionConfig
) -> PolicySetState:
    """Sharpens selection where its entropy is above the target, else softens it.

        log lambda += rate * (mean entropy of softmax(logits) / log K - target)

    So lambda follows the size of Q, which learning changes; within a thousandth and a
    thousand times the config's. Ours: the papers keep it fixed.

    Args:
      state: whose lambda it is.
      logits: of a batch, [..., K].
      config: its `temperature_rate` and `target_entropy`.
    """
    excess = measures.selection_entropy(logits).mean() - config.target_entropy
    moved = state.log_sharpness + config.temperature_rate * excess
    return state._replace(log_sharpness=jnp.clip(moved, -LOG_LIMIT, LOG_LIMIT))


def selection_metrics(
    selection: Selection, state: PolicySetState, config: ExpansionConfig
) -> dict:
    """How a batch was selected, as `measures` defines it; numbers by name.

    `correction` compares kappa w with lambda Q: by size and by range over members.
    """
    sharpness = inv_temperature(state, config)
    correction = config.kappa * selection.weights
    scaled = sharpness * selection.action_values
    low, high = measures.clipped_shares(
        selection.weights, (config.lowest_weight, config.highest_weight)
    )
    shares = measures.member_shares(selection.choice, selection.logits.shape[-1])
    return {f"selection/share_{i}": share for i, share in enumerate(shares)} | {
        "selection/online_share": shares[-1],
        "selection/inv_temperature": sharpness,
        "selection/entropy": measures.selection_entropy(selection.logits).mean(),
        "selection/effective_members": measures.effective_members(
            selection.logits
        ).mean(),
        "selection/correction_size": measures.size_ratio(correction, scaled),
        "selection/correction_range": measures.range_ratio(correction, scaled),
        "selection/clipped_low": low,
        "selection/clipped_high": high,
    }


def policy_set(base: Agent) -> Agent:
    """The agent whose policy is a set, over a base such as `agents.AGENTS["riql"]`.

    Its config is an `ExpansionConfig`, its state a `PolicySetState`. V, critics and
    target learn as the base's do, from the batch; the policy learns from the actions
    that the set selects at the batch's states, weighted with the new target and V.
    """

    def init(key: Key, spec: Spec, config: ExpansionConfig) -> PolicySetState:
        key_pretrained, key_online = jax.random.split(key)
        pretrained = base.init(key_pretrained, spec, config.base)
        return expand(base, key_online, spec, pretrained, config)

    def update(
        key: Key, state: PolicySetState, batch: Transition, config: ExpansionConfig
    ) -> tuple[PolicySetState, dict]:
        learner, _, metrics = base.critic_update(state.base, batch, config.base)
        state = state._replace(base=learner)
        selection = choose(base, key, state, batch.observations, config)
        advantages = base.target_action_value(
            learner, batch.observations, selection.actions, config.base
        ) - base.state_value(learner, batch.observations, config.base)
        weights = iql.policy_weight(advantages, config.base)
        learner, actor_metrics = iql.actor_step(
            learner, batch.observations, selection.actions, weights, config.base
        )
        metrics |= actor_metrics
        metrics |= selection_metrics(selection, state, config)
        metrics["actor/effective_rows"] = measures.effective_sample_size(weights)
        state = adapted(state._replace(base=learner), selection.logits, config)
        return state, metrics

    def act(
        key: Key,
        state: PolicySetState,
        observations: Array,
        config: ExpansionConfig,
        *,
        greedy: bool,
    ) -> Array:
        epsilon = config.epsilon if greedy else 1.0
        return choose(base, key, state, observations, config, epsilon).actions

    def restart(state: PolicySetState) -> PolicySetState:
        return state._replace(base=iql.fresh_optimizers(state.base))

    return around(base)._replace(init=init, update=update, act=act, restart=restart)
