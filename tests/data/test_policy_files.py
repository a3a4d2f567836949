"""Policies of others: their actions, recomputed in NumPy, and files that are none."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data import policy_files
from rpex_jax.data.policy_files import PolicyFileError
from rpex_jax.types import Spec

SPEC = Spec(observation_dim=4, action_dim=2)
TOLERANCE = 1e-9  # float64, after up to three layers of 256
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "policies"
WIDTHS = {"hopper": (11, 3), "halfcheetah": (17, 6), "walker2d": (17, 6)}
WIDTHS["ant"] = (27, 8)


def make_policy(kind="gaussian", activation="tanh", hidden=(5, 3), spec=SPEC, seed=0):
    """The arrays of a random policy, with a normaliser that clips some of its input."""
    rng = np.random.default_rng(seed)
    widths = (spec.observation_dim, *hidden)
    arrays = {"kind": kind, "activation": activation}
    for i, shape in enumerate(itertools.pairwise(widths)):
        arrays[f"kernel_{i}"] = rng.normal(size=shape)
        arrays[f"bias_{i}"] = rng.normal(size=shape[1])
    heads = ["mean", "log_std"] if kind == "tanh_gaussian" else ["mean"]
    for head in heads:
        arrays[f"kernel_{head}"] = rng.normal(size=(widths[-1], spec.action_dim))
        arrays[f"bias_{head}"] = rng.normal(size=spec.action_dim)
    if kind == "gaussian":
        arrays["log_std"] = rng.normal(size=spec.action_dim)
    arrays |= {
        "observation_mean": rng.normal(size=spec.observation_dim),
        "observation_var": rng.uniform(0.1, 2.0, spec.observation_dim),
        "observation_clip": 1.0,
        "observation_eps": 1e-2,
    }
    return {k: x if isinstance(x, str) else np.float32(x) for k, x in arrays.items()}


def write(tmp_path, arrays):
    np.savez(tmp_path / "policy.npz", **arrays)
    return tmp_path / "policy.npz"


def numpy_policy(arrays, observations):
    """Mean and deviation before any squashing, in float64; the latter may be None."""
    arrays = {
        k: np.asarray(v, np.float64)
        for k, v in arrays.items()
        if k not in ("kind", "activation")
    } | {k: str(arrays[k]) for k in ("kind", "activation")}
    x = np.asarray(observations, np.float64)
    if "observation_mean" in arrays:
        clip = arrays["observation_clip"]
        x = x - arrays["observation_mean"]
        x = x / np.sqrt(arrays["observation_var"] + arrays["observation_eps"])
        x = np.clip(x, -clip, clip)
    squash = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0), "none": None}
    depth = 0
    while f"kernel_{depth}" in arrays:
        x = x @ arrays[f"kernel_{depth}"] + arrays[f"bias_{depth}"]
        x = squash[arrays["activation"]](x)
        depth += 1
    mean = x @ arrays["kernel_mean"] + arrays["bias_mean"]
    if arrays["kind"] == "tanh_gaussian":
        log_std = x @ arrays["kernel_log_std"] + arrays["bias_log_std"]
        return mean, np.exp(np.clip(log_std, -20.0, 2.0))
    if arrays["kind"] == "gaussian":
        return mean, np.broadcast_to(np.exp(arrays["log_std"]), mean.shape)
    return mean, None


def check_actions(path, observations, spec):
    """Greedy and sampled, with the same noise, in float64."""
    arrays, key = dict(np.load(path)), jax.random.key(0)
    agent, weights = policy_files.load(path, spec)
    kernel = arrays.get("kernel_0", arrays["kernel_mean"])
    missing = len(kernel) - spec.observation_dim  # contact forces
    mean, std = numpy_policy(arrays, np.pad(observations, ((0, 0), (0, missing))))
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), weights)
        act = jax.jit(agent.act, static_argnames="greedy")
        noise = np.asarray(jax.random.normal(key, mean.shape))
        sample = mean if std is None else mean + std * noise
        for greedy, u in ((True, mean), (False, sample)):
            is_tanh = str(arrays["kind"]) == "tanh_gaussian"
            expected = np.tanh(u) if is_tanh else np.clip(u, -1.0, 1.0)
            ours = act(key, weights, jnp.asarray(observations), (), greedy=greedy)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)
            assert (abs(expected) < 0.99).mean() > 0.01  # what is clipped tells nothing


@pytest.mark.parametrize("hidden", [(5, 3), ()])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", policy_files.KINDS)
def test_actions_are_numpys(tmp_path, kind, activation, hidden):
    """Normaliser, layers, head and noise of each kind."""
    arrays = make_policy(kind, activation if hidden else "none", hidden)
    observations = np.random.default_rng(1).normal(size=(2_000, 4))
    check_actions(write(tmp_path, arrays), observations, SPEC)


@pytest.mark.parametrize("file", sorted(RECORDED.glob("*.npz")), ids=lambda f: f.stem)
def test_policies_that_others_trained(file):
    """Each loads for its robot and acts as NumPy says, Ant's without contact forces."""
    spec = Spec(*WIDTHS[file.stem.split("-")[0]])
    rng = np.random.default_rng(2)
    observations = rng.normal(size=(500, spec.observation_dim))
    check_actions(file, observations, spec)


