"""Table 5: do RIQL, RIQL-PEX and RPEX find the goal of AntMaze, with damaged data?

The data are D4RL's own file for the environment, in the current folder, or elsewhere by
`--config.data.source`; docs/antmaze.md tells what else fits.

The table has weaker damage than the others and ten seeds, and all else as Table C.1,
which has the expectile and beta of locomotion; these are IQL's for AntMaze, as in PEX's
README. RIQL has no row for AntMaze: its numbers are the released code's without one.

Source: RPEX, arXiv 2509.24748, Table 5; PEX README; IQL configs/antmaze_config.py.
"""

from experiments.configs.rpex import common
from experiments.settings import check_name
from rpex_jax.envs.antmaze import TASKS

# D4RL d4rl/locomotion/__init__.py: size and kind of a maze, in the words of its files.
SIZES = {"umaze": "u-maze", "medium": "big-maze", "large": "hardest-maze"}
STARTS_GOALS = {"umaze": (False, False), "play": (True, False), "diverse": (True, True)}


def d4rl_file(env: str) -> str:
    """The name of D4RL's file for "antmaze-large-play-v2" and the like."""
    words = env.split("-")
    starts, goals = STARTS_GOALS[words[-2]]
    return (
        f"Ant_maze_{SIZES[words[1]]}_noisy_multistart_{starts}_multigoal_{goals}"
        "_sparse_fixed.hdf5"
    )


def get_config(argument="paper"):
    preset, env = common.parse(argument, "antmaze-large-play-v2")
    check_name("the study's environment", env, tuple(TASKS))
    config = common.protocol(preset, env)
    config.data.source = d4rl_file(env)
    config.data.reward_shift = -1.0
    config.sweep.base = ("riql",)
    config.sweep.method = ("direct", *common.SETS)
    config.sweep.corruption = ("observation", "dynamics")
    config.offline.scale, config.offline.rate = 0.3, 0.2
    config.online.scale, config.online.rate = 0.5, 0.3
    for agent in (config.agent.iql, config.agent.riql):
        agent.expectile, agent.beta = 0.9, 10.0
    riql = config.agent.riql
    riql.sigma, riql.quantile, riql.num_critics = 3.0, 0.1, 5
    if preset is common.PRESETS["paper"]:
        config.sweep.seed = tuple(range(10))
        config.evaluation.episodes = 100
    return config.lock()
