"""Handles, groups and their slots; nothing is compiled here."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rpex_jax.envs import host
from rpex_jax.envs.host import NOWHERE, HostEnvs, Slot


class Steps(gymnasium.Env):
    """Observes (seed, steps since the reset); ends after as many steps as it is told.

    Entry 0 of the action, in [0, 10], is paid.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(0.0, 10.0, (1,), np.float64)

    def __init__(self, length):
        self._length = length

    def reset(self, *, seed=None, options=None):
        self._seed, self._time = seed, 0
        return self._observation(), {}

    def step(self, action):
        self._time += 1
        if self._time > self._length:
            raise RuntimeError("stepped after the end")
        ended = self._time == self._length
        return self._observation(), float(action[0]), ended, False, {}

    def _observation(self):
        return np.array([self._seed, self._time], float)


class Copies:
    """`make_group`, which counts the environments it made."""

    def __init__(self, kind=Steps, length=3):
        self.count, self._kind, self._length = 0, kind, length

    def __call__(self, count):
        self.count += count
        return SyncVectorEnv(
            [lambda: Slot(self._kind(self._length))] * count,
            autoreset_mode=AutoresetMode.DISABLED,
        )


def start(envs, seeds):
    seeds = np.array(seeds)
    handles = np.broadcast_to(np.int32(NOWHERE), (*seeds.shape, 3))
    return envs.reset(handles, seeds, np.ones(seeds.shape, bool))


def zeros(handles):
    return np.zeros((*handles.shape[:-1], 1))


def test_a_group_moves_together():
    envs = HostEnvs("Steps", 2, Copies())
    first = start(envs, [[5, 6, 7], [8, 9, 10]])
    assert first.handle.shape == (2, 3, 3) and first.handle.dtype == np.int32
    np.testing.assert_array_equal(first.observation[..., 0], [[5, 6, 7], [8, 9, 10]])
    actions = np.array([[[-1.0], [0.0], [1.0]], [[0.5], [2.0], [-7.0]]])
    after = envs.step(first.handle, actions)
    # [-1, 1] spans the action space, and nothing beyond it is executed.
    np.testing.assert_array_equal(after.reward, [[0, 5, 10], [7.5, 10, 0]])
    np.testing.assert_array_equal(after.observation[..., 1], 1)
    np.testing.assert_array_equal(after.observation[..., 0], first.observation[..., 0])
    for x in after[3:]:
        assert x.dtype == bool and x.shape == (2, 3) and not x.any()


def test_the_ended_stay_and_pay_nothing_until_they_are_reset():
    envs = HostEnvs("Steps", 2, Copies(length=2))
    now = start(envs, [1, 2])
    for _ in range(2):
        now = envs.step(now.handle, zeros(now.handle))
    assert now.terminated.all() and (now.reward == 5).all()
    now = envs.step(now.handle, zeros(now.handle))
    assert now.terminated.all() and not now.failed.any()
    np.testing.assert_array_equal(now.observation, [[1, 2], [2, 2]])
    np.testing.assert_array_equal(now.reward, 0)
    first = envs.reset(now.handle, np.array([7, 7]), np.array([False, True]))
    np.testing.assert_array_equal(first.observation[1], [7, 0])
    assert not first.terminated[1]
    now = envs.step(first.handle, zeros(now.handle))
    np.testing.assert_array_equal(now.observation, [[1, 2], [7, 1]])
    np.testing.assert_array_equal(now.terminated, [True, False])
    np.testing.assert_array_equal(now.reward, [0, 5])


def test_slots_move_alone_and_in_any_order():
    envs = HostEnvs("Steps", 2, Copies())
    a, b = start(envs, [1, 2]), start(envs, [3, 4])
    mixed = np.stack([b.handle[1], a.handle[0]])
    after = envs.step(mixed, zeros(mixed))
    np.testing.assert_array_equal(after.observation, [[4, 1], [1, 1]])
    rest = np.stack([a.handle[1], after.handle[0], b.handle[0]])
    after = envs.step(rest, zeros(rest))
    np.testing.assert_array_equal(after.observation, [[2, 1], [4, 2], [3, 1]])


