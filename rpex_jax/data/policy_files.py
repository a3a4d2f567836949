"""Policies that others trained, from files of weights: they act and never learn.

A file is an `.npz` with two names, `kind` and `activation`, and numbers:

    kernel_i, bias_i          hidden layers, x @ kernel + bias; a linear policy has none
    kernel_mean, bias_mean    the head
    observation_mean, observation_var, observation_clip, observation_eps
                              where x = clip((o - mean) / sqrt(var + eps), -clip, clip)

    kind             action                       with
    tanh_gaussian    tanh(mean + std n)           kernel_log_std, bias_log_std
    gaussian         clip(mean + std n, -1, 1)    log_std
    deterministic    clip(mean, -1, 1)

These are the numbers that the checkpoints of Stable-Baselines3 and its like hold.
"""

import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rpex_jax.agents.acting import acting
from rpex_jax.distributions import DiagonalGaussian, Dirac, TanhGaussian
from rpex_jax.types import Agent, Array, Key, Spec

KINDS = ("tanh_gaussian", "gaussian", "deterministic")
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "none": lambda x: x}
NORMALISER = tuple(f"observation_{name}" for name in ("mean", "var", "clip", "eps"))
LOG_STD_RANGE = (-20.0, 2.0)  # of tanh_gaussian
# Gym's Ant up to v3 also observes contact forces, which are 0 there; Ant-v4 does not.
ANT, CONTACT_FORCES = Spec(observation_dim=27, action_dim=8), 84

Weights = dict[str, Array]


class PolicyFileError(ValueError):
    """A policy that cannot be used; one sentence: file, array, what must be there."""


def load(path: str | os.PathLike, spec: Spec) -> tuple[Agent, Weights]:
    """A policy as an agent that only acts, and its weights, which are its state.

    Args:
      path: the file.
      spec: of the environment. A policy for Ant's 27 observations and 84 contact forces
        is given zeros for these.

    Raises:
      PolicyFileError: there is no such file, or it holds no policy for this problem.
    """
    path = os.fspath(path)
    arrays = _read(path)
    kind, activation = (
        _check_name(arrays, name, allowed, path)
        for name, allowed in (("kind", KINDS), ("activation", tuple(ACTIVATIONS)))
    )
    shapes = _shapes(arrays, kind, spec)
    weights = _checked(arrays, shapes, path)
    policy = partial(_policy, kind=kind, activation=activation)

    def act(
        key: Key, state: Weights, observations: Array, config: object, *, greedy: bool
    ) -> Array:
        distribution = policy(state, observations, config)
        action = distribution.mode() if greedy else distribution.sample(key)
        return jnp.clip(action, -1.0, 1.0)

    return acting(act, policy), weights


def _policy(
    weights: Weights, observations: Array, config: object, kind: str, activation: str
) -> TanhGaussian | DiagonalGaussian | Dirac:
    """pi(. | o), before actions are clipped."""
    del config

    def layer(x: Array, name: str) -> Array:
        return x @ weights[f"kernel_{name}"] + weights[f"bias_{name}"]

    hidden = _num_hidden(weights)
    missing = len(weights["kernel_0" if hidden else "kernel_mean"])
    missing -= observations.shape[-1]
    x = jnp.pad(observations, [(0, 0)] * (observations.ndim - 1) + [(0, missing)])
    if NORMALISER[0] in weights:
        mean, var, clip, eps = (weights[name] for name in NORMALISER)
        x = jnp.clip((x - mean) / jnp.sqrt(var + eps), -clip, clip)
    for depth in range(hidden):
        x = ACTIVATIONS[activation](layer(x, str(depth)))
    mean = layer(x, "mean")
    if kind == "tanh_gaussian":
        return TanhGaussian(mean, jnp.clip(layer(x, "log_std"), *LOG_STD_RANGE))
    if kind == "gaussian":
        return DiagonalGaussian(mean, jnp.broadcast_to(weights["log_std"], mean.shape))
    return Dirac(mean)


