"""From a study's config to its runs: the grid, and what each run and program is."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import corruptions
from experiments.configs.default import default_config
from experiments.corruptions import corruption_of
from experiments.perturbations import is_calibrated, perturbation
from experiments.settings import (
    ConfigError,
    check,
    check_name,
    check_types,
    num_offline,
    parse_setting,
    parse_value,
)
from rpex_jax import envs, sweep
from rpex_jax.agents import CONFIGS
from rpex_jax.attacks.corruption import corruption
from rpex_jax.behavior_transfer import BTConfig
from rpex_jax.data import sources
from rpex_jax.data.balanced_replay import BalanceConfig
from rpex_jax.data.dataset import Dataset
from rpex_jax.data.rewards import RewardUnit, return_range_scale
from rpex_jax.envs import Env
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.jsrl import JSRLConfig
from rpex_jax.methods import METHODS, Method
from rpex_jax.training.run import RunConfig
from rpex_jax.value_mix import ValueMixConfig

AXES = ("base", "method", "corruption", "seed")  # a study has these; and further ones


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
    warmup_actions: str
    online_policy: str
    critic_transfer: str
    num_policies: int
    prefill: float
    attack_set: str
    curriculum_episodes: int
    calibrated: bool
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
    check_types(config, default_config())
    corruptions.check_forms(config)
    axes = {name: config.sweep[name] for name in AXES}
    for axis in config.sweep.axes:
        key, values = parse_setting(axis)
        if key in axes:
            raise ConfigError(f"sweep.axes has {key!r} twice; each may come once")
        axes[key] = tuple(parse_value(v, config, key) for v in values.split(","))
    skipped = [
        dict(map(parse_setting, str(text).split())) for text in config.sweep.skip
    ]
    for labels in skipped:
        for name in labels:
            check_name("sweep.skip", name, tuple(axes))
    for seed in axes["seed"]:
        if type(seed) is not int or not 0 <= seed < 2**31:
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
    for name, values in axes.items():
        key = f"sweep.{name}" if name in AXES else f"sweep.axes {name}"
        if not values:
            raise ConfigError(f"{key} is empty; it must hold at least one value")
        if len(set(values)) < len(values):
            raise ConfigError(f"{key} is {values}; each value may come once")
    points = [
        labels
        for labels in sweep.grid(axes)
        if not any(
            all(str(labels[name]) == value for name, value in skip.items())
            for skip in skipped
        )
    ]
    if not points:
        raise ConfigError(f"sweep.skip is {config.sweep.skip}; it leaves no run")
    return [resolve(config, labels) for labels in points]


def resolve(config: ConfigDict, labels: dict[str, Any]) -> Run:
    """The settings of one point: the config, its corruption's settings, its axes."""
    config = config.copy_and_resolve_references()
    for setting in config.corruptions[labels["corruption"]].settings:
        key, value = parse_setting(setting)
        config.update_from_flattened_dict({key: parse_value(value, config, key)})
    for key in labels.keys() - set(AXES):
        config.update_from_flattened_dict({key: labels[key]})
    check(config)
    corruptions.check(config)
    run = Run(labels, config)
    check_method(run)
    return run


def check_method(run: Run) -> None:
    """Raises a `ConfigError` unless the method can go on from its base."""
    base, name = run.labels["base"], run.labels["method"]
    method = METHODS[name]
    if base not in method.bases:
        raise ConfigError(
            f"sweep.method {name!r} cannot start from sweep.base {base!r}; it can from "
            f"{', '.join(method.bases)}"
        )
    if method.balances and run.config.online.prefill:
        raise ConfigError(
            f"online.prefill is {run.config.online.prefill}; with sweep.method "
            f"{name!r} it must be 0, since batches are drawn from the data set too"
        )
    one_critic = not (method.expands or method.guided or base == "cql_ensemble")
    if run.config.perturbation.kind == "pgd" and not one_critic:
        raise ConfigError(
            f"perturbation.kind is 'pgd', which descends on the critic of one agent; "
            f"sweep.method {name!r} from sweep.base {base!r} is several"
        )
    if base == "td3":
        delay = run.config.agent.td3.policy_delay
        updates = {
            "offline.chunk": run.config.offline.chunk,
            "online.chunk": run.config.online.chunk
            * run.config.online.updates_per_step,
        }
        for key, number in updates.items():
            if number % delay:
                raise ConfigError(
                    f"{key} makes {number} updates; they must be a multiple of "
                    f"agent.td3.policy_delay, {delay}"
                )


def load_dataset(config: ConfigDict) -> Dataset:
    """The data set of a study.

    Raises:
      DatasetError: there is none, or it cannot be used.
    """
    return sources.load(
        config.data.source,
        action_range=config.data.action_range or None,
        drop_observation_columns=config.data.drop_observation_columns,
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


def reward_unit(config: ConfigDict, dataset: Dataset) -> RewardUnit:
    """The unit that a study learns rewards in.

    Raises:
      DatasetError: it is to come from the returns of the data, which are all the same.
    """
    scale = config.data.reward_scale or return_range_scale(dataset, config.data.source)
    return RewardUnit(scale, config.data.reward_shift)


def check_prefill(runs: list[Run], num_rows: int) -> None:
    """Raises a `ConfigError` unless the share of the data set fits the replay."""
    for online in (run.config.online for run in runs):
        prefill = round(online.prefill * num_rows)
        if prefill > online.capacity:
            raise ConfigError(
                f"online.prefill is {online.prefill}, {prefill} rows of the data set; "
                f"they must fit into online.capacity, {online.capacity}"
            )


def make_env(config: ConfigDict) -> Env:
    """The environment of a study."""
    try:
        return envs.make(config.env, config.engine or None)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"env: {error}") from error


