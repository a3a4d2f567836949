"""Differential evolution against SciPy's: each generation, and what it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from rpex_jax.attacks import differential_evolution as de

KEY = jax.random.key(3)
EPSILON = 0.3
WEIGHTS = np.array([0.9, -1.3, 0.5, 1.1, -0.7, 1.6, -0.4, 0.8])
FALSE_ALARM = 1e-6  # of the statistical tests of random numbers


# Functions of the box [-0.3, 0.3]^N, [..., N] -> [...]; their minima are 0.
def sphere(x, xp):
    return ((x - 0.1) ** 2).sum(-1)


def rosenbrock(x, xp):
    x = 6 * x
    valley = x[..., 1:] - x[..., :-1] ** 2
    return (100 * valley**2 + (1 - x[..., :-1]) ** 2).sum(-1)


def rastrigin(x, xp):
    x = 15 * x + 0.7
    return (10 + x**2 - 10 * xp.cos(2 * np.pi * x)).sum(-1)


def linear(x, xp):
    weights = WEIGHTS[: x.shape[-1]]
    return (weights * x + abs(weights) * EPSILON).sum(-1)


FUNCTIONS = (sphere, rosenbrock, rastrigin, linear)


class RecordedGenerator(np.random.Generator):
    """What SciPy draws, by method."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))
        self.drawn = {"uniform": [], "integers": [], "shuffle": []}

    def uniform(self, *args, **kwargs):
        self.drawn["uniform"].append(super().uniform(*args, **kwargs))
        return self.drawn["uniform"][-1]

    def integers(self, *args, **kwargs):
        self.drawn["integers"].append(super().integers(*args, **kwargs))
        return self.drawn["integers"][-1]

    def shuffle(self, x):
        super().shuffle(x)
        self.drawn["shuffle"].append(x.copy())

    def take(self):
        drawn, self.drawn = self.drawn, {name: [] for name in self.drawn}
        return drawn


def scipy_generations(settings, size, num, seed=0):
    """SciPy's generations: (parents, what was drawn, trials, next), in the unit box."""
    rng = RecordedGenerator(seed)
    start = np.random.default_rng(seed).uniform(size=(size, num))
    evaluated, generations = [], []

    def evaluate(x):
        fitness = rastrigin(0.6 * x.T - 0.3, np)
        evaluated.append((x.T.copy(), fitness))
        return fitness

    def callback(intermediate_result):
        result = intermediate_result
        after = (result.population.copy(), result.population_energies.copy())
        generations.append((rng.take(), evaluated[-1], after))

    optimize.differential_evolution(
        evaluate,
        [(0, 1)] * num,
        strategy=settings.strategy,
        mutation=settings.mutation_low
        if settings.mutation_low == settings.mutation_high
        else (settings.mutation_low, settings.mutation_high),
        recombination=settings.crossover,
        maxiter=settings.generations,
        init=start,
        updating="deferred",
        vectorized=True,
        polish=False,
        tol=0,
        rng=rng,
        callback=callback,
    )
    before = [promoted(*evaluated[0]), *(after for *_, after in generations)]
    return [
        (parents, *rest) for parents, rest in zip(before, generations, strict=False)
    ]


def promoted(population, fitness):
    """SciPy keeps the best member in the first row, by exchange."""
    order = np.arange(len(fitness))
    best = fitness.argmin()
    order[[0, best]] = order[[best, 0]]
    return population[order], fitness[order]


def as_draws(drawn, trials, settings):
    """SciPy's random numbers in the places where ours are."""
    uniforms = [np.asarray(x) for x in drawn["uniform"]]
    scales = [x for x in uniforms if x.ndim == 0]
    (crossover,) = (x for x in uniforms if x.ndim == 2)
    redrawn = np.concatenate([np.empty(0), *(x for x in uniforms if x.ndim == 1)])
    (forced,) = drawn["integers"]
    others = [x[x != i] for i, x in enumerate(drawn["shuffle"])]
    used = {"best1bin": [0, 1, 2], "rand1bin": [1, 2, 0]}[settings.strategy]
    # A coordinate is a redrawn one if it holds the number that was drawn for it; where
    # SciPy redrew none, ours must not either, or there is NaN.
    is_redrawn = np.isin(trials, redrawn)
    assert is_redrawn.sum() == len(redrawn)
    return de.Draws(
        scale=jnp.asarray(scales[0] if scales else settings.mutation_low),
        donors=jnp.asarray(np.stack(others)[:, used].T),
        uniforms=jnp.asarray(crossover),
        forced=jnp.asarray(forced),
        redrawn=jnp.asarray(np.where(is_redrawn, trials, np.nan)),
    ), len(redrawn)


