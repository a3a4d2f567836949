"""Data of given policies, from the lowest to the best: who they are, what they did."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import kinds, policies, rollouts
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from experiments.study_results import as_scores
from rpex_jax import results, sweep
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data import policy_files, scores
from rpex_jax.data.dataset import Dataset, episode_returns, episode_slices
from rpex_jax.data.recorder import Recording
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import Env
from rpex_jax.training import evaluation, offline
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent


class Rung(NamedTuple):
    """One policy."""

    name: str
    agent: Agent
    state: Any  # of the agent
    config: Any  # of the agent
    statistics: ObservationStatistics


class Recorded(NamedTuple):
    """What is kept of one policy beside its data, as a row of a table."""

    policy: str
    greedy: float  # mean return without noise, of the config's episodes
    returns: np.ndarray  # of the recorded episodes
    rows: int

    def row(self, env_name: str) -> list[str]:
        """Cells of `HEADER`; scores where the environment has references."""
        mean = self.returns.mean()
        numbers = [self.greedy, mean, self.returns.min(), self.returns.max()]
        cells = [f"{x:.0f}" for x in numbers]
        if scores.has_reference(env_name):
            cells += [f"{float(as_scores(env_name, x)):.1f}" for x in numbers[:2]]
        else:
            cells += ["-", "-"]
        return [self.policy, str(self.rows), str(len(self.returns)), *cells]


HEADER = ["policy", "transitions", "episodes", "greedy return", "sampled return"]
HEADER += ["lowest", "highest", "greedy score", "sampled score"]


def load(config: ConfigDict, env: Env) -> list[Rung]:
    """The policies of a collection's config, in its order.

    Raises:
      ConfigError: a checkpoint of another environment, or none; one name for two; an
        expert that is several.
      PolicyFileError, CheckpointError: a policy that cannot be used.
    """
    rungs: list[Rung] = []
    for source in config.policies:
        if source.endswith(".npz"):
            agent, weights = policy_files.load(source, env.spec)
            seen = offline.raw(env.spec)
            found = [Rung(Path(source).stem, agent, weights, (), seen)]
        else:
            found = of_checkpoint(Path(source), env)
        taken = {rung.name for rung in rungs}
        for rung in found:
            if rung.name in taken:
                raise ConfigError(
                    f"policies has {source}, whose {rung.name!r} is there already; "
                    "each must have a name of its own"
                )
        rungs += found
        if source == config.policies[-1] and "expert" in config.kinds and found[1:]:
            raise ConfigError(
                f"policies ends with {source}, which holds {len(found)}; the expert "
                "must be one, such as the checkpoints/GROUP of a collection"
            )
    return rungs


def of_checkpoint(folder: Path, env: Env) -> list[Rung]:
    """The policies of a sweep, a collection or a checkpoint in them."""
    its_env, groups = policies.load(folder, "policies")
    if its_env.name != env.name:
        raise ConfigError(
            f"policies has {folder}, of {its_env.name}; it must be of {env.name}"
        )
    rungs = []
    for group in groups:
        for i, labels in enumerate(group.labels):
            state, statistics, run = sweep.take(
                (group.states, group.statistics, group.runs), i
            )
            told = (f"{key}={value}" for key, value in labels.items())
            name = " ".join((folder.absolute().name, *told))
            rungs.append(Rung(name, group.agent, state, run.agent, statistics))
    return rungs


def record(
    config: ConfigDict,
    env: Env,
    recordings: dict[str, Recording],
    rungs: list[Rung],
    out: Path,
) -> None:
    """Records what the policies do, all of them and the last; returns go to `out`.

    Raises:
      ConfigError: the rows are too few for an episode of each.
    """
    for kind, chosen in {"mixed": rungs, "expert": rungs[-1:]}.items():
        if kind not in recordings:
            continue
        parts, told = [], []
        for number, rung in enumerate(chosen):
            seed = [config.seed, kinds.OF_POLICIES.index(kind), number]
            part = episodes_of(rung, env, config, seed, config.rows // len(chosen))
            greedy = greedy_return(rung, env, config)
            returns, rows = episode_returns(part), len(part.episode_ends)
            parts.append(part)
            told.append(Recorded(rung.name, greedy, returns, rows))
        recordings[kind].append(shuffled(parts, config.seed))
        print(write_returns(out, kind, env.name, told), flush=True)
        names = ", ".join(f"{of.policy} {of.returns.mean():.0f}" for of in told)
        about = f"Sampled actions, mean returns: {names}."
        if origin := config.origin.rstrip(" ."):
            about += f" {origin}."
        if kind == "mixed":
            kinds.finish(recordings[kind], about)
        else:
            missed = kinds.shortfall("expert", config, told[-1].greedy)
            kinds.finish(recordings[kind], about, missed, told[-1].greedy)


def episodes_of(
    rung: Rung, env: Env, config: ConfigDict, seed: list[int], rows: int
) -> Dataset:
    """Whole episodes of a policy's sampled actions, of at most so many rows in all.

    Raises:
      ConfigError: not one episode fits.
    """
    rollout = rollouts.of_config(rung.agent, env, config)
    batches = rollout(rung.state, rung.config, seed, rows, rung.statistics)
    with progress_bar(f"{rung.name} {env.name}", rows, "step") as bar:
        found = []
        for batch in batches:
            bar.update(len(batch.episode_ends))
            found.append(batch)
    part = rollouts.whole(rollouts.join(found))
    if not len(part.episode_ends):
        raise ConfigError(
            f"rows is {config.rows}, of which {rung.name} has {rows}, less than an "
            "episode; it must have more"
        )
    return part


def greedy_return(rung: Rung, env: Env, config: ConfigDict) -> float:
    """Mean return of a policy without noise, over the config's episodes."""
    clean = corruption(())
    run = RunConfig(config.seed, rung.config, clean, clean, corrupt_again=0)
    evaluate = evaluation.make_evaluate(rung.agent, env, num_episodes=config.episodes)
    return float(jax.jit(evaluate)(rung.state, rung.statistics, run, 0).mean())


def shuffled(parts: list[Dataset], seed: int) -> Dataset:
    """The episodes of all parts in random order."""
    joined = rollouts.join(parts)
    slices = episode_slices(joined)
    order = np.random.default_rng(seed).permutation(len(slices))
    numbers = np.arange(len(joined.episode_ends))
    rows = np.concatenate([numbers[slices[i]] for i in order])
    return jax.tree.map(lambda x: x[rows], joined)


def write_returns(out: Path, kind: str, env_name: str, rungs: list[Recorded]) -> str:
    """Returns by rung as `KIND-returns.md` and `.json`, which has every episode's."""
    table = results.markdown_table(HEADER, [rung.row(env_name) for rung in rungs])
    results.write_atomically(out / f"{kind}-returns.md", table + "\n")
    every = {
        rung.policy: {
            "transitions": rung.rows,
            "greedy_return": rung.greedy,
            "returns": rung.returns.tolist(),
        }
        for rung in rungs
    }
    results.write_atomically(out / f"{kind}-returns.json", json.dumps(every) + "\n")
    return table
