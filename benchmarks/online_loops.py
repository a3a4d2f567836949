"""One online training by this project's loop or by a peer's: rows of evaluations."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from rpex_jax import envs, sweep
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.attacks.corruption import corruption
from rpex_jax.methods import METHODS
from rpex_jax.training import offline
from rpex_jax.training.run import RunConfig

OURS = "rpex_jax"


class Settings(NamedTuple):
    """One cell: a library trains an algorithm in an environment, with every seed."""

    library: str
    algorithm: str
    env: str
    steps: int  # of the environment, the warm-up's included
    warmup: int  # steps of uniform actions, before the first update
    evaluate_every: int  # steps; divides the two above
    episodes: int = 10  # of an evaluation
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 128
    hidden_dims: tuple[int, ...] = (128, 128)
    learning_rate: float = 3e-4
    discount: float = 0.99
    target_update_rate: float = 0.005
    exploration_noise: float = 0.1  # TD3's

    @property
    def name(self) -> str:
        return f"{self.library}-{self.algorithm}-{self.env}"


def ours(settings: Settings) -> Iterator[dict]:
    """This project's online loop, all seeds in one program.

    Yields a row of each seed for each evaluation; its `seconds` are of training, of all
    seeds together.
    """
    env, agent = envs.make(settings.env), AGENTS[settings.algorithm]
    names = ["learning_rate", "discount", "target_update_rate", "hidden_dims"]
    if settings.algorithm == "td3":
        names.append("exploration_noise")
    config = CONFIGS[settings.algorithm](
        **{name: getattr(settings, name) for name in names}
    )
    clean = corruption(())
    runs = sweep.stack(
        [RunConfig(seed, config, clean, clean, 0) for seed in settings.seeds]
    )
    nothing, no_data = offline.from_scratch(env.spec)
    pretrained = sweep.stack([nothing] * len(settings.seeds))
    phase = sweep.online_phase(
        agent,
        METHODS["scratch"],
        env,
        batch_size=settings.batch_size,
        num_offline=0,
        capacity=settings.steps,
        warmup=settings.warmup,
        num_steps=settings.evaluate_every,
        updates_per_step=1,
        num_episodes=settings.episodes,
        warmup_actions="uniform",
    )
    seconds = 0.0
    for step in range(settings.warmup, settings.steps + 1, settings.evaluate_every):
        start = time.perf_counter()
        if step == settings.warmup:
            state = phase.start(pretrained, runs, no_data)
        else:
            state, _ = phase.chunk(state, pretrained.statistics, runs, no_data)
        jax.block_until_ready(state)
        seconds += time.perf_counter() - start
        returns = phase.evaluate(state, pretrained.statistics, runs).tolist()
        for seed, of_seed in zip(settings.seeds, returns, strict=True):
            yield {"seed": seed, "step": step, "returns": of_seed, "seconds": seconds}


def peers(settings: Settings, python: str) -> Iterator[dict]:
    """A peer's loop, one seed after the other; `seconds` are of one seed's training."""
    script = str(Path(__file__).with_name("peers_learning.py"))
    command = [python, script, json.dumps(settings._asdict())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from map(json.loads, process.stdout)
    if process.returncode:
        sys.exit(f"error: {settings.name} failed with exit code {process.returncode}")


def loop_speeds(algorithm: str, python: str) -> list[dict]:
    """Steps per second of training, one update each, with all loops in turn.

    Returns:
      Rows with `algorithm`, `library`, `runs` and `steps_per_s`, of all runs together
      and the best of the rounds; compilation and evaluation are left out.
    """
    best: dict[tuple[str, int], float] = {}
    for _ in range(2):
        for library, runs in (
            (OURS, 1),
            (OURS, 3),
            ("sbx", 1),
            ("stable_baselines3", 1),
        ):
            settings = Settings(
                *(library, algorithm, "Hopper-v5", 3_000, 1_000, 1_000),
                episodes=1,
                seeds=tuple(range(runs)),
            )
            learn = ours(settings) if library == OURS else peers(settings, python)
            clock = {row["step"]: row["seconds"] for row in learn}
            rate = runs * 1_000 / (clock[3_000] - clock[2_000])
            best[library, runs] = max(rate, best.get((library, runs), 0.0))
    return [
        {"algorithm": algorithm, "library": library, "runs": runs, "steps_per_s": rate}
        for (library, runs), rate in best.items()
    ]
