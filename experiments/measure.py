"""Measures the policies of a sweep: kurtosis, action histograms, selection.

    python -m experiments.measure --checkpoint=runs/quickstart [--out=FOLDER] \
      [--samples=5000]

A checkpoint is as in `experiments.evaluate`. Every policy acts, by sampling, once at
each of the same states, drawn from the clean data set of the sweep; beside it acts the
policy that it started from, which in a policy set is the frozen member. Definitions are
in docs/measures.md. The table has means over runs that differ in their seed alone; the
folder gets it, a PNG of the histograms, and in measures.json every run.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags, logging

from experiments import folders, inspection, measured, policies, study_inputs
from experiments.command_line import OUT, cache_compilations, run
from experiments.inspection import CHECKPOINT, EPISODES, RUN, VIDEO
from experiments.measured import EDGES, Measured
from experiments.policies import Policies
from experiments.settings import ConfigError
from rpex_jax import expansion, measures, sweep
from rpex_jax.agents.critics import td_target
from rpex_jax.data.statistics import standardise
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.training.offline import (
    OfflineData,
    data_key,
    put_on_device,
    standardise_batch,
    take_rows,
)
from rpex_jax.types import Agent

_SAMPLES = flags.DEFINE_integer("samples", 5000, "States, one action at each.", 2)


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder it reads
    _, groups = inspection.load(argv, ignored=[EPISODES, RUN, VIDEO])
    folder = policies.folder_of(Path(CHECKPOINT.value))  # of a unit: of its study
    out = Path(OUT.value or folder / "measures")
    folders.check_out("--out", out)
    data = data_of(folder)
    cache_compilations()
    runs = [of_run for g in groups for of_run in measure(g, data, _SAMPLES.value)]
    measured.write(out, runs, folders.provenance("experiments.measure"))
    print(f"{measured.markdown(runs)}\n\nmeasures: {out}")


def data_of(out: Path) -> OfflineData:
    """The data set of a sweep's folder.

    Raises:
      ConfigError: the folder is of a collection.
      DatasetError: the data set is not there any more.
    """
    config = folders.read(out)
    if "data" not in config:
        raise ConfigError(
            f"--checkpoint is {out}, a collection; it must be of a sweep, whose data "
            "set has the states to act at"
        )
    dataset = study_inputs.load_dataset(config)
    return put_on_device(dataset, study_inputs.reward_unit(config, dataset))


def measure(group: Policies, data: OfflineData, num_samples: int) -> list[Measured]:
    """Every run of a group, at the same states."""
    key_rows, key_act, key_before, key_select = jax.random.split(jax.random.key(0), 4)
    rows = jax.random.randint(
        key_rows, (num_samples,), 0, len(data.transitions.rewards)
    )
    pretrained = group.pretrained
    edges = jnp.asarray(EDGES)

    def of_run(state, statistics, run, first, first_config):
        observations = standardise(data.transitions.observations[rows], statistics)

        def acts(agent: Agent, key, state, config):
            return agent.act(key, state, observations, config, greedy=False)

        after = acts(group.agent, key_act, state, run.agent)
        before = acts(pretrained.agent, key_before, first, first_config)
        batch = take_rows(rows, data_key(run), data, run.offline_corruption)
        batch = standardise_batch(batch, statistics)
        next_values = group.agent.state_value(state, batch.next_observations, run.agent)
        of_base = getattr(run.agent, "base", run.agent)
        targets = td_target(batch, next_values, of_base)
        damage = run.offline_corruption
        is_attacked = (damage.adversarial * damage.rate > 0).any()
        numbers = {
            "kurtosis": measures.excess_kurtosis(after).mean(),
            "kurtosis_before": measures.excess_kurtosis(before).mean(),
            # what is adversarial in the data is in no checkpoint
            "kurtosis_q_targets": jnp.where(
                is_attacked, jnp.nan, measures.excess_kurtosis(targets)
            ),
        }
        if isinstance(run.agent, ExpansionConfig):
            selection = expansion.choose(
                pretrained.agent, key_select, state, observations, run.agent
            )
            numbers |= expansion.selection_metrics(selection, state, run.agent)
        counts = (measures.histogram(actions, edges) for actions in (before, after))
        return numbers, *counts

    found = jax.jit(jax.vmap(of_run))(
        group.states,
        group.statistics,
        group.runs,
        pretrained.states,
        pretrained.configs,
    )
    found = jax.device_get(found)
    runs = []
    for i, labels in enumerate(group.labels):
        numbers, before, after = sweep.take(found, i)
        numbers = {name: float(value) for name, value in numbers.items()}
        runs.append(Measured(labels, int(group.step[i]), numbers, before, after))
    return runs


if __name__ == "__main__":
    run(main)
