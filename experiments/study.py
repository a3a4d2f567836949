"""From a study's config to its runs: the grid, the settings of each run, the checks."""

import difflib
import math
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rpex_jax import envs, sweep
from rpex_jax.agents import CONFIGS
from rpex_jax.attacks.corruption import ELEMENTS, corruption
from rpex_jax.envs import Env
from rpex_jax.expansion import LOGITS, ExpansionConfig
from rpex_jax.methods import METHODS, Method
from rpex_jax.training.run import RunConfig


class ConfigError(ValueError):
    """A setting that cannot be used; one sentence: the key, the value, what may be."""


class Run(NamedTuple):
    """One point of the grid."""

    labels: dict[str, Any]  # base, method, corruption, seed and further axes
    config: ConfigDict  # all settings of this run


class OnlineProgram(NamedTuple):
    """What online runs must share to be one compiled program; hashable."""

    base: str
    method: Method
    batch_size: int
    num_offline: int
    capacity: int
    warmup: int
    steps: int
    chunk: int
    updates_per_step: int
    online_policy: str
    critic_transfer: str
    structure: Any


class OfflineProgram(NamedTuple):
    """The same for pretraining."""

    base: str
    batch_size: int
    steps: int
    chunk: int
    structure: Any


def expand_grid(config: ConfigDict) -> list[Run]:
    """The runs of a study, checked.

    Raises:
      ConfigError: at the first setting that cannot be used.
    """
    axes = {name: tuple(config.sweep[name]) for name in AXES}
    for axis in config.sweep.axes:
        key, values = parse_setting(axis)
        axes[key] = tuple(parse_value(v, config, key) for v in values.split(","))
    for name, values in axes.items():
        if not values:
            raise ConfigError(f"sweep.{name} is empty; it must hold at least one value")
        if len(set(values)) < len(values):
            raise ConfigError(f"sweep.{name} is {values}; each value may come once")
    for seed in axes["seed"]:
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(
                f"sweep.seed holds {seed!r}; integers in [0, 2^31) may be"
            )
    allowed = {
        "base": tuple(config.agent),
        "method": tuple(METHODS),
        "corruption": tuple(config.corruptions),
    }
    for name, names in allowed.items():
        for value in axes[name]:
            check_name(f"sweep.{name}", value, names)
    return [resolve(config, labels) for labels in sweep.grid(axes)]


AXES = ("base", "method", "corruption", "seed")


def resolve(config: ConfigDict, labels: dict[str, Any]) -> Run:
    """The settings of one point: the config, its corruption's settings, its axes."""
    config = config.copy_and_resolve_references()
    for setting in config.corruptions[labels["corruption"]].settings:
        key, value = parse_setting(setting)
        config.update_from_flattened_dict({key: parse_value(value, config, key)})
    for key in labels.keys() - set(AXES):
        config.update_from_flattened_dict({key: labels[key]})
    check(config)
    return Run(labels, config)


