"""The programs that are timed: RPEX's Table 1, one run or many, of any size."""

from collections.abc import Callable
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict

from experiments import study_cost
from experiments.configs.rpex import table1
from experiments.settings import check_name
from experiments.study_cost import Sample, Work
from rpex_jax.envs import Env
from rpex_jax.training.offline import OfflineData

ENV = "Hopper-v4"
CAPACITY = 10_000  # of a replay: 256 of the paper's million rows fit nowhere


class Program(NamedTuple):
    """What one run of the study trains."""

    base: str
    method: str
    phase: str
    critics: int


PROGRAMS = {
    "iql": Program("iql", "direct", "offline", critics=2),
    "riql": Program("riql", "direct", "offline", critics=5),
    "pex": Program("iql", "pex", "online", critics=2),
}
_TIMED = flags.DEFINE_list("programs", list(PROGRAMS), "What is timed.")


class Point(NamedTuple):
    """One program of an axis."""

    program: str  # of PROGRAMS
    runs: int
    critics: int
    width: int
    devices: int = 1


def timed_programs() -> list[str]:
    """What `--programs` names.

    Raises:
      ConfigError: an unknown program.
    """
    for name in _TIMED.value:
        check_name("--programs", name, tuple(PROGRAMS))
    return _TIMED.value


def config_of(point: Point) -> ConfigDict:
    """A study of such runs, on clean data, which cost what corrupted ones do."""
    base, method, *_ = PROGRAMS[point.program]
    config = table1.get_config(f"paper,{ENV}")
    seeds = tuple(range(point.runs))
    config.sweep.update(
        base=(base,), method=(method,), corruption=("clean",), seed=seeds
    )
    config.agent[base].num_critics = point.critics
    config.agent[base].hidden_dims = (point.width, point.width)
    config.online.capacity = CAPACITY
    return config


def work_of(point: Point, env: Env) -> Work:
    """The point's program in that study."""
    offline = PROGRAMS[point.program].phase == "offline"
    work = study_cost.offline_work if offline else study_cost.online_work
    return work(config_of(point), env.spec)[0]


def sample_of(point: Point, env: Env, data: OfflineData, num_updates: int) -> Sample:
    """A chunk of so many updates of every run; online as many steps."""
    offline = PROGRAMS[point.program].phase == "offline"
    make = study_cost.offline_sample if offline else study_cost.online_sample
    members = work_of(point, env).members
    return make(env, members, data, num_updates, point.devices)


def training(
    point: Point, env: Env, data: OfflineData, num_updates: int
) -> Callable[[], object]:
    """The same as a function that goes on from where it was."""
    sample = sample_of(point, env, data, num_updates)
    state = sample.start()

    def train():
        nonlocal state
        state, metrics = sample.chunk(state)
        return state, metrics

    return train