@pytest.mark.parametrize(
    "settings",
    [
        de.DESettings(strategy="best1bin"),
        de.DESettings(strategy="rand1bin", mutation_low=0.8, mutation_high=0.8),
        de.DESettings(strategy="best1bin", crossover=0.0),
        de.DESettings(strategy="rand1bin", crossover=1.0),
    ],
    ids=["best1bin", "rand1bin", "forced coordinate alone", "mutant alone"],
)
def test_a_generation_is_scipys(settings):
    """Fed with the numbers that SciPy drew, parents become what SciPy makes of them:
    trials, and who survives; also the redrawn coordinates."""
    settings = settings.replace(population_size=9, generations=8)
    low, high = jnp.zeros(3), jnp.ones(3)
    num_redrawn = 0
    generations = scipy_generations(settings, 9, 3)
    assert len(generations) == 8
    for parents, drawn, (trials, fitness), after in generations:
        draws, count = as_draws(drawn, trials, settings)
        num_redrawn += count
        parents = de.DEState(*map(jnp.asarray, parents))
        ours = de.propose(draws, parents, low, high, settings)
        np.testing.assert_allclose(ours, trials, rtol=0, atol=1e-6)
        survivors = de.select(parents, de.DEState(ours, jnp.asarray(fitness)))
        survivors = promoted(*map(np.asarray, survivors))
        np.testing.assert_allclose(survivors[0], after[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(survivors[1], after[1], rtol=1e-6)
    assert num_redrawn > 5


def test_it_finds_what_scipy_finds():
    """Same population, F, CR, generations and start on four functions in 3, 6 and 8
    dimensions: log10 of what is found, 20 seeds of SciPy and 100 of ours.

    The rule: no median differs by 4 standard errors (1.25 deviations / sqrt(n) each),
    no deviation by a factor of 2.5, and the medians' differences in standard errors,
    added up, stay below 3.5 sqrt(12), which a small but common difference exceeds. Each
    is a chance of about 1 in 1000 for equal algorithms.
    """
    generations, num_ours, num_scipys = 20, 100, 20
    keys = jax.random.split(KEY, num_ours)
    differences, ratios = [], []
    for num in (3, 6, 8):
        settings = de.DESettings(population_size=5 * num, generations=generations)
        low = jnp.full(num, -EPSILON)

        def ours(which, key, low=low, settings=settings):
            def evaluate(x):
                return jnp.stack([function(x, jnp) for function in FUNCTIONS])[which]

            return de.minimise(key, evaluate, low, -low, settings).fitness

        found = jax.jit(jax.vmap(jax.vmap(ours, (None, 0)), (0, None)))
        found = np.log10(found(jnp.arange(len(FUNCTIONS)), keys))
        scipys = np.log10(
            [
                [
                    optimize.differential_evolution(
                        lambda x, function=function: function(x.T, np),
                        [(-EPSILON, EPSILON)] * num,
                        strategy="best1bin",
                        init="latinhypercube",
                        popsize=5,
                        mutation=(0.5, 1.0),
                        recombination=0.7,
                        maxiter=generations,
                        updating="deferred",
                        vectorized=True,
                        polish=False,
                        tol=0,
                        rng=seed,
                    ).fun
                    for seed in range(num_scipys)
                ]
                for function in FUNCTIONS
            ]
        )
        deviations = scipys.std(axis=1, ddof=1)
        errors = 1.2533 * deviations * np.sqrt(1 / num_ours + 1 / num_scipys)
        differences.extend(
            (np.median(found, axis=1) - np.median(scipys, axis=1)) / errors
        )
        ratios.extend(found.std(axis=1, ddof=1) / deviations)
    assert np.abs(differences).max() < 4
    assert abs(sum(differences)) < 3.5 * np.sqrt(len(differences))
    assert 1 / 2.5 < min(ratios) and max(ratios) < 2.5


# Four searches in one program, in boxes of several sizes; the last is the second again.
SETTINGS = de.DESettings(population_size=30, generations=60)
KEYS = jax.random.split(KEY, 3)[jnp.array([0, 1, 2, 1])]
BOUNDS = jnp.asarray([0.1, 0.3, 1.0, 0.3])


def weighted(x):
    return x @ jnp.asarray(WEIGHTS[:6], jnp.float32)


def search(key, bound, evaluate=weighted):
    box = jnp.full(6, bound)
    return de.minimise(key, evaluate, -box, box, SETTINGS)


@pytest.fixture(scope="module")
def results():
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(search))(KEYS, BOUNDS))


