"""D4RL's scores."""

import numpy as np
import pytest

from rpex_jax.data import scores


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Hopper-v4", -20.272305, 3234.3),
        ("HalfCheetah-v5", -280.178953, 12135.0),
        ("walker2d-medium-replay-v2", 1.629008, 4592.3),
        ("Ant-v5", -325.6, 3879.7),
        ("antmaze-umaze-diverse-v2", 0, 1),
        ("AntMaze_Large_Diverse_GR-v4", 0, 1),
        ("mujoco/hopper", -20.272305, 3234.3),
    ],
)
def test_ends_of_the_scale(name, low, high):
    assert scores.has_reference(name)
    returns = np.array([[low], [high], [(low + high) / 2]])
    result = scores.normalised_score(name, returns)
    np.testing.assert_allclose(result, [[0], [100], [50]], atol=1e-9)


def test_the_recorded_halfcheetah():
    assert scores.normalised_score("HalfCheetah-v4", 1769) == pytest.approx(16.5, 1e-2)
