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
        ("maze2d-umaze-v1", 23.85, 161.86),
        ("maze2d-medium-v1", 13.13, 277.39),
        ("maze2d-large-v1", 6.7, 273.99),
        ("maze2d-umaze-dense-v1", 68.537689, 193.662856),
        ("maze2d-medium-dense-v1", 44.264742, 297.455255),
        ("maze2d-large-dense-v1", 30.569041, 303.485738),
        ("maze2d-open-v0", 0.01, 20.66),
        ("maze2d-open-dense-v0", 11.17817, 27.166539),
        ("maze2d-eval-umaze-v1", 36.63, 141.4),
        ("maze2d-eval-medium-v1", 13.07, 204.93),
        ("maze2d-eval-large-v1", 16.4, 302.22),
        ("maze2d-eval-umaze-dense-v1", 56.95455, 178.21373133248397),
        ("maze2d-umaze-dense-v0", 23.249793, 81.78995240126592),
        ("maze2d-umaze-v0", 0.94, 62.6),
        ("maze2d-medium-v0", 5.77, 85.14),
        ("maze2d-large-v0", 4.83, 191.99),
        ("pen-human-v1", 96.262799, 3076.833102),
        ("hammer-expert-v1", -274.856578, 12794.134825),
        ("door-cloned-v1", -56.512833, 2880.569309),
        ("relocate-human-v1", -6.425911, 4233.877798),
        ("kitchen-mixed-v0", 0, 4),
    ],
)
def test_ends_of_the_scale(name, low, high):
    assert scores.has_reference(name)
    returns = np.array([[low], [high], [(low + high) / 2]])
    result = scores.normalised_score(name, returns)
    np.testing.assert_allclose(result, [[0], [100], [50]], atol=1e-9)


@pytest.mark.parametrize("name", ["maze2d-umaze-v2", "maze2d", "Pendulum-v1"])
def test_names_that_have_none(name):
    """A maze's scores are not another one's, a pendulum is no pen."""
    assert not scores.has_reference(name)
    with pytest.raises(ValueError, match=f"{name} has no D4RL reference score"):
        scores.reference_scores(name)


def test_the_recorded_halfcheetah():
    assert scores.normalised_score("HalfCheetah-v4", 1769) == pytest.approx(16.5, 1e-2)