def test_a_linear_objective_ends_in_a_corner(results):
    """The optimum is -bound sign(w), and each box has its own."""
    corners = np.outer(BOUNDS, -np.sign(WEIGHTS[:6]))
    assert (np.abs(results.best - corners) / BOUNDS[:, None]).max() < 0.05


def test_what_a_search_returns(results):
    """The best is the best of the last population, history never rises and starts with
    the first population, and everything lies in the box, to the bit."""
    assert results.history.shape == (4, 61)
    assert (np.diff(results.history) <= 0).all()
    assert (results.history[:, 0] > 1.2 * results.history[:, -1]).all()
    np.testing.assert_array_equal(results.history[:, -1], results.fitness)
    np.testing.assert_array_equal(results.population_fitness.min(1), results.fitness)
    rows = results.population_fitness.argmin(1)
    np.testing.assert_array_equal(results.population[np.arange(4), rows], results.best)
    assert (np.abs(results.population) <= np.asarray(BOUNDS)[:, None, None]).all()
    np.testing.assert_allclose(
        results.population_fitness, weighted(results.population), rtol=1e-5, atol=1e-6
    )


def test_same_key_same_result_and_another_key_another(results):
    for field in results:
        np.testing.assert_array_equal(field[1], field[3])
    assert (results.population[0] / 0.1 != results.population[1] / 0.3).all()


def test_batched_is_one_by_one_is_step_by_step(results):
    """A search under vmap, alone, and driven from outside are the same; `evaluate` is
    traced once, and no key is used twice."""
    traces = []

    def evaluate(x):
        traces.append(x.shape)
        return weighted(x)

    with jax.debug_key_reuse(True):
        alone = jax.jit(lambda key, bound: search(key, bound, evaluate))(
            KEYS[1], BOUNDS[1]
        )
    assert traces == [(30, 6)]
    for ours, batched in zip(alone, results, strict=True):
        np.testing.assert_allclose(ours, batched[1], rtol=1e-5, atol=1e-6)

    low, high = jnp.full(6, -BOUNDS[1]), jnp.full(6, BOUNDS[1])
    key_start, key_steps = jax.random.split(KEYS[1])
    state = de.init(key_start, weighted, low, high, SETTINGS)
    step = jax.jit(
        lambda key, state: de.step(key, state, weighted, low, high, SETTINGS)
    )
    history = [state.fitness.min()]
    for key in jax.random.split(key_steps, 61)[:60]:
        state = step(key, state)
        history.append(state.fitness.min())
    np.testing.assert_allclose(history, results.history[1], rtol=1e-5)
    np.testing.assert_allclose(state.population, results.population[1], atol=1e-6)


