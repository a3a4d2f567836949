"""Data sets in the manner of D4RL's, from one training of SAC or of given policies."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from experiments.configs.default import agent_defaults


def get_config():
    config = ConfigDict()
    config.env = "Hopper-v4"  # one of ours, or any Gymnasium id
    config.engine = ""  # of its physics; empty: by the device
    # Any of random, medium-replay, medium, medium-expert, expert, full-replay; of given
    # policies any of random, mixed, expert.
    config.kinds = ("medium-replay",)
    # Files of weights, or checkpoints of ours, the expert last; () trains SAC.
    config.policies = ()
    config.origin = ""  # of the policies, and their licence; stays with the data
    config.dataset_id = "{env}/{kind}-v0"  # Minari's name; env in lower case
    config.author = "rpex_jax"
    config.seed = 0

    # Rollouts of a policy with sampled actions: random, medium, expert, mixed.
    config.rows = 1_000_000  # transitions; medium-expert has nearly twice as many
    config.collectors = 16  # environments side by side

    # SAC, and its replay.
    config.steps = 1_000_000  # environment steps at most, warm-up included
    config.warmup = 5_000  # steps before the first update
    config.warmup_actions = "policy"  # or "uniform"
    config.updates_per_step = 1  # UTD
    config.batch_size = 256
    config.agent = ConfigDict({"sac": agent_defaults("sac")})
    config.evaluate_every = 5_000  # steps
    config.episodes = 10  # of an evaluation

    # A policy is medium, or expert, at the first evaluation from `steps` on that has
    # the score (D4RL's) or, where it is given, the mean return; or when training ends.
    config.medium = ConfigDict()
    config.medium.score = 34.0  # a third of the expert's
    config.medium.mean_return = placeholder(float)
    config.medium.steps = 0
    config.expert = ConfigDict()
    config.expert.score = placeholder(float)
    config.expert.mean_return = placeholder(float)
    config.expert.steps = 0
    return config.lock()
