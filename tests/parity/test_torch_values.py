"""Ten updates of every agent against PyTorch in float64; see make_torch_values.py."""

from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.expansion import ExpansionConfig, PolicySetState, policy_set
from rpex_jax.optimizers import adam_init
from rpex_jax.types import Spec, Transition

VALUES = dict(np.load(Path(__file__).with_name("torch_values.npz")))
CASES = sorted({name.split("/")[0] for name in VALUES if "/config/" in name})
SPEC = Spec(observation_dim=5, action_dim=3)
HIDDEN = (16, 8)
LEARNING_RATE = 1e-3
NUM_UPDATES = 10
KEY = jax.random.key(0)

# Relative to the largest entry of what is compared. float32 sums of 8 to 100 terms are
# good to 1e-6; ten Adam steps, each near the rounding of a gradient, cost one digit
# more. The stored changes are float32, which holds 1e-9 of a parameter.
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


def assert_close(actual, expected, tolerance, what):
    scale = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * scale, err_msg=what
    )


# Between PyTorch's names and the trees of flax


def torch_layers(net):
    """Layers of a stored network: [(weight [..., out, in], bias [..., out])]."""
    biases = [n for n in VALUES if n.startswith(f"initial/{net}/") and "bias" in n]
    return [(VALUES[n.replace("bias", "weight")], VALUES[n]) for n in biases]


def dense(weight, bias):
    return {"kernel": jnp.asarray(weight.swapaxes(-1, -2)), "bias": jnp.asarray(bias)}


def mlp(layers):
    return {f"Dense_{i}": dense(*layer) for i, layer in enumerate(layers)}


def critics(net, num):
    layers = [(weight[:num], bias[:num]) for weight, bias in torch_layers(net)]
    return {"params": {"VmapMLP_0": mlp(layers)}}


def gaussian_policy(net):
    log_std = jnp.asarray(VALUES[f"initial/{net}/log_std/0/weight"])
    return {"params": {"MLP_0": mlp(torch_layers(net)), "log_std": log_std}}


def deterministic_policy(net):
    """The mean of a stored Gaussian policy."""
    return {"params": {"MLP_0": mlp(torch_layers(f"{net}/layers"))}}


def tanh_policy(net):
    *trunk, mean, log_std = torch_layers(net)
    heads = {"mean": mlp([mean]), "log_std": mlp([log_std])}
    return {"params": {"MLP_0": mlp(trunk), **heads}}


def parts(params):
    """A network's arrays in the order they are stored: layers, weight before bias."""
    if not isinstance(params, dict):
        return [params]
    out = []
    for name in sorted(params["params"], key="VmapMLP_0 MLP_0 mean log_std".index):
        part = params["params"][name]
        if not isinstance(part, dict):
            out.append(part)
            continue
        for layer in sorted(part):
            out += [part[layer]["kernel"].swapaxes(-1, -2), part[layer]["bias"]]
    return [np.asarray(x) for x in out]


def flat(params):
    return np.concatenate([x.ravel() for x in parts(params)])


# Cases


def stored_under(prefix):
    return {n.removeprefix(prefix): VALUES[n] for n in VALUES if n.startswith(prefix)}


def torch_config(case):
    return {name: x[()] for name, x in stored_under(f"{case}/config/").items()}


@cache
def set_over(family):
    return policy_set(AGENTS[family])


def make_agent(case):
    """The agent that a case is about, its config and its first state."""
    stored = torch_config(case)
    family = str(stored["family"])
    base, config_class = AGENTS[family], CONFIGS[family]
    num = int(stored["num_critics"])
    names = config_class.__dataclass_fields__.keys() & stored.keys()
    config = config_class(
        **{name: stored[name].item() for name in names}
        | {"learning_rate": LEARNING_RATE, "discount": 0.99},
        target_update_rate=0.005,
        hidden_dims=HIDDEN,
    )
    networks = {
        "critic": critics("critic", num),
        "target_critic": critics("target_critic", num),
    }
    if family in ("sac", "edac", "cql"):
        networks |= {
            "actor": tanh_policy("edac_actor" if family == "edac" else "sac_actor"),
            "log_temperature": jnp.asarray(stored["log_temperature"]),
        }
    elif family == "td3":
        networks |= {
            "actor": deterministic_policy("actor"),
            "target_actor": deterministic_policy("online_actor"),
        }
    elif family == "awac":
        networks |= {"actor": gaussian_policy("actor")}
    else:
        actor = "online_actor" if "frozen" in stored else "actor"
        networks |= {
            "value": {"params": {"MLP_0": mlp(torch_layers("value"))}},
            "actor": gaussian_policy(actor),
        }
    learned = [name for name in networks if not name.startswith("target_")]
    optimizers = {
        {"log_temperature": "temperature"}.get(name, name) + "_optimizer": adam_init(
            networks[name]
        )
        for name in learned
    }
    template = jax.eval_shape(partial(base.init, spec=SPEC, config=config), KEY)
    state = template._replace(**networks, **optimizers)
    chex.assert_trees_all_equal_shapes(state, template)
    if "frozen" not in stored:
        return base, config, state
    members = jax.tree.map(lambda x: x[None], gaussian_policy("actor"))
    config = ExpansionConfig(
        base=config,
        kappa=float(stored["kappa"]),
        inv_temperature=float(stored["inv_temperature"]),
        online_spread=float(stored.get("online_spread", 0.0)),
    )
    return set_over(family), config, PolicySetState(members, state, jnp.zeros(()))


