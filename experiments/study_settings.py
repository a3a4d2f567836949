"""What each setting of a study may be.

Numbers and names have a table; what concerns several settings is checked below.
"""

from ml_collections import ConfigDict

from experiments.settings import (
    INFINITY,
    ConfigError,
    check_each,
    check_multiple,
    check_name,
    check_values,
    is_interval,
    is_like,
)
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.attacks import curriculum
from rpex_jax.attacks.curriculum import CURRICULA
from rpex_jax.attacks.differential_evolution import DONORS, OUTSIDE
from rpex_jax.data import scores
from rpex_jax.envs import ENGINES
from rpex_jax.jsrl import SCHEDULES
from rpex_jax.networks import CRITIC_INITS
from rpex_jax.selection import LOGITS
from rpex_jax.training.conditions import CONDITIONS

PERTURBATIONS = ("none", "random", "adversarial", "pgd")
# Tables and figures of arXiv 2510.13358; "tables" is the first two, "" a comparison.
STUDIES = ("", "tables", *(f"table{i}" for i in range(1, 5)))
STUDIES += tuple(f"figure{i}" for i in range(4, 11))
# setting: (lowest, highest); integers stay integers by their type in the config
RANGES = {
    "data.reward_scale": (0, INFINITY),
    "data.reward_shift": (-INFINITY, INFINITY),
    "offline.steps": (1, INFINITY),
    "offline.chunk": (1, INFINITY),
    "offline.batch_size": (1, INFINITY),
    "offline.seed": (-1, INFINITY),
    "offline.standardise": (0, 1),
    "offline.rate": (0, 1),
    "offline.scale": (0, INFINITY),
    "offline.bc_weight": (0, INFINITY),
    "offline.actor_decay": (1e-6, INFINITY),
    "online.steps": (1, INFINITY),
    "online.warmup": (0, INFINITY),
    "online.chunk": (1, INFINITY),
    "online.batch_size": (1, INFINITY),
    "online.offline_ratio": (0, 1),
    "online.prefill": (0, 1),
    "online.updates_per_step": (1, INFINITY),
    "online.capacity": (1, INFINITY),
    "online.rate": (0, 1),
    "online.scale": (0, INFINITY),
    "online.align": (0, 1),
    "online.bc_weight": (0, INFINITY),
    "online.initial_temperature": (1e-8, INFINITY),
    "online.corrupt_again": (0, INFINITY),
    "expansion.inv_temperature": (0, INFINITY),
    "expansion.kappa": (0, INFINITY),
    "expansion.density_floor": (1e-30, INFINITY),
    "expansion.lowest_weight": (-INFINITY, 0),
    "expansion.highest_weight": (0, INFINITY),
    "expansion.epsilon": (0, 1),
    "expansion.num_policies": (2, INFINITY),
    "expansion.temperature_rate": (0, INFINITY),
    "expansion.target_entropy": (0, 1),
    "mix.weight": (0, 1),
    "jsrl.horizon": (0, INFINITY),
    "jsrl.num_stages": (1, INFINITY),
    "jsrl.window": (1, INFINITY),
    "jsrl.tolerance": (0, INFINITY),
    "jsrl.decay": (1e-6, INFINITY),
    "bt.flight_probability": (0, 1),
    "bt.exponent": (0, INFINITY),
    "balance.temperature": (1e-3, INFINITY),
    "balance.learning_rate": (0, INFINITY),
    "balance.online_share": (0, 0.99),
    "perturbation.bound": (1e-6, 1),
    "curriculum.q": (0, 1),
    "curriculum.q_max": (0, 1),
    "curriculum.smoothing": (0, 1),
    "curriculum.step_size": (0, INFINITY),
    "curriculum.cap": (0, 1),
    "curriculum.episodes": (1, INFINITY),
    "attack.searches": (1, INFINITY),
    "attack.episodes": (1, INFINITY),
    "attack.population_size": (4, INFINITY),
    "attack.generations": (0, INFINITY),
    "attack.mutation_low": (0, 2),
    "attack.mutation_high": (0, 2),
    "attack.crossover": (0, 1),
    "pgd.num_steps": (1, INFINITY),
    "pgd.step_size": (1e-6, INFINITY),
    "evaluation.episodes": (1, INFINITY),
    "evaluation.every": (1, INFINITY),
}
RANGES |= {
    f"agent.{agent}.{name}": bounds
    for agent in AGENTS
    for name, bounds in {
        "learning_rate": (0, INFINITY),
        "discount": (0, 1),
        "expectile": (0, 1),
        "beta": (0, INFINITY),
        "target_update_rate": (0, 1),
        "eta": (0, INFINITY),
        "num_critics": (1, INFINITY),
        "sigma": (1e-3, INFINITY),
        "quantile": (0, 1),
        "exploration_noise": (0, INFINITY),
        "target_noise": (0, INFINITY),
        "target_noise_clip": (0, INFINITY),
        "alpha": (0, INFINITY),
        "policy_delay": (1, INFINITY),
        "initial_temperature": (1e-8, INFINITY),
        "entropy_per_dimension": (-INFINITY, INFINITY),
        "policy_learning_rate": (0, INFINITY),
        "penalty": (0, INFINITY),
        "num_proposals": (1, INFINITY),
        "num_members": (1, INFINITY),
    }.items()
    if name in CONFIGS[agent].__dataclass_fields__
}
RANGES["agent.edac.num_critics"] = (2, INFINITY)  # diversity is between critics
NAMES = {
    "agent.riql.critic_init": tuple(CRITIC_INITS),
    "study": STUDIES,
    "engine": ("", *ENGINES, "gymnasium"),
    "expansion.ipw_form": tuple(LOGITS),
    "expansion.offline_action": ("mode", "sample"),
    "expansion.frozen_spread": ("own", "online"),
    "expansion.online_policy": ("fresh", "copied"),
    "expansion.critic_transfer": ("full", "target"),
    "expansion.members": ("snapshots", "seeds"),
    "jsrl.schedule": SCHEDULES,
    "online.warmup_actions": ("policy", "uniform"),
    "perturbation.kind": PERTURBATIONS,
    "curriculum.kind": CURRICULA,
    "curriculum.condition": tuple(curriculum.CONDITIONS),
    "attack.strategy": tuple(DONORS),
    "attack.outside": OUTSIDE,
}


