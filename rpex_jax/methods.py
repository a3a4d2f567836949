"""The online methods that are compared, as rows: what each keeps of pretraining."""

from typing import Any, NamedTuple

from rpex_jax import off2on
from rpex_jax.agents import AGENTS
from rpex_jax.behavior_transfer import behavior_transfer
from rpex_jax.expansion import expand, policy_set
from rpex_jax.jsrl import jsrl
from rpex_jax.transfer import iql_to_sac
from rpex_jax.types import Agent, Key, Spec
from rpex_jax.value_mix import mixed, value_mix


class Method(NamedTuple):
    """One way to go on after pretraining. Source: PEX main_online.py."""

    pretrained: bool  # starts from the pretrained networks
    expands: bool  # keeps the pretrained policy and adds one
    uses_data: bool  # the offline data fill a share of every batch
    learns: bool = True  # goes on at all
    corrects: bool = False  # selection is corrected for heavy tails: kappa > 0
    released: bool = False  # with the densities of RPEX's released code
    becomes: str = ""  # goes on as an agent of this other family
    guided: str = ""  # the pretrained policy acts for a learner, by this method's rule
    mixes: bool = False  # the policy is judged by both value functions
    balances: bool = False  # an ensemble goes on, whose batches are drawn by priority
    bases: tuple[str, ...] = tuple(AGENTS)  # what can be pretrained for it


_WITH_VALUE = ("iql", "riql")
_SET = Method(pretrained=True, expands=True, uses_data=True, bases=_WITH_VALUE)

METHODS = {
    "offline": Method(pretrained=True, expands=False, uses_data=False, learns=False),
    "scratch": Method(pretrained=False, expands=False, uses_data=False),
    "buffer": Method(pretrained=False, expands=False, uses_data=True),
    "direct": Method(pretrained=True, expands=False, uses_data=True),
    "pex": _SET,
    "rpex": _SET._replace(corrects=True),
    "rpex-released": _SET._replace(corrects=True, released=True),
    "mix": Method(
        pretrained=True, expands=False, uses_data=True, mixes=True, bases=_WITH_VALUE
    ),
    "sac": Method(
        pretrained=True,
        expands=False,
        uses_data=True,
        becomes="sac",
        bases=_WITH_VALUE,
    ),
    "off2on": Method(
        pretrained=True,
        expands=False,
        uses_data=True,
        balances=True,
        bases=("cql_ensemble",),
    ),
    "jsrl": Method(pretrained=False, expands=False, uses_data=True, guided="jsrl"),
    "bt": Method(pretrained=False, expands=False, uses_data=True, guided="bt"),
}
GUIDED = {"jsrl": jsrl, "bt": behavior_transfer}


def online_agent(method: Method, base: Agent) -> Agent:
    """The agent that learns online: the base, one over it, or another."""
    if method.becomes:
        return AGENTS[method.becomes]
    if method.balances:
        return off2on.AGENT
    if method.guided:
        return GUIDED[method.guided](base)
    if method.mixes:
        return value_mix(base)
    return policy_set(base) if method.expands else base


def start_agent(
    method: Method,
    base: Agent,
    key: Key,
    spec: Spec,
    pretrained: Any,
    config: Any,
    *,
    members: Any = None,
    online_policy: str = "fresh",
    critic_transfer: str = "full",
) -> Any:
    """Its first state, from the pretrained one; `config` is the online agent's."""
    if method.expands:
        return expand(
            base,
            key,
            spec,
            pretrained,
            config,
            members=members,
            online_policy=online_policy,
            critic_transfer=critic_transfer,
        )
    if method.mixes:
        return mixed(base, pretrained)
    if method.becomes == "sac":
        return iql_to_sac(pretrained, config)
    if method.balances:
        return off2on.fine_tuned(pretrained, config)
    if method.guided:
        fresh = online_agent(method, base).init(key, spec, config)
        return fresh._replace(pretrained=pretrained.actor)
    if method.pretrained:
        return base.restart(pretrained)
    return base.init(key, spec, config)
