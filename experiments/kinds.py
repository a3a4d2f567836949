"""The kinds of data sets, in the manner of D4RL's, and what a collection may be told.

    random           uniform actions
    medium           sampled actions of a policy at about a third of the expert's score
    medium-replay    every step of the training up to that policy, in order
    expert           sampled actions of the policy at the end of its training
    full-replay      every step of the whole training
    medium-expert    medium, without a last episode that is cut, then expert

Of given policies, in place of a training:

    expert           sampled actions of the last one
    mixed            sampled actions of all, whole episodes, an equal share of the rows
                     of each, shuffled by episode; ours, in place of a replay

Source: D4RL, its wiki and `scripts/generation/mujoco`.
"""

from ml_collections import ConfigDict

from experiments import settings, study_settings
from experiments.settings import INFINITY, ConfigError
from rpex_jax.agents.sac import SACConfig
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data import scores
from rpex_jax.data.recorder import Recording
from rpex_jax.training.run import RunConfig

# policy: the kinds that record what it does, and the one that is the way to it
ROLLOUTS = {
    "random": ("random",),
    "medium": ("medium", "medium-expert"),
    "expert": ("expert", "medium-expert"),
}
REPLAYS = {"medium": "medium-replay", "expert": "full-replay"}
KINDS = ("random", "medium-replay", "medium", "medium-expert", "expert", "full-replay")
OF_POLICIES = ("random", "mixed", "expert")  # of given ones

RANGES = study_settings.RANGES | {
    "seed": (0, 2**31 - 1),
    "rows": (1, INFINITY),
    "collectors": (1, INFINITY),
    "steps": (1, INFINITY),
    "warmup": (1, INFINITY),
    "updates_per_step": (1, INFINITY),
    "batch_size": (1, INFINITY),
    "evaluate_every": (1, INFINITY),
    "episodes": (1, INFINITY),
    "medium.steps": (0, INFINITY),
    "expert.steps": (0, INFINITY),
}
NAMES = study_settings.NAMES | {"warmup_actions": ("policy", "uniform")}


def policies(kinds: tuple[str, ...]) -> list[str]:
    """The policies that must be trained for these kinds, the first to be had first."""
    return [
        policy
        for policy, replay in REPLAYS.items()
        if {replay, *ROLLOUTS[policy]} & set(kinds)
    ]


def sac_run(config: ConfigDict) -> RunConfig:
    """What the training is told."""
    clean = corruption(())
    agent = SACConfig(**config.agent.sac.to_dict())
    return RunConfig(config.seed, agent, clean, clean, corrupt_again=0)


def is_reached(policy: str, config: ConfigDict, step: int, mean_return: float) -> bool:
    """Whether a policy of this return is what the config calls medium, or expert."""
    goal = config[policy]
    if step < goal.steps:
        return False
    if goal.mean_return is not None:
        return mean_return >= goal.mean_return
    if goal.score is not None and scores.has_reference(config.env):
        return scores.normalised_score(config.env, mean_return) >= goal.score
    return goal.steps > 0


def shortfall(policy: str, config: ConfigDict, mean_return: float) -> str:
    """By how much a policy missed the return that was asked for; "" if it did not.

    That it took fewer steps than asked for is no shortfall.
    """
    goal = config[policy]
    if goal.mean_return is not None:
        found, wanted, unit = mean_return, goal.mean_return, "a mean return"
    elif goal.score is not None and scores.has_reference(config.env):
        found = float(scores.normalised_score(config.env, mean_return))
        wanted, unit = goal.score, "a score"
    else:
        return ""
    if found >= wanted:
        return ""
    return f"The {policy} policy has {unit} of {found:.1f}, {wanted:.1f} was asked for."


def finish(
    recording: Recording,
    about: str,
    missed: str = "",
    policy_return: float | None = None,
) -> None:
    """Gives a data set its name; what it missed is said, and stays with it."""
    if missed:
        print(f"notice: {missed} It was recorded all the same.", flush=True)
    recording.finish(f"{about} {missed}".strip(), policy_return)


def dataset_ids(config: ConfigDict) -> dict[str, str]:
    """The Minari id of each kind of a config, checked.

    Raises:
      ConfigError: at the first setting that cannot be used.
    """
    _check_kinds(config)
    _check_values(config)
    if not config.kinds or len(set(config.kinds)) < len(config.kinds):
        raise ConfigError(f"kinds is {config.kinds}; it must hold some, each once")
    env, ids = config.env.rpartition(":")[2].lower(), {}
    for kind in config.kinds:
        try:
            ids[kind] = config.dataset_id.format(env=env, kind=kind)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"dataset_id is {config.dataset_id!r}; only {{env}} and {{kind}} may "
                "stand in braces"
            ) from error
    if len(set(ids.values())) < len(ids):
        raise ConfigError(
            f"dataset_id is {config.dataset_id!r}; with several kinds it must hold "
            "{kind}"
        )
    return ids


def _check_kinds(config: ConfigDict) -> None:
    """Of a training, or of the policies that are given."""
    if "mixed" in config.kinds and not config.policies:
        raise ConfigError(
            "kinds has 'mixed', which is made of given policies; policies must name "
            "them"
        )
    for kind in config.kinds:
        settings.check_name("kinds", kind, OF_POLICIES if config.policies else KINDS)
    if not all(isinstance(source, str) and source for source in config.policies):
        raise ConfigError(
            f"policies is {config.policies}; it must hold files and folders, as texts"
        )


def _check_values(config: ConfigDict) -> None:
    settings.check_values(config, RANGES, NAMES)
    learning = config.steps - config.warmup
    if learning < 1:
        raise ConfigError(
            f"warmup is {config.warmup}; it must be less than steps, {config.steps}"
        )
    settings.check_multiple(
        "evaluate_every", config.evaluate_every, learning, "after the warm-up "
    )
    if "mixed" in config.kinds and config.rows < len(config.policies):
        raise ConfigError(
            f"rows is {config.rows}; it must be enough for an episode of each of the "
            f"{len(config.policies)} policies"
        )
    goal = config.medium
    unscored = goal.mean_return is None and not scores.has_reference(config.env)
    trains = not config.policies and "medium" in policies(config.kinds)
    if trains and unscored and not goal.steps:
        raise ConfigError(
            f"env {config.env} has no D4RL score; set medium.mean_return or "
            "medium.steps to say which policy is medium"
        )
