"""A recorded HalfCheetah data set: {IQL, RIQL} x {direct, PEX, RPEX} x 4 corruptions.

The recording is NeoRL-2's SafetyHalfCheetah; give its path as `--config.data.source`.
Column 0 of its observations is the x position, which Gymnasium leaves out.
"""

from experiments.configs.default import default_config
from experiments.configs.rpex import hyperparameters
from rpex_jax.attacks.corruption import ELEMENTS


def get_config():
    config = default_config()
    config.note = (
        "reduced budget: networks of half the paper's width, batches of half its size; "
        "the paper has 2,000,000 offline updates and 1,000,000 online steps"
    )
    config.env = "HalfCheetah-v4"
    config.data.source = "neorl2_SafetyHalfCheetah-high-train.npz"
    config.data.drop_observation_columns = (0,)
    config.sweep.corruption = ELEMENTS
    config.sweep.seed = (0, 1, 2)
    hyperparameters.apply(config)
    for agent in config.agent.values():
        agent.hidden_dims = (128, 128)
    config.offline.steps = 25_000
    config.offline.chunk = 5_000
    config.offline.batch_size = 128
    config.online.steps = 9_000
    config.online.warmup = 1_000
    config.online.chunk = 1_000
    config.online.batch_size = 128
    config.evaluation.episodes = 5
    return config.lock()