def test_settings_are_leaves():
    """Runs of one program differ in CR and F; each is the run with its own alone."""
    low, high = jnp.full(2, -1.0), jnp.full(2, 1.0)
    numbers = [(0.5, 1.0, 0.7), (0.9, 0.9, 0.0), (0.1, 0.2, 1.0)]
    settings = [
        de.DESettings(*some, population_size=5, generations=3) for some in numbers
    ]

    @jax.jit
    def found(settings):
        return de.minimise(
            KEY, lambda x: rastrigin(x, jnp), low, high, settings
        ).population

    batched = jax.vmap(found)(
        jax.tree.map(lambda *leaves: jnp.asarray(leaves), *settings)
    )
    for one, some in zip(batched, settings, strict=True):
        np.testing.assert_allclose(one, found(some), rtol=1e-5, atol=1e-6)
    assert (np.ptp(batched, axis=0) > 0).any()


def test_no_generations_is_the_start():
    """A Latin hypercube, its best, and a history of one."""
    low, high = jnp.asarray([-1.0, 2.0]), jnp.asarray([1.0, 6.0])
    settings = de.DESettings(population_size=7, generations=0)
    result = de.minimise(KEY, lambda x: x.sum(-1), low, high, settings)
    assert result.history.shape == (1,)
    assert result.fitness == result.population.sum(-1).min() == result.best.sum()
    assert_in_every_slice(result.population, low, high)


def assert_in_every_slice(population, low, high):
    slices = np.floor((population - low) / (high - low) * len(population))
    expected = np.arange(len(population))[:, None]
    np.testing.assert_array_equal(np.sort(slices, axis=0), expected + 0 * slices)


def test_the_start_is_a_latin_hypercube():
    """A point in each slice of each coordinate, anywhere in the slice, and in an order
    of the coordinate's own."""
    low, high = jnp.asarray([-1.0, 2.0, 0.0]), jnp.asarray([1.0, 6.0, 0.1])
    population = np.asarray(de.latin_hypercube(KEY, low, high, 400))
    assert_in_every_slice(population, low, high)
    place = (population - low) / (high - low) * 400 % 1
    for column in place.T:
        assert stats.kstest(column, "uniform").pvalue > FALSE_ALARM
    correlations = np.corrcoef(population.T) - np.eye(3)
    assert np.abs(correlations).max() < 5 / np.sqrt(400)


@pytest.fixture(scope="module")
def draws():
    """Many generations of six members with three coordinates."""
    settings = de.DESettings(
        mutation_low=0.4, mutation_high=0.9, population_size=6, strategy="rand1bin"
    )
    keys = jax.random.split(KEY, 3000)
    drawn = jax.jit(jax.vmap(lambda key: de.draw(key, 3, settings)))(keys)
    return jax.tree.map(np.asarray, drawn)


def test_scale_is_drawn_once_a_generation(draws):
    assert draws.scale.shape == (3000,)
    assert stats.kstest(draws.scale, stats.uniform(0.4, 0.5).cdf).pvalue > FALSE_ALARM
    fixed = de.DESettings(mutation_low=0.8, mutation_high=0.8)
    assert de.draw(KEY, 3, fixed).scale == np.float32(0.8)


def test_donors_are_any_others(draws):
    """Every ordered triple of distinct members that are not the target, the best one
    too, has the same chance."""
    for target, donors in enumerate(draws.donors.transpose(2, 0, 1)):
        triples, counts = np.unique(donors, axis=0, return_counts=True)
        assert all(len({target, *triple}) == 4 for triple in triples.tolist())
        assert len(triples) == 5 * 4 * 3
        assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_crossover_and_redraw_are_uniform_and_independent(draws):
    uniforms = draws.uniforms.reshape(3000, -1)
    redrawn = draws.redrawn.reshape(3000, -1)
    for sample in (uniforms, redrawn):
        assert stats.kstest(sample.ravel(), "uniform").pvalue > FALSE_ALARM
    columns = np.c_[uniforms, redrawn, draws.forced, draws.scale]
    correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlations).max() < 5.5 / np.sqrt(3000)
    counts = [np.bincount(forced, minlength=3) for forced in draws.forced.T]
    assert np.shape(counts) == (6, 3)
    assert stats.chisquare(counts, axis=1).pvalue.min() > FALSE_ALARM


