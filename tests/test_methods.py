"""What each online method takes over from pretraining, and for which agents."""

from functools import partial

import chex
import jax
import pytest

from rpex_jax import off2on
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.behavior_transfer import BTConfig
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.jsrl import JSRLConfig
from rpex_jax.methods import METHODS, online_agent, start_agent
from rpex_jax.value_mix import ValueMixConfig
from tests.agents.test_agents import SPEC, random_state

KEY = jax.random.key(9)


def configs(method):
    """Of an agent that the method can follow, and of the one that learns online."""
    base = CONFIGS["riql" if "riql" in method.bases else method.bases[0]]
    base = base(hidden_dims=(8, 8))
    if method.expands:
        return base, ExpansionConfig(base=base)
    if method.guided:
        return base, {"jsrl": JSRLConfig, "bt": BTConfig}[method.guided](base)
    if method.mixes:
        return base, ValueMixConfig(base)
    if method.becomes:
        config = CONFIGS[method.becomes]
        return base, config(hidden_dims=(8, 8), num_critics=base.num_critics)
    return base, base


@pytest.mark.parametrize("name", METHODS)
def test_methods_start_as_their_rows_say(name):
    """Scratch and buffer know nothing of pretraining; the others keep its critics.

    All start with moments of zero, as a state of the agent that learns online.
    """
    method = METHODS[name]
    before, config = configs(method)
    base = next(AGENTS[name] for name in AGENTS if CONFIGS[name] is type(before))
    pretrained = random_state(base, before)
    begin = jax.jit(partial(start_agent, method, base, spec=SPEC))
    start = begin(KEY, pretrained=pretrained, config=config)

    agent = online_agent(method, base)
    template = jax.eval_shape(partial(agent.init, spec=SPEC, config=config), KEY)
    chex.assert_trees_all_equal_shapes_and_dtypes(start, template)
    learner = getattr(start, "base", start)
    if method.guided:
        chex.assert_trees_all_equal(start.pretrained, pretrained.actor)
    if method.pretrained:
        chex.assert_trees_all_equal(learner.critic, pretrained.critic)
    else:
        with pytest.raises(AssertionError):
            chex.assert_trees_all_equal(learner.critic, pretrained.critic)
    for optimizer in (learner.critic_optimizer, learner.actor_optimizer):
        assert not any(x.any() for x in jax.tree.leaves(optimizer))


def test_who_learns_online():
    """The pretrained agent itself, unless the method expands it or changes family."""
    base = AGENTS["iql"]
    learners = {name: online_agent(method, base) for name, method in METHODS.items()}
    itself = {name for name, agent in learners.items() if agent is base}
    assert itself == {"offline", "scratch", "buffer", "direct"}
    assert learners["sac"] is AGENTS["sac"]
    assert learners["off2on"] is off2on.AGENT


@pytest.mark.parametrize("name", METHODS)
def test_methods_name_the_agents_they_can_follow(name):
    """Sets, mixes and SAC are made from agents with a V network, Off2On from an
    ensemble; the rest from any agent."""
    method = METHODS[name]
    with_value = {
        base for base, agent in AGENTS.items() if agent.critic_update is not None
    }
    needs_value = method.expands or method.becomes or method.mixes
    wanted = with_value if needs_value else set(AGENTS)
    wanted = {"cql_ensemble"} if method.balances else wanted
    assert set(method.bases) == wanted
