"""What each online method takes over from pretraining, and for which agents."""

from functools import partial

import chex
import jax
import pytest

from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.methods import METHODS, online_agent, start_agent
from tests.agents.test_agents import SPEC, random_state

KEY = jax.random.key(9)
RIQL = CONFIGS["riql"](hidden_dims=(8, 8))


def online_config(method):
    """The config of the agent that learns online after RIQL."""
    if method.expands:
        return ExpansionConfig(base=RIQL)
    if method.becomes:
        config = CONFIGS[method.becomes]
        return config(hidden_dims=RIQL.hidden_dims, num_critics=RIQL.num_critics)
    return RIQL


@pytest.mark.parametrize("name", METHODS)
def test_methods_start_as_their_rows_say(name):
    """Scratch and buffer know nothing of pretraining; the others keep its critics.

    All start with moments of zero, as a state of the agent that learns online.
    """
    method, base = METHODS[name], AGENTS["riql"]
    pretrained, config = random_state(base, RIQL), online_config(method)
    begin = jax.jit(partial(start_agent, method, base, spec=SPEC))
    start = begin(KEY, pretrained=pretrained, config=config)

    agent = online_agent(method, base)
    template = jax.eval_shape(partial(agent.init, spec=SPEC, config=config), KEY)
    chex.assert_trees_all_equal_shapes_and_dtypes(start, template)
    learner = start.base if method.expands else start
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


@pytest.mark.parametrize("name", METHODS)
def test_methods_name_the_agents_they_can_follow(name):
    """Sets and SAC are made from agents with a V network; the rest from any agent."""
    method = METHODS[name]
    with_value = {
        base for base, agent in AGENTS.items() if agent.critic_update is not None
    }
    wanted = with_value if method.expands or method.becomes else set(AGENTS)
    assert set(method.bases) == wanted
