"""What the studies of RPEX share: presets and tasks.

A study is `get_config("small,HalfCheetah-v4")`: a preset, by default `paper`, and an
environment, by default Hopper-v4.

Source: RPEX, arXiv 2509.24748, section 7 and Table C.1.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from experiments.configs.default import default_config
from experiments.configs.rpex import hyperparameters
from experiments.settings import ConfigError, check_name
from rpex_jax.data.sources import builtin_names

# Policy sets: PEX, RPEX as it is printed, and RPEX as its released code runs.
SETS = ("pex", "rpex", "rpex-released")


class Preset(NamedTuple):
    """A budget."""

    note: str
    seeds: int
    width: int  # of both hidden layers
    batch_size: int
    offline_updates: int
    offline_chunk: int
    online_steps: int  # warm-up included
    warmup: int
    online_chunk: int
    evaluate_every: int  # chunks
    episodes: int  # of an evaluation
    actor_decay: float = 1.0  # offline, times offline_updates
    # Bodies on which RIQL starts with the released critics, others with IQL's: there it
    # is at a floor for so few updates. None: all.
    released_init: tuple[str, ...] | None = ()


PRESETS = {
    "paper": Preset(
        note="",
        seeds=5,
        width=256,
        batch_size=256,
        offline_updates=2_000_000,
        offline_chunk=5_000,
        online_steps=1_000_000,
        warmup=5_000,
        online_chunk=5_000,
        evaluate_every=2,
        episodes=10,
        released_init=None,
    ),
    "medium": Preset(
        note=(
            "reduced budget: networks of half the paper's width, batches of half its "
            "size, a nearly constant rate of the policy offline, RIQL's critics "
            "initialised as IQL's but on HalfCheetah; the paper has 2,000,000 offline "
            "updates and 1,000,000 online steps"
        ),
        seeds=5,
        width=128,
        batch_size=128,
        offline_updates=200_000,
        offline_chunk=5_000,
        online_steps=100_000,
        warmup=5_000,
        online_chunk=1_000,
        evaluate_every=5,
        episodes=10,
        actor_decay=10.0,
        released_init=("HalfCheetah",),
    ),
    "small": Preset(
        note=(
            "reduced budget: networks of half the paper's width, batches of half its "
            "size, RIQL's critics initialised as IQL's; the paper has 2,000,000 "
            "offline updates and 1,000,000 online steps"
        ),
        seeds=3,
        width=128,
        batch_size=128,
        offline_updates=30_000,
        offline_chunk=10_000,
        online_steps=6_000,
        warmup=1_000,
        online_chunk=1_000,
        evaluate_every=1,
        episodes=10,
    ),
    "smoke": Preset(
        note="smoke-sized budget: it shows that everything runs, not who wins",
        seeds=2,
        width=64,
        batch_size=64,
        offline_updates=2_000,
        offline_chunk=1_000,
        online_steps=1_500,
        warmup=500,
        online_chunk=500,
        evaluate_every=1,
        episodes=5,
    ),
}


def start(argument: str, env: str = "Hopper-v4") -> ConfigDict:
    """The protocol of the paper at a preset's budget; not locked.

    Args:
      argument: "small", "small,HalfCheetah-v4" or ",HalfCheetah-v4".
      env: where the argument has none.

    Raises:
      ConfigError: a preset that there is not, or an environment without numbers of
        RIQL's.
    """
    preset, env = parse(argument, env)
    if not hyperparameters.rows(env):
        raise ConfigError(
            f"the study's environment is {env!r}; there are RIQL's numbers for "
            f"{', '.join(hyperparameters.RANDOM)}"
        )
    config = protocol(preset, env)
    config.data.source = f"{env.lower()}/medium-replay-v0"
    for kind in ("mixed", "medium-replay"):
        builtin = f"{env.split('-')[0].lower()}-{kind}"
        if builtin in builtin_names():
            config.data.source = builtin
    hyperparameters.apply(config)
    return config


def parse(argument: str, env: str) -> tuple[Preset, str]:
    """The preset and the environment of a study's argument, `env` where it has none.

    Raises:
      ConfigError: there is no such preset.
    """
    name, _, given = argument.partition(",")
    name = name or "paper"
    check_name("the preset", name, tuple(PRESETS))
    return PRESETS[name], given or env


def protocol(preset: Preset, env: str) -> ConfigDict:
    """Table C.1 at a preset's budget; neither a data set nor RIQL's numbers yet."""
    config = default_config()
    config.note = preset.note
    config.env = env
    config.sweep.seed = tuple(range(preset.seeds))
    for agent in config.agent.values():
        agent.hidden_dims = (preset.width,) * len(agent.hidden_dims)
    config.offline.steps = preset.offline_updates
    config.offline.chunk = preset.offline_chunk
    config.offline.batch_size = preset.batch_size
    config.online.steps = preset.online_steps
    config.online.warmup = preset.warmup
    config.online.chunk = preset.online_chunk
    config.online.batch_size = preset.batch_size
    config.evaluation.every = preset.evaluate_every
    config.evaluation.episodes = preset.episodes
    config.offline.actor_decay = preset.actor_decay
    released, body = preset.released_init, env.split("-")[0]
    is_released = released is None or body in released
    config.agent.riql.critic_init = "edac" if is_released else "torch"
    if preset is not PRESETS["paper"]:
        config.jsrl.schedule = "linear"  # there are too few episodes for a curriculum
    return config