def without(name):
    return lambda arrays: {k: v for k, v in arrays.items() if k != name}


def with_(**changed):
    return lambda arrays: arrays | changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("kind"), ("None as 'kind'", "tanh_gaussian")),
        (with_(kind="beta"), ("'beta' as 'kind'", "gaussian")),
        (with_(activation="elu"), ("'elu' as 'activation'", "relu")),
        (without("bias_1"), ("nothing as 'bias_1'", "(3,)")),
        (without("kernel_mean"), ("nothing as 'kernel_mean'", "(3, 2)")),
        (without("log_std"), ("nothing as 'log_std'", "(2,)")),
        (without("observation_var"), ("nothing as 'observation_var'", "(4,)")),
        (with_(kernel_0=np.zeros((6, 5))), ("(6, 5)", "'kernel_0'", "(4, 5)")),
        (with_(bias_mean=np.zeros(3)), ("(3,) as 'bias_mean'", "(2,)")),
        (with_(bias_0=np.full(5, np.nan)), ("NaN or infinity in 'bias_0'",)),
        (with_(bias_0=np.full(5, 1e300)), ("infinity in 'bias_0'", "float32")),
        (
            with_(kernel_0=np.zeros((4, 0)), bias_0=np.zeros(0)),
            ("(4, 0)", "'kernel_0'", "none of whose widths is 0"),
        ),
        (with_(observation_var=np.full(4, -1.0)), ("'observation_var' from -1", "0")),
        (with_(observation_clip=0.0), ("'observation_clip' 0", "above 0")),
        (with_(log_std=np.array(["a", "b"])), ("'log_std'", "numbers")),
        (with_(kernel_log_std=np.zeros((3, 2))), ("'kernel_log_std'", "no use")),
    ],
)
def test_what_is_no_policy_for_the_problem(tmp_path, change, words):
    """The file, the array, what it is and what it must be."""
    path = write(tmp_path, change(make_policy()))
    with pytest.raises(PolicyFileError) as error:
        policy_files.load(path, SPEC)
    text = str(error.value)
    assert str(path) in text
    for word in words:
        assert word in text, text


def test_files_that_cannot_be_read(tmp_path):
    """Absent, of another type, cut short."""
    with pytest.raises(PolicyFileError, match=r"must be an \.npz that is there"):
        policy_files.load(tmp_path / "none.npz", SPEC)
    (tmp_path / "policy.txt").write_text("policy")
    with pytest.raises(PolicyFileError, match=r"must be an \.npz that is there"):
        policy_files.load(tmp_path / "policy.txt", SPEC)
    path = write(tmp_path, make_policy())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PolicyFileError, match=r"policy.npz cannot be read.*copy it"):
        policy_files.load(path, SPEC)


def test_only_ant_is_given_contact_forces(tmp_path):
    """A policy of 88 inputs is none for 4 observations."""
    wide = make_policy(spec=Spec(4 + policy_files.CONTACT_FORCES, 2))
    with pytest.raises(PolicyFileError, match=r"\(88,\) as 'observation_mean'"):
        policy_files.load(write(tmp_path, wide), SPEC)
    ant = policy_files.ANT
    wide = make_policy(spec=Spec(27 + policy_files.CONTACT_FORCES, 8))
    agent, weights = policy_files.load(write(tmp_path, wide), ant)
    action = agent.act(jax.random.key(0), weights, jnp.zeros(27), (), greedy=True)
    mean, _ = numpy_policy(wide, np.zeros((1, 111)))
    np.testing.assert_allclose(action, np.clip(mean[0], -1, 1), atol=1e-5)