@pytest.mark.parametrize("bad", ["used before", "twice", "another process", "nowhere"])
def test_a_handle_that_is_not_good_fails(bad):
    envs, others = (HostEnvs("Steps", 2, Copies()) for _ in range(2))
    handles = start(envs, [1, 2]).handle
    if bad == "used before":
        envs.step(handles[:1], zeros(handles[:1]))
    elif bad == "twice":
        handles = handles[[1, 1]]
    elif bad == "another process":
        handles[0] = start(others, [1, 2]).handle[0]
    else:
        handles[0] = NOWHERE
    good, wrong = (0, 1) if bad == "twice" else (1, 0)
    after = envs.step(handles, zeros(handles))
    np.testing.assert_array_equal(after.observation[good], [2, 1])
    assert after.reward[good] == 5 and not after.failed[good]
    np.testing.assert_array_equal(after.observation[wrong], [0, 0])
    assert after.reward[wrong] == 0
    assert after.failed[wrong] and after.terminated[wrong]
    # A reset is as good as new, and nothing happens to the other.
    first = envs.reset(after.handle, np.array([8, 8]), np.arange(2) == wrong)
    after = envs.step(first.handle, zeros(handles))
    np.testing.assert_array_equal(after.observation[good], [2, 2])
    np.testing.assert_array_equal(after.observation[wrong], [8, 1])
    assert not after.failed.any()


def test_what_is_not_finite_fails():
    class Broken(Steps):
        def step(self, action):
            observation, *rest = super().step(action)
            return observation / (self._seed != 1), *rest

    envs = HostEnvs("Broken", 2, Copies(Broken))
    now, actions = start(envs, [1, 2, 3]), np.array([[0.0], [np.nan], [0.0]])
    with np.errstate(all="ignore"):
        for _ in range(2):
            now = envs.step(now.handle, actions)
            assert now.failed.tolist() == now.terminated.tolist() == [True, True, False]
            np.testing.assert_array_equal(now.observation[:2], 0)
            np.testing.assert_array_equal(now.reward, [0, 0, 5])
    assert now.observation[2, 1] == 2


def test_groups_are_used_again_once_all_has_ended():
    """Fifty evaluations beside a training, of the same size and of another."""
    made = Copies()
    envs = HostEnvs("Steps", 2, made)
    training = start(envs, [1, 2])
    for seed in range(50):
        for count in (2, 5):
            now = start(envs, np.full(count, seed))
            for time in range(1, 4):
                now = envs.step(now.handle, zeros(now.handle))
                np.testing.assert_array_equal(now.observation, [[seed, time]] * count)
        training = envs.step(training.handle, zeros(training.handle))
        assert not training.failed.any()
        np.testing.assert_array_equal(training.observation[:, 0], [1, 2 + 2 * seed])
        # The second is reset each time, the first goes on, then rests.
        training = envs.reset(
            training.handle, np.full(2, 4 + 2 * seed), np.array([False, True])
        )
    assert made.count == 2 + 2 + 5


def test_abandoned_groups_are_forgotten(monkeypatch):
    monkeypatch.setattr(host, "MAX_GROUPS", 3)
    envs = HostEnvs("Steps", 2, Copies())
    kept = start(envs, [0])
    for seed in range(10):
        abandoned = start(envs, [seed])
        kept = envs.step(kept.handle, zeros(kept.handle))
        assert not kept.failed.any()
        if kept.terminated.all():
            kept = envs.reset(kept.handle, np.array([0]), np.array([True]))
    first = start(envs, [0])
    for seed in range(3):
        start(envs, [seed])
    assert envs.step(first.handle, zeros(first.handle)).failed.all()
    assert envs.step(abandoned.handle, zeros(first.handle)).failed.all()


def test_an_environment_that_raises_is_named_and_left():
    class Raising(Steps):
        def step(self, action):
            if self._seed == 1:
                raise KeyError("motor")
            return super().step(action)

    envs = HostEnvs("Robot-v0", 2, Copies(Raising))
    handles = start(envs, [1, 2]).handle
    with pytest.raises(RuntimeError, match=r"Robot-v0 raised in step: KeyError.*motor"):
        envs.step(handles, zeros(handles))
    # What the others were at is not known any more.
    assert envs.step(handles[1:], zeros(handles[1:])).failed.all()
    handles = start(envs, [3, 4]).handle
    assert not envs.step(handles, zeros(handles)).failed.any()
