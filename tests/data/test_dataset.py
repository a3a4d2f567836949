"""What is right in data is kept as it is."""

import jax
import numpy as np

from rpex_jax.data.dataset import (
    check,
    episode_returns,
    episode_slices,
    from_arrays,
)
from rpex_jax.types import Transition


def test_fields_and_types(arrays):
    transitions, ends = from_arrays(arrays, "example")
    for name in Transition._fields[:-1]:
        np.testing.assert_array_equal(getattr(transitions, name), arrays[name])
    np.testing.assert_array_equal(transitions.terminations, arrays["terminals"])
    np.testing.assert_array_equal(np.flatnonzero(ends), [3, 4, 10, 13])
    assert {x.dtype for x in transitions} == {np.dtype(np.float32)}
    assert ends.dtype == bool
    assert len(jax.tree.leaves((transitions, ends))) == 6


def test_a_last_unmarked_episode_ends_with_the_data(arrays):
    arrays["timeouts"][-1] = 0
    assert from_arrays(arrays, "example").episode_ends[-1]


def test_flags_and_numbers_of_any_type(arrays):
    arrays["terminals"] = arrays["terminals"].astype(bool)
    arrays["timeouts"] = arrays["timeouts"].astype(np.int64)
    arrays["rewards"] = arrays["rewards"].astype(np.float64)
    check(from_arrays(arrays, "example"))


def test_action_range(arrays):
    wide = dict(arrays, actions=3 * arrays["actions"] + 1)
    scaled = from_arrays(wide, "example", action_range=(-2, 4)).transitions.actions
    np.testing.assert_allclose(scaled, arrays["actions"], atol=1e-6)


def test_rounding_past_the_bounds_is_clipped(arrays):
    arrays["actions"][5, 1] = 1 + 5e-6
    assert from_arrays(arrays, "example").transitions.actions[5, 1] == 1


def test_dropped_columns(arrays):
    arrays["observations"][:, 1] = np.nan
    arrays["next_observations"][:, 1] = np.nan
    dataset = from_arrays(arrays, "example", drop_observation_columns=(1,))
    np.testing.assert_array_equal(
        dataset.transitions.observations, arrays["observations"][:, [0, 2]]
    )


def test_episode_returns(arrays, dataset):
    returns = episode_returns(dataset)
    rewards = arrays["rewards"].astype(np.float64)
    expected = [x.sum() for x in np.split(rewards, [4, 5, 11])]
    assert returns.dtype == np.float64
    np.testing.assert_allclose(returns, expected, rtol=1e-12)


def test_episode_slices(dataset):
    bounds = [(rows.start, rows.stop) for rows in episode_slices(dataset)]
    assert bounds == [(0, 4), (4, 5), (5, 11), (11, 14)]


def test_check_takes_arrays_of_any_kind(dataset):
    on_device = jax.tree.map(jax.numpy.asarray, dataset)
    jax.tree.map(np.testing.assert_array_equal, check(on_device), dataset)
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(check(on_device)))
