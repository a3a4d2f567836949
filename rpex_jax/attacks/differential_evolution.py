"""Differential evolution: minimises a function in a box, without its gradient.

    mutant = base + F (x_1 - x_2)
    trial = mutant where u < CR and in one forced coordinate, else the parent

A trial replaces its parent unless its fitness, which is to be low, is higher. Variants
abound; the rules here are those of SciPy's `differential_evolution` with
`updating="deferred"` and `polish=False`, so the two can be compared. The one rule more,
to stop at the edge of the box, is for functions that are worst there, as attacks are.

Source: Storn and Price, J. Global Optimization 11, 1997; SciPy 1.17.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rpex_jax.types import Array, Key, static

# A mutant needs so many donors, which are neither each other nor its parent.
DONORS = {"best1bin": 2, "rand1bin": 3}
# Where a coordinate goes that leaves the box: SciPy draws it anew, inside.
OUTSIDE = ("redraw", "edge")

Evaluate = Callable[[Array], Array]  # [NP, N] -> [NP], a whole generation in one call


@struct.dataclass
class DESettings:
    """Numbers are leaves and take a run axis; structure is static."""

    mutation_low: float = 0.5  # F ~ U[low, high), one a generation; equal: F is fixed
    mutation_high: float = 1.0
    crossover: float = 0.7  # CR, share of coordinates that come from the mutant
    population_size: int = static(30)  # NP
    generations: int = static(20)  # after the one that the search starts from
    strategy: str = static("best1bin")  # base is the best member; or "rand1bin", any
    outside: str = static("redraw")  # or "edge"


class DEState(NamedTuple):
    """Everything that a search goes on from."""

    population: Array  # [NP, N], in the box
    fitness: Array  # [NP], infinite where it was NaN


class DEResult(NamedTuple):
    """What a search found, and how."""

    best: Array  # [N]
    fitness: Array  # [], of the best
    history: Array  # [generations + 1], best fitness so far, the start's first
    population: Array  # [NP, N], the last
    population_fitness: Array  # [NP]


class Draws(NamedTuple):
    """All that is random in a generation."""

    scale: Array  # [], F
    donors: Array  # [3, NP], row numbers of x_1, x_2 and rand1bin's base
    uniforms: Array  # [NP, N], in [0, 1); the mutant's coordinate where below CR
    forced: Array  # [NP], the coordinate that is the mutant's at any CR
    redrawn: Array  # [NP, N], in [0, 1); where a coordinate goes that left the box


def check(settings: DESettings) -> None:
    """Says what is wrong with settings, before anything is compiled.

    Raises:
      ValueError: an unknown strategy or rule for what is outside, a population that is
        too small, fewer than 0 generations, CR outside [0, 1] or F outside [0, 2], as
        far as they are known.
    """
    strategy, size = settings.strategy, settings.population_size
    if strategy not in DONORS:
        raise ValueError(f"strategy is {strategy!r}; it must be one of {list(DONORS)}")
    if settings.outside not in OUTSIDE:
        raise ValueError(
            f"outside is {settings.outside!r}; it must be one of {list(OUTSIDE)}"
        )
    if size <= DONORS[strategy]:
        raise ValueError(
            f"population_size is {size}; {strategy} needs at least "
            f"{DONORS[strategy] + 1}, a parent and {DONORS[strategy]} donors"
        )
    if settings.generations < 0:
        raise ValueError(f"generations is {settings.generations}; it must be >= 0")
    low, high = settings.mutation_low, settings.mutation_high
    crossover = settings.crossover
    if any(isinstance(number, jax.core.Tracer) for number in (low, high, crossover)):
        return
    if not np.all((0 <= low) & (low <= high) & (high <= 2)):
        raise ValueError(
            f"mutation_low is {low} and mutation_high {high}; they must be in [0, 2] "
            "and in this order"
        )
    if not np.all((0 <= crossover) & (crossover <= 1)):
        raise ValueError(f"crossover is {crossover}; it must be in [0, 1]")


def init(
    key: Key, evaluate: Evaluate, low: Array, high: Array, settings: DESettings
) -> DEState:
    """The first population and its fitness; arguments as in `minimise`."""
    check(settings)
    population = latin_hypercube(key, low, high, settings.population_size)
    return DEState(population, _fitness(evaluate, population))


def step(
    key: Key,
    state: DEState,
    evaluate: Evaluate,
    low: Array,
    high: Array,
    settings: DESettings,
) -> DEState:
    """One generation; arguments as in `minimise`."""
    trials = propose(draw(key, low.size, settings), state, low, high, settings)
    return select(state, DEState(trials, _fitness(evaluate, trials)))


def minimise(
    key: Key, evaluate: Evaluate, low: Array, high: Array, settings: DESettings
) -> DEResult:
    """Searches the box for the lowest fitness.

    To be batched over keys, boxes and the numbers of the settings:
    `jax.vmap(minimise, in_axes=(0, None, 0, 0, None))` is several searches in one
    program, and each of their generations one call of `evaluate` on [runs, NP, N].

    Args:
      key: of this search alone.
      evaluate: fitness of a whole population, [NP, N] -> [NP]; NaN is the worst. The
        same row must give the same number again, so a noisy fitness needs fixed seeds.
      low: lowest coordinates of the box, [N].
      high: highest coordinates, [N].
      settings: see `DESettings`.

    Raises:
      ValueError: see `check`; or arrays of the wrong shape.
    """
    check(settings)
    key_start, key_steps = jax.random.split(key)
    start = latin_hypercube(key_start, low, high, settings.population_size)

    # The start is trials too, so that `evaluate` is in the program once and not twice.
    def generation(carry, key):
        state, trials = carry
        state = select(state, DEState(trials, _fitness(evaluate, trials)))
        trials = propose(draw(key, low.size, settings), state, low, high, settings)
        return (state, trials), state.fitness.min()

    nothing = DEState(start, jnp.full(len(start), jnp.inf, start.dtype))
    keys = jax.random.split(key_steps, settings.generations + 1)
    (state, _), history = jax.lax.scan(generation, (nothing, start), keys)
    best = state.population[state.fitness.argmin()]
    return DEResult(best, history[-1], history, *state)


def latin_hypercube(key: Key, low: Array, high: Array, num: int) -> Array:
    """A point in each of `num` equal slices of every coordinate: [num, N]."""
    if low.ndim != 1 or low.shape != high.shape:
        raise ValueError(
            f"low and high have shapes {low.shape} and {high.shape}; a box needs one "
            "number a coordinate in each"
        )
    key_order, key_place = jax.random.split(key)
    slices = jnp.broadcast_to(jnp.arange(num)[:, None], (num, low.size))
    slices = jax.random.permutation(key_order, slices, independent=True)
    place = jax.random.uniform(key_place, slices.shape)
    return _in_box((slices + place) / num, low, high)


def draw(key: Key, num_coordinates: int, settings: DESettings) -> Draws:
    """The random numbers of one generation, of one call that has to be compiled."""
    size = settings.population_size
    u = jax.random.uniform(key, (1 + size * (4 + 2 * num_coordinates),))
    span = settings.mutation_high - settings.mutation_low
    rows = u[1:].reshape(size, -1)
    counts = jnp.array([size - 1, size - 2, size - 3, num_coordinates])
    first, second, third, forced = (rows[:, :4] * counts).astype(int).T
    # Steps from the parent, distinct because each skips those before it; no sorting.
    second += second >= first
    third += third >= jnp.minimum(first, second)
    third += third >= jnp.maximum(first, second)
    steps = 1 + jnp.stack([first, second, third])
    uniforms, redrawn = jnp.split(rows[:, 4:], 2, axis=1)
    return Draws(
        scale=settings.mutation_low + u[0] * span,
        donors=(jnp.arange(size) + steps) % size,
        uniforms=uniforms,
        forced=forced,
        redrawn=redrawn,
    )


def propose(
    draws: Draws, state: DEState, low: Array, high: Array, settings: DESettings
) -> Array:
    """A trial for every member, [NP, N], in the box."""
    population = state.population
    first, second, third = population[draws.donors]
    if settings.strategy == "best1bin":
        base = population[state.fitness.argmin()]
    else:
        base = third
    mutants = base + draws.scale * (first - second)
    forced = draws.forced[:, None] == jnp.arange(low.size)
    trials = jnp.where(
        (draws.uniforms < settings.crossover) | forced, mutants, population
    )
    if settings.outside == "edge":
        return jnp.clip(trials, low, high)
    outside = (trials < low) | (trials > high)
    return jnp.where(outside, _in_box(draws.redrawn, low, high), trials)


def select(parents: DEState, trials: DEState) -> DEState:
    """Each trial in the place of its parent, unless its fitness is higher."""
    better = trials.fitness <= parents.fitness
    return DEState(
        jnp.where(better[:, None], trials.population, parents.population),
        jnp.where(better, trials.fitness, parents.fitness),
    )


def _fitness(evaluate: Evaluate, population: Array) -> Array:
    """[NP]; what cannot be compared is the worst."""
    fitness = jnp.asarray(evaluate(population), population.dtype)
    if fitness.shape != population.shape[:1]:
        raise ValueError(
            f"evaluate gives shape {fitness.shape} for {len(population)} members; it "
            "must give one number a member"
        )
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness)


def _in_box(unit: Array, low: Array, high: Array) -> Array:
    """[0, 1]^N to the box, which rounding could leave by a bit."""
    return jnp.clip(low + unit * (high - low), low, high)