def test_without_crossover_one_coordinate_is_the_mutants(draws):
    """CR = 0: a trial is its parent but for the forced coordinate."""
    settings = de.DESettings(crossover=0.0, population_size=6, strategy="rand1bin")
    population = np.random.default_rng(0).uniform(-1, 1, (6, 3))
    state = de.DEState(jnp.asarray(population), jnp.zeros(6))
    some = jax.tree.map(lambda x: jnp.asarray(x[0]), draws)
    trials = de.propose(some, state, -jnp.ones(3), jnp.ones(3), settings)
    changed = np.argwhere(trials != state.population)
    np.testing.assert_array_equal(changed, np.c_[np.arange(6), some.forced])


def test_a_trial_that_is_not_worse_replaces_its_parent():
    """A plateau is crossed: lower or equal fitness wins, infinite ones too."""
    parents = de.DEState(jnp.zeros((4, 1)), jnp.array([1.0, 1.0, 1.0, jnp.inf]))
    trials = de.DEState(jnp.ones((4, 1)), jnp.array([0.5, 1.0, 1.5, jnp.inf]))
    population, fitness = de.select(parents, trials)
    np.testing.assert_array_equal(population[:, 0], [1, 1, 0, 1])
    np.testing.assert_array_equal(fitness, [0.5, 1, 1, np.inf])


def test_nan_is_the_worst():
    """Where fitness is NaN nothing survives; where it is everywhere, nothing breaks."""
    low, high = -jnp.ones(2), jnp.ones(2)
    settings = de.DESettings(population_size=8, generations=15)

    @jax.jit
    @jax.vmap
    def found(edge):
        def partly(x):  # falls to its lowest where it is NaN
            return jnp.where(x[:, 0] < edge, jnp.nan, x.sum(-1))

        return de.minimise(KEY, partly, low, high, settings)

    half, everywhere = zip(*found(jnp.asarray([0.0, 2.0])), strict=True)
    half, everywhere = de.DEResult(*half), de.DEResult(*everywhere)
    assert np.isfinite(half.history).all()
    assert (half.population[:, 0] >= 0).all()
    np.testing.assert_allclose(half.best, [0, -1], atol=0.2)
    assert (everywhere.history == np.inf).all() and everywhere.fitness == np.inf
    assert (np.abs(everywhere.population) <= 1).all()
    start = de.init(KEY, lambda x: jnp.sqrt(x[:, 0]), low, high, settings)
    np.testing.assert_array_equal(np.isinf(start.fitness), start.population[:, 0] < 0)


def test_at_the_edge_or_drawn_anew():
    """The two rules differ only where a coordinate leaves the box."""
    low, high = jnp.asarray([-1.0, 2.0, 0.0]), jnp.asarray([1.0, 6.0, 0.1])
    drawn, edge = (
        de.DESettings(population_size=40, outside=outside) for outside in de.OUTSIDE
    )
    state = de.init(KEY, lambda x: x.sum(-1), low, high, drawn)
    draws = de.draw(jax.random.key(5), 3, drawn)
    redrawn, stopped = (
        np.asarray(de.propose(draws, state, low, high, settings))
        for settings in (drawn, edge)
    )
    left = redrawn != stopped
    assert 0 < left.sum() < left.size / 2
    at_edge = (stopped == low) | (stopped == high)
    np.testing.assert_array_equal(at_edge, left)
    # An optimum in a corner is found exactly, and otherwise only approached.
    weights = jnp.asarray([1.0, -2.0, 30.0])
    best = {
        settings.outside: de.minimise(KEY, lambda x: x @ weights, low, high, settings)
        for settings in (drawn, edge)
    }
    corner = jnp.asarray([-1.0, 6.0, 0.0])
    np.testing.assert_array_equal(best["edge"].best, corner)
    assert best["redraw"].fitness > corner @ weights


@pytest.mark.parametrize("strategy", de.DONORS)
def test_the_smallest_population(strategy):
    """As many members as `check` asks for give each its distinct donors."""
    size = de.DONORS[strategy] + 1
    settings = de.DESettings(population_size=size, strategy=strategy)
    de.check(settings)
    donors = np.asarray(de.draw(KEY, 2, settings).donors[: size - 1])
    for target, others in enumerate(donors.T.tolist()):
        assert {target, *others} == set(range(size))
