"""What is wrong with data is said in one sentence; what is right is kept as it is."""

import re

import jax
import numpy as np
import pytest

from rpex_jax.data.dataset import (
    DatasetError,
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


def at(name, index, value):
    """The fault of one wrong value."""

    def fault(arrays):
        arrays[name][index] = value

    return fault


def cut(name, rows):
    return lambda arrays: arrays.update({name: arrays[name][rows]})


FAULTS = [
    (lambda a: a.pop("rewards"), ["no field 'rewards'", "'observations'"]),
    (lambda a: a.pop("timeouts"), ["no field 'timeouts'"]),
    (cut("rewards", np.s_[:-1]), ["14 rows of 'observations'", "13 of 'rewards'"]),
    (cut("actions", np.s_[:, 0]), ["'actions'", "(14,)", "[N, width]"]),
    (cut("rewards", np.s_[:, None]), ["'rewards'", "(14, 1)", "[N]"]),
    (cut("next_observations", np.s_[:, :2]), ["'next_observations'", "(14, 2)"]),
    (at("rewards", [6, 9], np.nan), ["2 rows of 'rewards'", "row 6"]),
    (at("observations", (7, 1), np.inf), ["1 rows of 'observations'", "row 7"]),
    (at("next_observations", 2, -np.inf), ["'next_observations'", "row 2"]),
    (lambda a: a.update(rewards=np.full(14, 1e300)), ["14 rows of 'rewards'", "row 0"]),
    (
        at("actions", (8, 1), -1.7),
        ["-1.7", "row 8, column 1", "'actions'", "[-1, 1]", "action_range"],
    ),
    (at("terminals", 5, 0.5), ["0.5", "row 5", "'terminals'", "0 and 1"]),
    (at("timeouts", 1, 2), ["2 in row 1", "'timeouts'"]),
    (
        lambda a: a.update(terminals=np.zeros(14), timeouts=np.zeros(14)),
        ["no episode ends", "'terminals'", "'timeouts'"],
    ),
    (lambda a: a.update({k: v[:0] for k, v in a.items()}), ["empty", "0 rows"]),
    (lambda a: a.update(actions=np.array(["a"] * 14)), ["'actions'", "no number"]),
]


@pytest.mark.parametrize(("fault", "parts"), FAULTS)
def test_faults_are_named_in_one_sentence(arrays, fault, parts):
    fault(arrays)
    with pytest.raises(DatasetError) as caught:
        from_arrays(arrays, "runs/bad.npz")
    message = str(caught.value)
    for part in ["runs/bad.npz", *parts]:
        assert part in message
    assert message.endswith(".")
    assert "\n" not in message and not re.search(r"\. [A-Z]", message)


def test_scaled_actions_are_reported_as_the_file_has_them(arrays):
    arrays["actions"][3, 0] = 2.5
    with pytest.raises(DatasetError, match=r"2\.5 in row 3, column 0.*\[-2, 2\]"):
        from_arrays(arrays, "example", action_range=(-2, 2))


def test_bad_arguments(arrays):
    with pytest.raises(DatasetError, match=r"action_range is \(1, -1\)"):
        from_arrays(arrays, "example", action_range=(1, -1))
    with pytest.raises(DatasetError, match="no column 3 in 'observations'"):
        from_arrays(arrays, "example", drop_observation_columns=(3,))


def test_check_sees_what_was_changed_later(dataset):
    on_device = jax.tree.map(jax.numpy.asarray, dataset)
    jax.tree.map(np.testing.assert_array_equal, check(on_device), dataset)
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(check(on_device)))
    transitions, ends = dataset
    bad = transitions._replace(terminations=np.r_[1.0, transitions.terminations[1:]])
    with pytest.raises(DatasetError, match="'episode_ends' true in row 0"):
        check(dataset._replace(transitions=bad))
    with pytest.raises(DatasetError, match="'episode_ends' true in row 13"):
        check(dataset._replace(episode_ends=np.r_[ends[:-1], False]))
    with pytest.raises(DatasetError, match="of 'rewards', first in row 0"):
        check(dataset._replace(transitions=transitions._replace(rewards=[np.nan] * 14)))


def test_a_break_inside_an_episode(dataset):
    dataset.transitions.next_observations[6] += 1
    with pytest.raises(DatasetError, match="'next_observations' in row 6"):
        episode_slices(dataset)