def _num_hidden(arrays: dict) -> int:
    return sum(name.removeprefix("kernel_").isdigit() for name in arrays)


def _shapes(arrays: dict, kind: str, spec: Spec) -> dict[str, tuple[int, ...]]:
    """What a policy of this kind must have; hidden layers are as wide as they are."""
    layers = [*map(str, range(_num_hidden(arrays))), "mean"]
    width, first = spec.observation_dim, f"kernel_{layers[0]}"
    if spec == ANT and np.shape(arrays.get(first))[:1] == (width + CONTACT_FORCES,):
        width += CONTACT_FORCES
    shapes: dict[str, tuple[int, ...]] = {}
    if any(name in arrays for name in NORMALISER):
        shapes |= dict(zip(NORMALISER, ((width,), (width,), (), ()), strict=True))
    for name in layers:
        before, width = width, spec.action_dim
        if name != "mean":
            width = (np.shape(arrays.get(f"kernel_{name}")) or (0,))[-1]
        shapes |= {f"kernel_{name}": (before, width), f"bias_{name}": (width,)}
    if kind == "tanh_gaussian":
        shapes |= {"kernel_log_std": (before, width), "bias_log_std": (width,)}
    elif kind == "gaussian":
        shapes |= {"log_std": (width,)}
    return shapes


def _read(path: str) -> dict[str, np.ndarray]:
    if not path.endswith(".npz") or not Path(path).is_file():
        raise PolicyFileError(
            f"{path} is no file of a policy; it must be an .npz that is there"
        )
    try:
        with np.load(path) as npz:
            return dict(npz)
    except Exception as error:  # NumPy and zipfile raise half a dozen types
        brief = " ".join(str(error).split())[:200]
        raise PolicyFileError(
            f"{path} cannot be read, it may be cut short ({type(error).__name__}: "
            f"{brief}); copy it again"
        ) from error


def _check_name(arrays: dict, name: str, allowed: tuple[str, ...], path: str) -> str:
    value = str(arrays[name]) if name in arrays else None
    if value not in allowed:
        raise PolicyFileError(
            f"{path} has {value!r} as {name!r}; it must be one of {', '.join(allowed)}"
        )
    return value


def _checked(arrays: dict, shapes: dict[str, tuple], path: str) -> Weights:
    """The arrays in float32, or a `PolicyFileError` where they are not these."""
    weights = {}
    for name, shape in shapes.items():
        array = arrays.get(name)
        found = "nothing" if array is None else f"{array.dtype} {array.shape}"
        is_number = array is not None and array.dtype.kind in "fiu"
        if not is_number or array.shape != shape or 0 in shape:
            raise PolicyFileError(
                f"{path} has {found} as {name!r}; it must be numbers of shape {shape}, "
                "none of whose widths is 0"
            )
        with np.errstate(over="ignore"):  # becomes infinity, which is refused
            weights[name] = array.astype(np.float32)
        if not np.isfinite(weights[name]).all():
            raise PolicyFileError(
                f"{path} has NaN or infinity in {name!r}; it must be finite in float32"
            )
    if NORMALISER[0] in shapes:
        _, var, clip, eps = (weights[name] for name in NORMALISER)
        if not ((var + eps > 0).all() and clip > 0):
            raise PolicyFileError(
                f"{path} has 'observation_var' from {var.min():g}, 'observation_eps' "
                f"{eps:g} and 'observation_clip' {clip:g}; var + eps and clip must be "
                "above 0"
            )
    known = {"kind", "activation", *shapes}
    if others := sorted(arrays.keys() - known):
        raise PolicyFileError(
            f"{path} has {others[0]!r}, for which a {arrays['kind']} policy has no "
            f"use; it must have {', '.join(sorted(known))} alone"
        )
    return jax.tree.map(jnp.asarray, weights)
