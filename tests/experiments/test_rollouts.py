"""Episodes of several collectors: none lost, none cut, none out of turn."""

import numpy as np
import pytest

from experiments import rollouts
from rpex_jax.data.dataset import Dataset
from rpex_jax.types import Transition


def streams(lengths: list[list[int]], num_steps: int) -> Dataset:
    """Steps of collectors with these episodes; a reward is 1000 collector + step."""
    ends = np.zeros((len(lengths), num_steps), bool)
    for row, of_collector in zip(ends, lengths, strict=True):
        stops = np.cumsum(of_collector) - 1
        row[stops[stops < num_steps]] = True
    numbers = 1000.0 * np.arange(len(lengths))[:, None] + np.arange(num_steps)
    vectors = numbers[..., None]
    return Dataset(
        Transition(vectors, vectors, numbers, vectors, ends.astype(np.float32)), ends
    )


def in_chunks(steps: Dataset, size: int):
    for start in range(0, steps.episode_ends.shape[1], size):
        rows = slice(start, start + size)
        yield Dataset(
            Transition(*(x[:, rows] for x in steps.transitions)),
            steps.episode_ends[:, rows],
        )


def numbers_of(dataset: Dataset) -> list[int]:
    return dataset.transitions.rewards.astype(int).tolist()


@pytest.mark.parametrize("size", [1, 3, 7, 12])
def test_episodes_come_in_the_order_in_which_they_began(size):
    """Ties go by collector; an early long one holds the later short ones back."""
    steps = streams([[2, 3, 7], [6, 1, 5], [1, 1, 2, 8]], num_steps=12)
    episodes = rollouts.Episodes(num_collectors=3)
    seen = [episodes.add(chunk) for chunk in in_chunks(steps, size)]
    # (began, collector): length of all that is over after twelve steps
    spans = {(0, 0): 2, (0, 1): 6, (0, 2): 1, (1, 2): 1, (2, 0): 3, (2, 2): 2}
    spans |= {(4, 2): 8, (5, 0): 7, (6, 1): 1, (7, 1): 5}
    expected = [
        1000 * collector + step
        for (began, collector), length in sorted(spans.items())
        for step in range(began, began + length)
    ]
    got = rollouts.join(seen)
    assert numbers_of(got) == expected
    lengths = [length for _, length in sorted(spans.items())]
    assert (
        np.flatnonzero(got.episode_ends).tolist() == (np.cumsum(lengths) - 1).tolist()
    )


def test_the_unfinished_episode_is_the_next_in_turn():
    """It stays where it is, so that it can still become whole."""
    steps = streams([[2, 9], [3, 9]], num_steps=12)
    episodes = rollouts.Episodes(num_collectors=2)
    first, second = in_chunks(steps, 6)
    assert numbers_of(episodes.add(first)) == [0, 1, 1000, 1001, 1002]
    rest = episodes.unfinished()
    assert numbers_of(rest) == [2, 3, 4, 5]
    assert not rest.episode_ends.any()
    assert rollouts.closed(rest).episode_ends.tolist() == [False] * 3 + [True]
    whole = episodes.add(second)
    assert numbers_of(whole)[:9] == list(range(2, 11))


def test_whole_drops_what_was_cut():
    """All rows up to the last end, which may be none."""
    steps = streams([[2, 3, 9]], num_steps=8)
    dataset = Dataset(
        Transition(*(x[0] for x in steps.transitions)), steps.episode_ends[0]
    )
    assert numbers_of(rollouts.whole(dataset)) == [0, 1, 2, 3, 4]
    assert numbers_of(rollouts.whole(rollouts.cut(dataset, 5, 8))) == []
    assert len(rollouts.closed(rollouts.cut(dataset, 0, 0)).episode_ends) == 0
