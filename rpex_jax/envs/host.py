"""Environments outside of JAX, in groups, addressed by handles; all NumPy inside.

A handle `(group, slot, tick)` names one state of one environment: a slot of a vector
environment, after so many moves. The world outside cannot go back, so a handle is good
for one move, which gives the next handle. One that is not good (used before, restored
from a checkpoint, forgotten) is answered with a failed end of its episode, never with
a transition from another state.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

NOWHERE = (-1, -1, -1)  # a handle that is never good
# Training and evaluation take a group each, and so does each device of a mesh. Groups
# whose episodes have all ended are taken again: only abandoned ones fill this up.
MAX_GROUPS = 64


class Outcome(NamedTuple):
    """What a reset or a step gives, with any leading axes."""

    handle: np.ndarray  # [3], int32
    observation: np.ndarray  # [observation_dim], float32
    reward: np.ndarray  # [], float32
    terminated: np.ndarray  # [], bool
    truncated: np.ndarray  # [], bool
    failed: np.ndarray  # [], bool: an action, observation or reward was not finite


class Slot(gymnasium.Wrapper):
    """Stays where it is when it is stepped with NaN or reset without a seed.

    So some slots of a vector environment can move while the others rest.
    """

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            self._observation, _ = self.env.reset(seed=seed)
        return self._observation, {}

    def step(self, action: np.ndarray):
        if np.isnan(action).any():
            return self._observation, 0.0, False, False, {}
        self._observation, *outcome, _ = self.env.step(action)
        return self._observation, *outcome, {}


class HostEnvs:
    """All copies of one environment, grouped as they were first reset.

    Args:
      name: what errors call the environment.
      observation_dim: width of its observations.
      make_group: `(count) -> VectorEnv` of so many slots, which never reset themselves.
    """

    def __init__(
        self,
        name: str,
        observation_dim: int,
        make_group: Callable[[int], VectorEnv],
    ):
        self._name = name
        self._observation_dim = observation_dim
        self._make_group = make_group
        self._groups: dict[int, _Group] = {}  # the one used last at the end
        self._lock = threading.Lock()  # the devices of a mesh call at once

    def reset(
        self, handles: np.ndarray, seeds: np.ndarray, chosen: np.ndarray
    ) -> Outcome:
        """Starts episodes where chosen; the other rows of the outcome mean nothing.

        A slot whose handle is good is reset in its place; all other chosen rows get a
        group of their own.

        Args:
          handles: [..., 3], int32.
          seeds: [...], not negative; they alone decide how the episodes start.
          chosen: [...], bool.
        """
        handles, seeds, chosen = map(np.asarray, (handles, seeds, chosen))
        shape, seeds, homeless = chosen.shape, seeds.ravel(), chosen.flatten()
        outcome = self._lost(handles)
        with self._lock:
            for group, rows, slots in self._find(handles, homeless):
                _put(outcome, rows, self._try(group, "reset", slots, seeds[rows]))
                homeless[rows] = False
            if homeless.any():
                rows = np.flatnonzero(homeless)
                group = self._free_group(len(rows))
                slots = np.arange(len(rows))
                _put(outcome, rows, self._try(group, "reset", slots, seeds[rows]))
        return _unflatten(outcome, shape)

    def step(self, handles: np.ndarray, actions: np.ndarray) -> Outcome:
        """Moves every slot whose handle is good; an ended one stays and pays nothing.

        Args:
          handles: [..., 3], int32.
          actions: [..., action_dim], in [-1, 1]; one that is not finite fails.
        """
        handles, actions = np.asarray(handles), np.asarray(actions)
        outcome = self._lost(handles)
        actions = actions.reshape(len(outcome.handle), -1)
        wanted = np.ones(len(actions), bool)
        with self._lock:
            for group, rows, slots in self._find(handles, wanted):
                _put(outcome, rows, self._try(group, "step", slots, actions[rows]))
        return _unflatten(outcome, handles.shape[:-1])

    def _lost(self, handles: np.ndarray) -> Outcome:
        """The answer to handles that are not good, [rows, ...]."""
        handles = handles.reshape(-1, 3).copy()
        count = len(handles)
        return Outcome(
            handle=handles,
            observation=np.zeros((count, self._observation_dim), np.float32),
            reward=np.zeros(count, np.float32),
            terminated=np.ones(count, bool),
            truncated=np.zeros(count, bool),
            failed=np.ones(count, bool),
        )

    def _find(
        self, handles: np.ndarray, wanted: np.ndarray
    ) -> Iterator[tuple["_Group", np.ndarray, np.ndarray]]:
        """Groups, and the rows and slots of their good handles, each slot once."""
        numbers, slots, ticks = handles.reshape(-1, 3).T
        for number in np.unique(numbers[wanted]).tolist():
            if number not in self._groups:
                continue
            group = self._groups[number] = self._groups.pop(number)
            rows = np.flatnonzero(wanted & (numbers == number))
            rows = rows[group.ticks[slots[rows]] == ticks[rows]]
            unique, first = np.unique(slots[rows], return_index=True)
            if len(unique):
                yield group, rows[first], unique

    def _free_group(self, count: int) -> "_Group":
        """A group nobody is in the middle of, under a number that nobody knows."""
        for number, group in self._groups.items():
            if len(group.ticks) == count and group.ended.all():
                del self._groups[number]
                break
        else:
            group = _Group(self._make_group(count))
            if len(self._groups) == MAX_GROUPS:
                self._groups.pop(next(iter(self._groups))).vector.close()
        group.number = secrets.randbits(31)
        self._groups[group.number] = group
        return group

    def _try(self, group: "_Group", method: str, *args: np.ndarray) -> Outcome:
        try:
            return getattr(group, method)(*args)
        except Exception as error:
            self._groups.pop(group.number)  # its slots are no longer in step
            raise RuntimeError(
                f"{self._name} raised in {method}: {type(error).__name__}: {error}"
            ) from error


class _Group:
    """One vector environment, and what its slots are at."""

    def __init__(self, vector: VectorEnv):
        count = vector.num_envs
        self.number = NOWHERE[0]  # its name in handles
        self.vector = vector
        self.ticks = np.zeros(count, np.int32)
        self.terminated = np.ones(count, bool)
        self.truncated = np.zeros(count, bool)
        self.failed = np.zeros(count, bool)

    @property
    def ended(self) -> np.ndarray:
        return self.terminated | self.truncated

    def reset(self, slots: np.ndarray, seeds: np.ndarray) -> Outcome:
        chosen = np.zeros(len(self.ticks), bool)
        chosen[slots] = True
        seed_of = dict(zip(slots.tolist(), seeds.tolist(), strict=True))
        observations, _ = self.vector.reset(
            seed=[seed_of.get(slot) for slot in range(len(chosen))],
            options={"reset_mask": chosen},
        )
        for flags in (self.terminated, self.truncated, self.failed):
            flags[slots] = False
        return self._outcome(slots, observations, np.zeros(len(chosen)))

    def step(self, slots: np.ndarray, actions: np.ndarray) -> Outcome:
        ended, box = self.ended, self.vector.action_space  # [count, ...]
        bad = ~np.isfinite(actions).all(axis=1)
        self.failed[slots] |= bad & ~ended[slots]
        moves = np.full((len(ended), actions.shape[1]), np.nan)  # NaN rests
        moves[slots] = actions
        moves[ended | self.failed] = np.nan
        low, high = (bound.reshape(moves.shape) for bound in (box.low, box.high))
        moves = np.clip((high + low) / 2 + (high - low) / 2 * moves, low, high)
        observations, rewards, terminated, truncated, _ = self.vector.step(
            moves.reshape(box.shape).astype(box.dtype)
        )
        if (done := terminated | truncated).any():
            # Vector environments step no slot that is not reset after its end; this
            # resets nothing, as there is no seed.
            self.vector.reset(options={"reset_mask": done})
        self.terminated |= terminated
        self.truncated |= truncated
        return self._outcome(slots, observations, rewards)

    def _outcome(
        self, slots: np.ndarray, observations: np.ndarray, rewards: np.ndarray
    ) -> Outcome:
        with np.errstate(over="ignore"):  # becomes infinity, which fails
            observations = np.array(observations[slots], np.float32)
            rewards = np.array(rewards[slots], np.float32)
        finite = np.isfinite(observations).all(axis=1) & np.isfinite(rewards)
        failed = self.failed[slots] = self.failed[slots] | ~finite
        self.terminated[slots] |= failed
        self.ticks[slots] += 1
        return Outcome(
            handle=np.stack(
                [np.full_like(slots, self.number), slots, self.ticks[slots]], axis=1
            ),
            observation=np.where(failed[:, None], 0.0, observations),
            reward=np.where(failed, 0.0, rewards),
            terminated=self.terminated[slots],
            truncated=self.truncated[slots],
            failed=failed,
        )


def _put(outcome: Outcome, rows: np.ndarray, part: Outcome) -> None:
    for everything, some in zip(outcome, part, strict=True):
        everything[rows] = some


def _unflatten(outcome: Outcome, shape: tuple[int, ...]) -> Outcome:
    return Outcome(*(x.reshape(shape + x.shape[1:]) for x in outcome))
