"""A study of seconds, and a process that runs it: python -m tests.experiments.tiny."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import report, study_inputs, sweep
from experiments.command_line import errors_in_a_line
from experiments.configs.default import default_config
from tests import diagnostic


def write_data(path: Path, observation_dim: int, action_dim: int) -> None:
    """Random rows in episodes of four, the last of each terminal."""
    rng, count = np.random.default_rng(0), 64
    observations = rng.uniform(-1, 1, (count, observation_dim))
    np.savez(
        path,
        observations=observations,
        actions=rng.uniform(-1, 1, (count, action_dim)),
        rewards=rng.normal(size=count),
        next_observations=observations + 0.1,
        terminals=np.arange(count) % 4 == 3,
        timeouts=np.zeros(count),
    )


def tiny_config(data: Path, chunks: int) -> ConfigDict:
    """Two methods and two corruptions; `chunks` chunks offline and as many online."""
    config = default_config()
    config.data.source = str(data)
    config.sweep.base = ("iql",)
    config.sweep.method = ("pex", "rpex")
    config.sweep.corruption = ("clean", "action")
    config.sweep.seed = (0,)
    config.corruptions.action.settings = ()
    for agent in config.agent.values():
        agent.hidden_dims = (16, 16)
        agent.learning_rate = 1e-2  # so that few updates leave a mark
    config.offline.steps, config.offline.chunk = 2 * chunks, 2
    config.online.steps, config.online.warmup, config.online.chunk = (
        3 + 2 * chunks,
        3,
        2,
    )
    config.offline.batch_size = config.online.batch_size = 16
    config.evaluation.episodes, config.evaluation.every = 2, 2
    return config.lock()


@contextlib.contextmanager
def small_world() -> Iterator[None]:
    """Studies on a diagnostic environment, without a report.

    Physics and plots are not the point; the host's is in no compilation cache.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            study_inputs, "make_env", lambda config: diagnostic.target_reward()
        )
        patch.setattr(report, "write", lambda folder: "")
        yield


if __name__ == "__main__":
    data, out, chunks, *resume = sys.argv[1:]
    config = tiny_config(Path(data), int(chunks)).unlock()
    config.expansion.num_policies = 3  # the first is from the middle of pretraining
    with small_world(), errors_in_a_line():
        sweep.run_study(config.lock(), Path(out), resume=bool(resume))