def parse_setting(text: str) -> tuple[str, str]:
    """'online.rate=0.5' -> ('online.rate', '0.5')."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"setting {text!r} must read 'key=value'")
    return key.strip(), value.strip()


def parse_value(text: str, config: ConfigDict, key: str) -> Any:
    """The text as a value of the type that `key` has in the config."""
    current = look_up(config, key)
    if not key.startswith(PER_RUN) or not isinstance(current, int | float | str):
        raise ConfigError(
            f"{key} cannot differ between the runs of a study; numbers and names in "
            f"{', '.join(PER_RUN)} can"
        )
    try:
        return type(current)(text)
    except ValueError as error:
        kind = type(current).__name__
        raise ConfigError(f"{key} is {text!r}; it must be of type {kind}") from error


# What a corruption's settings and further axes may change; all else is the study's.
PER_RUN = ("agent.", "expansion.", "offline.", "online.")


def look_up(config: ConfigDict, key: str) -> Any:
    """The value of 'online.rate' and the like, or a `ConfigError` with the nearest."""
    current: Any = config
    for part in key.split("."):
        if not isinstance(current, ConfigDict) or part not in current:
            names = [k for k, _ in flatten(config)]
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"there is no setting {key!r}{hint}")
        current = current[part]
    return current


def flatten(config: ConfigDict, prefix: str = "") -> list[tuple[str, Any]]:
    """('online.rate', 0.5) and so on, for every setting."""
    pairs = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        is_group = isinstance(value, ConfigDict)
        pairs += flatten(value, f"{name}.") if is_group else [(name, value)]
    return pairs


INFINITY = math.inf
# setting: (lowest, highest); integers stay integers by their type in the config
RANGES = {
    "offline.steps": (1, INFINITY),
    "offline.chunk": (1, INFINITY),
    "offline.batch_size": (1, INFINITY),
    "offline.rate": (0, 1),
    "offline.scale": (0, INFINITY),
    "online.steps": (1, INFINITY),
    "online.warmup": (1, INFINITY),
    "online.chunk": (1, INFINITY),
    "online.batch_size": (1, INFINITY),
    "online.offline_ratio": (0, 1),
    "online.updates_per_step": (1, INFINITY),
    "online.capacity": (1, INFINITY),
    "online.rate": (0, 1),
    "online.scale": (0, INFINITY),
    "online.align": (0, 1),
    "online.corrupt_again": (0, INFINITY),
    "expansion.inv_temperature": (0, INFINITY),
    "expansion.kappa": (0, INFINITY),
    "expansion.epsilon": (0, 1),
    "evaluation.episodes": (1, INFINITY),
    "evaluation.every": (1, INFINITY),
} | {
    f"agent.{agent}.{name}": bounds
    for agent in ("iql", "riql")
    for name, bounds in {
        "learning_rate": (0, INFINITY),
        "discount": (0, 1),
        "expectile": (0, 1),
        "beta": (0, INFINITY),
        "target_update_rate": (0, 1),
        "eta": (0, INFINITY),
        "num_critics": (1, INFINITY),
    }.items()
}
RANGES |= {"agent.riql.sigma": (1e-3, INFINITY), "agent.riql.quantile": (0, 1)}
NAMES = {
    "expansion.ipw_form": tuple(LOGITS),
    "expansion.offline_action": ("mode", "sample"),
    "expansion.online_policy": ("fresh", "copied"),
    "expansion.critic_transfer": ("full", "target"),
}


def check(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first value that cannot be used."""
    for key, value in flatten(config):
        if key in RANGES:
            low, high = RANGES[key]
            # not (a <= b) rather than a > b: NaN must fail too
            if not low <= value <= high or value == INFINITY:
                raise ConfigError(f"{key} is {value}; it must lie in [{low}, {high}]")
        if key in NAMES:
            check_name(key, value, NAMES[key])
    check_multiple("offline.chunk", config.offline.chunk, config.offline.steps)
    learning = config.online.steps - config.online.warmup
    check_multiple("online.chunk", config.online.chunk, learning, "after the warm-up ")
    if num_offline(config) >= config.online.batch_size:
        raise ConfigError(
            f"online.offline_ratio is {config.online.offline_ratio}; it must leave at "
            "least one online row in a batch"
        )
    for name, agent in config.agent.items():
        if not agent.hidden_dims or any(width < 1 for width in agent.hidden_dims):
            raise ConfigError(
                f"agent.{name}.hidden_dims is {agent.hidden_dims}; it must hold "
                "positive widths"
            )
    for name, damage in config.corruptions.items():
        for element in damage.elements:
            check_name(f"corruptions.{name}.elements", element, ELEMENTS)


def check_name(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises a `ConfigError` unless the value is one of those allowed."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{key} is {value!r}; {hint}allowed are {', '.join(allowed)}")


