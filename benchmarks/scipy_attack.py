"""The same attack as most would write it: SciPy's search, Gymnasium, NumPy.

It imports no JAX, so processes that only step environments start quickly.
"""

import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
from scipy.optimize import differential_evolution


class Policy(NamedTuple):
    """tanh of a ReLU network of one standardised observation, in float32."""

    layers: list[tuple[np.ndarray, np.ndarray]]  # kernel [in, out], bias [out]
    mean: np.ndarray  # [observation_dim]
    std: np.ndarray  # [observation_dim]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        x = (observation.astype(np.float32) - self.mean) / self.std
        *hidden, (kernel, bias) = self.layers
        for hidden_kernel, hidden_bias in hidden:
            x = np.maximum(x @ hidden_kernel + hidden_bias, 0)
        return np.tanh(x @ kernel + bias)


@functools.cache
def make_env(name: str) -> gymnasium.Env:
    """One for each process, however often a fitness is sent there."""
    return gymnasium.make(name, disable_env_checker=True)


class Fitness:
    """Mean return of a policy under a perturbation, one episode after the other."""

    def __init__(
        self,
        env_name: str,
        policy: Callable[[np.ndarray], np.ndarray],
        starts: list[tuple[np.ndarray, np.ndarray]],
    ):
        """Episodes begin at `starts`, each (qpos, qvel)."""
        self.env_name, self.policy, self.starts = env_name, policy, starts
        self.env = make_env(env_name)
        self.steps = 0  # of this process

    def __reduce__(self):
        return Fitness, (self.env_name, self.policy, self.starts)

    def __call__(self, delta: np.ndarray) -> float:
        total, env, body = 0.0, self.env, self.env.unwrapped
        scale, high = 1 + np.asarray(delta, np.float32), env.action_space.high
        for start in self.starts:
            env.reset()
            body.set_state(*start)
            observation, ended = body._get_obs(), False
            while not ended:
                action = np.clip(self.policy(observation) * scale, -1, 1)
                observation, reward, terminated, truncated, _ = env.step(high * action)
                total += reward
                self.steps += 1
                ended = terminated or truncated
        return total / len(self.starts)


class Outcome(NamedTuple):
    """What a search found, and what it took."""

    vector: np.ndarray
    fitness: float
    seconds: float


def search(fitness: Fitness, bound: float, settings: dict, processes: int) -> Outcome:
    """SciPy's differential evolution with our rules.

    Args:
      fitness: what is minimised.
      bound: of every coordinate.
      settings: `coordinates`, `population_size` (a multiple of them), `generations`,
        `mutation_low`, `mutation_high`, `crossover`.
      processes: that share a generation; they start before the clock does.
    """
    coordinates = settings["coordinates"]
    with contextlib.ExitStack() as stack:
        workers = 1
        if processes > 1:
            spawn = multiprocessing.get_context("spawn")
            pool = stack.enter_context(spawn.Pool(processes))
            pool.map(fitness, [np.zeros(coordinates)] * processes)  # to warm up
            workers = pool.map
        begin = time.perf_counter()
        found = differential_evolution(
            fitness,
            [(-bound, bound)] * coordinates,
            strategy="best1bin",
            popsize=settings["population_size"] // coordinates,
            maxiter=settings["generations"],
            mutation=(settings["mutation_low"], settings["mutation_high"]),
            recombination=settings["crossover"],
            tol=0,
            polish=False,
            init="latinhypercube",
            updating="deferred",
            workers=workers,
            rng=0,
        )
        seconds = time.perf_counter() - begin
    return Outcome(found.x, float(found.fun), seconds)
