"""How many floating-point operations an update takes, read off its program."""

import math
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

from rpex_jax.types import Agent, Spec, Transition


def flops_per_update(agent: Agent, config: Any, spec: Spec, batch_size: int) -> int:
    """Operations in the matrix products of a critic update and its share of others."""
    batches = 1 if agent.batches is None else agent.batches(config)
    leading = () if agent.batches is None else (batches,)
    observation, action = (spec.observation_dim,), (spec.action_dim,)
    widths = Transition(observation, action, (), observation, ())
    batch = Transition(*(np.zeros((*leading, batch_size, *width)) for width in widths))

    key = jax.random.key(0)
    state = jax.eval_shape(lambda key: agent.init(key, spec, config), key)
    program = jax.make_jaxpr(agent.update)(key, state, batch, config)
    return matmul_flops(program.jaxpr) // batches


def matmul_flops(jaxpr: Jaxpr) -> int:
    """Multiplications and additions of all matrix products; XLA's own count takes the
    body of a loop once."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += 2 * equation.outvars[0].aval.size * math.prod(lengths)
        times = equation.params.get("length", 1)  # a scan's
        for inner in jaxprs_in_params(equation.params):
            total += times * matmul_flops(inner)
    return total