def check_multiple(key: str, chunk: int, steps: int, what: str = "") -> None:
    """Raises a `ConfigError` unless the steps are whole chunks."""
    if steps < chunk or steps % chunk:
        raise ConfigError(
            f"{key} is {chunk}; the {steps} steps {what}must be whole chunks"
        )


def check_widths(env: Env, dataset: Any, source: str) -> None:
    """Raises a `ConfigError` unless the data set fits the environment."""
    for field, width in (
        ("observations", env.spec.observation_dim),
        ("actions", env.spec.action_dim),
    ):
        found = getattr(dataset.transitions, field).shape[-1]
        if found != width:
            raise ConfigError(
                f"data.source {source!r} has {field} of width {found}, but {env.name} "
                f"has {width}; data.drop_observation_columns can leave columns out"
            )


def make_env(config: ConfigDict) -> Env:
    """The environment of a study."""
    try:
        return envs.make(config.env)
    except ValueError as error:
        raise ConfigError(f"env: {error}") from error


def base_config(config: ConfigDict, base: str, **phase: float) -> Any:
    """The agent config of one run in one phase."""
    return CONFIGS[base](**config.agent[base].to_dict(), **phase)


def offline_run(run: Run) -> RunConfig:
    """What the pretraining that a run starts from is told.

    It holds nothing of the method, so methods that share it have equal ones.
    """
    config = run.config
    elements = config.corruptions[run.labels["corruption"]].elements
    damage = corruption(elements, config.offline.rate, config.offline.scale)
    agent = base_config(
        config, run.labels["base"], actor_decay_steps=float(config.offline.steps)
    )
    nothing = corruption(())
    return RunConfig(run.labels["seed"], agent, damage, nothing, corrupt_again=0)


def online_run(run: Run) -> RunConfig:
    """What a run is told online."""
    config, method = run.config, METHODS[run.labels["method"]]
    elements = config.corruptions[run.labels["corruption"]].elements
    agent = base_config(config, run.labels["base"], align=config.online.align)
    if method.expands:
        kappa = config.expansion.kappa if method.corrects else 0.0
        agent = ExpansionConfig(
            base=agent,
            inv_temperature=config.expansion.inv_temperature,
            kappa=kappa,
            epsilon=config.expansion.epsilon,
            ipw_form=config.expansion.ipw_form,
            offline_action=config.expansion.offline_action,
        )
    return RunConfig(
        seed=run.labels["seed"],
        agent=agent,
        offline_corruption=corruption(
            elements, config.offline.rate, config.offline.scale
        ),
        online_corruption=corruption(elements, config.online.rate, config.online.scale),
        corrupt_again=config.online.corrupt_again,
    )


def num_offline(config: ConfigDict) -> int:
    """Rows of the data set in an online batch."""
    return round(config.online.batch_size * config.online.offline_ratio)


def offline_program(run: Run) -> OfflineProgram:
    """The pretraining program of a run."""
    offline = run.config.offline
    return OfflineProgram(
        base=run.labels["base"],
        batch_size=offline.batch_size,
        steps=offline.steps,
        chunk=offline.chunk,
        structure=sweep.structure(offline_run(run)),
    )


def online_program(run: Run) -> OnlineProgram:
    """The online program of a run; pex and rpex differ in a number and share one."""
    online, method = run.config.online, METHODS[run.labels["method"]]
    return OnlineProgram(
        base=run.labels["base"],
        method=method._replace(corrects=False),
        batch_size=online.batch_size,
        num_offline=num_offline(run.config) if method.uses_data else 0,
        capacity=min(online.capacity, online.steps),
        warmup=online.warmup,
        steps=online.steps,
        chunk=online.chunk,
        updates_per_step=online.updates_per_step,
        online_policy=run.config.expansion.online_policy,
        critic_transfer=run.config.expansion.critic_transfer,
        structure=sweep.structure(online_run(run)),
    )