def agent_config(config: ConfigDict, name: str, **phase: float) -> Any:
    """The config of one agent; of what the phase decides, it takes what it has."""
    fields = CONFIGS[name].__dataclass_fields__
    own = {key: value for key, value in phase.items() if key in fields}
    return CONFIGS[name](**config.agent[name].to_dict() | own)


def offline_run(run: Run) -> RunConfig:
    """What the pretraining that a run starts from is told.

    It holds nothing of the method, so methods that share it have equal ones.
    """
    config = run.config
    damage = corruption_of(config, run.labels["corruption"], "offline")
    agent = agent_config(
        config,
        run.labels["base"],
        actor_decay_steps=float(config.offline.steps),
        bc_weight=config.offline.bc_weight,
    )
    nothing = corruption(())
    return RunConfig(run.labels["seed"], agent, damage, nothing, corrupt_again=0)


def online_run(run: Run) -> RunConfig:
    """What a run is told online."""
    config, method = run.config, METHODS[run.labels["method"]]
    base, name = run.labels["base"], run.labels["corruption"]
    phase = {"align": config.online.align, "bc_weight": config.online.bc_weight}
    if method.becomes:  # in the pretrained networks
        phase |= {
            name: config.agent[base][name] for name in ("hidden_dims", "num_critics")
        }
        phase["initial_temperature"] = config.online.initial_temperature
    agent = agent_config(config, method.becomes or base, **phase)
    if method.expands:
        kappa = config.expansion.kappa if method.corrects else 0.0
        agent = ExpansionConfig(
            base=agent,
            inv_temperature=config.expansion.inv_temperature,
            kappa=kappa,
            epsilon=config.expansion.epsilon,
            temperature_rate=config.expansion.temperature_rate,
            target_entropy=config.expansion.target_entropy,
            ipw_form=config.expansion.ipw_form,
            offline_action=config.expansion.offline_action,
        )
    if method.mixes:
        agent = ValueMixConfig(agent, config.mix.weight)
    if method.guided:
        agent = {"jsrl": jsrl_config, "bt": bt_config}[method.guided](config, agent)
    return RunConfig(
        seed=run.labels["seed"],
        agent=agent,
        perturbation=perturbation(config),
        balance=balance_config(config) if method.balances else None,
        offline_corruption=corruption_of(config, name, "offline"),
        online_corruption=corruption_of(config, name, "online"),
        corrupt_again=config.online.corrupt_again,
    )


def jsrl_config(config: ConfigDict, learner: Any) -> JSRLConfig:
    """A schedule of the guide's horizon, as numbers."""
    jsrl = config.jsrl
    numbers: dict[str, float] = {
        "curriculum": {"num_stages": float(jsrl.num_stages)},
        "linear": {"decay_steps": jsrl.decay * config.online.steps},
        "random": {"randomness": 1.0},
    }[jsrl.schedule]
    return JSRLConfig(
        learner,
        horizon=jsrl.horizon or float(make_env(config).time_limit),
        tolerance=jsrl.tolerance,
        window=jsrl.window,
        **numbers,
    )


def bt_config(config: ConfigDict, learner: Any) -> BTConfig:
    """How often and how long the pretrained policy takes over."""
    return BTConfig(learner, config.bt.flight_probability, config.bt.exponent)


def balance_config(config: ConfigDict) -> BalanceConfig:
    """The share of the first batches is reached with the rows of the warm-up."""
    return BalanceConfig(
        temperature=config.balance.temperature,
        learning_rate=config.balance.learning_rate,
        online_share=config.balance.online_share,
        first_rows=float(config.online.warmup),
    )


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
        num_offline=num_offline(run.config)
        if method.uses_data and not method.balances
        else 0,
        capacity=online.capacity
        if online.prefill
        else min(online.capacity, online.steps),
        warmup=online.warmup,
        steps=online.steps,
        chunk=online.chunk,
        updates_per_step=online.updates_per_step,
        warmup_actions=online.warmup_actions,
        online_policy=run.config.expansion.online_policy,
        critic_transfer=run.config.expansion.critic_transfer,
        num_policies=run.config.expansion.num_policies if method.expands else 1,
        prefill=online.prefill,
        attack_set=run.config.perturbation.attack_set,
        curriculum_episodes=run.config.curriculum.episodes,
        calibrated=is_calibrated(run.config),
        structure=sweep.structure(online_run(run)),
    )


def pretraining_key(run: Run) -> Hashable:
    """Equal for runs whose pretraining is the same, down to every number."""
    leaves = jax.tree.leaves(offline_run(run))
    numbers = tuple(np.asarray(leaf, np.float64).tobytes() for leaf in leaves)
    return offline_program(run), numbers


def by_pretraining(runs: list[Run]) -> dict[Hashable, list[Run]]:
    """Runs that start from the same pretraining together."""
    return sweep.group_by(runs, pretraining_key)