def rows_at(case, step):
    """Where the batches of an update are: one, or as many as the policy is delayed."""
    delay = torch_config(case).get("policy_delay")
    if delay is None:
        return step
    return np.arange(step * delay, (step + 1) * delay) % NUM_UPDATES


def batch_at(case, step):
    rewards = "wide_rewards" if "wide_rewards" in torch_config(case) else "rewards"
    names = [rewards if name == "rewards" else name for name in Transition._fields]
    rows = rows_at(case, step)
    return Transition(*(jnp.asarray(VALUES[f"batch/{name}"][rows]) for name in names))


def draws_at(case, step):
    if case.startswith("td3"):
        normals = VALUES["draws/next_noise"][rows_at(case, step)]  # one a batch
    else:
        actor_critic = ("next_noise", "actor_noise")
        names = {
            "sac": actor_critic,
            "awac": actor_critic,
            "edac": actor_critic[::-1],  # the actor steps first
            "cql": ("next_noise", "here_noise", "ahead_noise", "actor_noise"),
        }.get(case, ["online_noise"])
        normals = [VALUES[f"draws/{name}"][step] for name in names]
    others = (VALUES[f"draws/{name}"][step] for name in ("gumbel", "proposals"))
    return [jnp.asarray(x) for x in normals], *map(jnp.asarray, others)


@contextmanager
def given_draws(normals, gumbel, proposals):
    """`jax.random` hands out what was recorded.

    The first key that asks for Gaussians gets the first array, the second the second;
    a key that asks again gets the same. Choices are made by the Gumbel trick. Scans are
    unrolled, or their steps would ask as one.
    """
    keys, drawn_uniformly = [], jax.random.uniform

    def normal(key, shape):
        if not any(key is seen for seen in keys):
            keys.append(key)
        noise = normals[[key is seen for seen in keys].index(True)]
        assert noise.shape == tuple(shape)
        return noise

    def categorical(key, logits):
        assert logits.shape == gumbel.shape
        return (logits + gumbel).argmax(-1)

    def uniform(key, shape, *args, **bounds):
        if not bounds:  # flax asks its initialisers for shapes
            return drawn_uniformly(key, shape, *args)
        assert tuple(shape) == proposals.shape
        assert bounds == {"minval": -1.0, "maxval": 1.0}
        return proposals

    def scan(step, carry, inputs):
        outputs = []
        for i in range(len(jax.tree.leaves(inputs)[0])):
            carry, output = step(carry, jax.tree.map(lambda x, i=i: x[i], inputs))
            outputs.append(output)
        return carry, jax.tree.map(lambda *x: jnp.stack(x), *outputs)

    with (
        mock.patch.object(jax.random, "normal", normal),
        mock.patch.object(jax.random, "categorical", categorical),
        mock.patch.object(jax.random, "uniform", uniform),
        mock.patch.object(jax.lax, "scan", scan),
    ):
        yield


@partial(jax.jit, static_argnums=0)
def update_with(agent, draws, state, batch, config):
    with given_draws(*draws):
        return agent.update(KEY, state, batch, config)


def learner_of(state):
    return state.base if isinstance(state, PolicySetState) else state


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_updates_match_torch(case, precision):
    """Losses, gradients and parameters of ten updates: any wrong term, constant, order
    of steps, schedule or optimiser moves one of them past the tolerance."""
    tolerance = TOLERANCE[precision]
    with jax.enable_x64(precision == "float64"):
        agent, config, start = make_agent(case)
        state, history, states = start, [], {}
        for step in range(NUM_UPDATES):
            state, metrics = update_with(
                agent, draws_at(case, step), state, batch_at(case, step), config
            )
            history.append(metrics)
            states[step + 1] = learner_of(state)
    assert flat(learner_of(state).critic).dtype == precision

    for key, expected in stored_under(f"{case}/metrics/").items():
        ours = np.array([float(metrics[key]) for metrics in history])
        assert_close(ours, expected, tolerance, key)

    for count in (1, NUM_UPDATES):
        for name, change in stored_under(f"{case}/change_{count}/").items():
            before = flat(getattr(learner_of(start), name)).astype(float)
            ours = flat(getattr(states[count], name))
            assert_close(ours, before + change, tolerance, f"{name} after {count}")

    for name, expected in stored_under(f"{case}/moment_norm/").items():
        optimizer = {"log_temperature": "temperature"}.get(name, name) + "_optimizer"
        moments = getattr(states[1], optimizer).mu
        norms = [np.linalg.norm(x) for x in parts(moments)]
        assert_close(norms, expected, tolerance, f"gradient of {name}")