def check(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first value that a study cannot use."""
    check_values(config, RANGES, NAMES)
    check_multiple("offline.chunk", config.offline.chunk, config.offline.steps)
    learning = config.online.steps - config.online.warmup
    if learning < 1:
        raise ConfigError(
            f"online.warmup is {config.online.warmup}; it must be less than "
            f"online.steps, {config.online.steps}"
        )
    check_multiple("online.chunk", config.online.chunk, learning, "after the warm-up ")
    check_each("online.snapshots", config.online.snapshots, 1, 1, many=False)
    if num_offline(config) >= config.online.batch_size:
        raise ConfigError(
            f"online.offline_ratio is {config.online.offline_ratio}; it must leave at "
            "least one online row in a batch"
        )
    check_adversary(config)
    check_data(config)


def check_data(config: ConfigDict) -> None:
    """Raises a `ConfigError` unless the section `data` can be of some data set."""
    data = config.data
    columns = data.drop_observation_columns
    if not all(is_like(column, 0) for column in columns):
        raise ConfigError(
            f"data.drop_observation_columns is {columns}; it must hold integers"
        )
    if data.action_range and not is_interval(data.action_range):
        raise ConfigError(
            f"data.action_range is {data.action_range}; it must hold two numbers, the "
            "lower one first"
        )
    if not data.source:
        raise ConfigError(
            "data.source is ''; it must be a file, a folder, a Minari id or built in"
        )


def check_adversary(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first wrong value of what perturbs actions."""
    low_high = config.curriculum.score_range
    if config.attack.mutation_low > config.attack.mutation_high:
        raise ConfigError(
            f"attack.mutation_low is {config.attack.mutation_low}; it must be at most "
            f"attack.mutation_high, {config.attack.mutation_high}"
        )
    conditions = config.evaluation.conditions
    for condition in conditions:
        check_name("evaluation.conditions", condition, CONDITIONS)
    if "normal" not in conditions or len(set(conditions)) < len(conditions):
        raise ConfigError(
            f"evaluation.conditions is {conditions}; normal must be among them, and "
            "each may come once"
        )
    if low_high and not is_interval(low_high):
        raise ConfigError(
            f"curriculum.score_range is {low_high}; it must hold two returns, the "
            "lower one first"
        )
    perturbed = config.perturbation.kind != "none"
    if perturbed and not low_high and not scores.has_reference(config.env):
        raise ConfigError(
            f"env {config.env} has no D4RL score; set curriculum.score_range to the "
            "returns that count as 0 and 1"
        )
    if config.online.warmup == 0 and config.online.prefill == 0:
        raise ConfigError(
            "online.warmup is 0 and online.prefill too; one must fill the replay"
        )


def num_offline(config: ConfigDict) -> int:
    """Rows of the data set in an online batch."""
    return round(config.online.batch_size * config.online.offline_ratio)
