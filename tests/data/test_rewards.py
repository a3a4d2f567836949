"""The unit of rewards: IQL's scale by hand, and where it is applied."""

import numpy as np
import pytest

from rpex_jax.data.dataset import Dataset
from rpex_jax.data.rewards import RewardUnit, return_range_scale
from rpex_jax.training.offline import put_on_device
from rpex_jax.types import Transition


def make_dataset(rewards, ends):
    rewards = np.asarray(rewards, np.float32)
    zeros = np.zeros((len(rewards), 2), np.float32)
    rows = Transition(zeros, zeros, rewards, zeros, np.zeros_like(rewards))
    return Dataset(rows, np.asarray(ends, bool))


def test_iqls_scale_is_a_thousand_over_the_range_of_returns():
    """Episodes of returns 6, -1 and 2; rewards are not looked at one by one."""
    dataset = make_dataset([1, 2, 3, -1, 5, -3], [0, 0, 1, 1, 0, 1])
    assert return_range_scale(dataset, "data") == pytest.approx(1000 / 7)


def test_rewards_are_scaled_and_shifted_and_nothing_else():
    dataset = make_dataset([1, 2, 3], [0, 1, 1])
    data = put_on_device(dataset, RewardUnit(scale=2.0, shift=-1.0))
    np.testing.assert_array_equal(data.transitions.rewards, [1, 3, 5])
    np.testing.assert_array_equal(data.transitions.actions, 0)
    assert data.reward_unit == (2.0, -1.0)
    plain = put_on_device(dataset)
    np.testing.assert_array_equal(plain.transitions.rewards, [1, 2, 3])
