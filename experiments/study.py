"""From a study's config to its runs: the grid, checked."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments import corruptions
from experiments.configs.default import default_config
from experiments.settings import (
    ConfigError,
    as_type,
    check_name,
    check_types,
    parse_setting,
    parse_value,
)
from experiments.study_settings import check
from rpex_jax import sweep
from rpex_jax.methods import METHODS

# A study has these axes, of names but for the seed; and further ones.
AXES = {"base": str, "method": str, "corruption": str, "seed": int}


class Run(NamedTuple):
    """One point of the grid."""

    labels: dict[str, Any]  # base, method, corruption, seed and further axes
    config: ConfigDict  # all settings of this run

    @property
    def pretraining(self) -> dict[str, Any]:
        """The labels of the pretraining that it starts from."""
        seed = self.config.offline.seed
        return {
            "base": self.labels["base"],
            "corruption": self.labels["corruption"],
            "seed": self.labels["seed"] if seed < 0 else seed,
        }


def expand_grid(config: ConfigDict) -> list[Run]:
    """The runs of a study, checked.

    Raises:
      ConfigError: at the first setting that cannot be used.
    """
    check_types(config, default_config())
    corruptions.check_forms(config)
    axes = axes_of(config)
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
    skipped = skips_of(config)
    for name, names in allowed.items():
        for value in axes[name]:
            check_name(f"sweep.{name}", value, names)
        for skip in skipped:  # of an axis that was narrowed no run need be left
            if name in skip:
                check_name("sweep.skip", skip[name], names)
    for name, values in axes.items():
        key = f"sweep.{name}" if name in AXES else f"sweep.axes {name}"
        if not values:
            raise ConfigError(f"{key} is empty; it must hold at least one value")
        if len(set(values)) < len(values):
            raise ConfigError(f"{key} is {values}; each value may come once")
    points = grid(config)
    if not points:
        raise ConfigError(f"sweep.skip is {config.sweep.skip}; it leaves no run")
    return [resolve(config, labels) for labels in points]


def grid(config: ConfigDict) -> list[dict[str, Any]]:
    """The labels of every run: all points of the axes, but those in `sweep.skip`.

    Raises:
      ConfigError: an axis, or what is skipped, cannot be read.
    """
    skipped = skips_of(config)
    return [
        labels
        for labels in sweep.grid(axes_of(config))
        if not any(skip.items() <= labels.items() for skip in skipped)
    ]


def axes_of(config: ConfigDict) -> dict[str, tuple]:
    """The values of all axes by name, those of further ones as their settings'."""
    axes = {name: config.sweep[name] for name in AXES}
    for axis in config.sweep.axes:
        key, values = parse_setting(axis)
        if key in axes:
            raise ConfigError(f"sweep.axes has {key!r} twice; each may come once")
        axes[key] = tuple(parse_value(v, config, key) for v in values.split(","))
    return axes


def skips_of(config: ConfigDict) -> list[dict[str, Any]]:
    """The labels that no run may have together, as values of their axes."""
    names = tuple(axes_of(config))

    def value_of(name: str, text: str) -> Any:
        check_name("sweep.skip", name, names)
        if name in AXES:
            return as_type(text, AXES[name], f"sweep.skip {name}")
        return parse_value(text, config, name)

    return [
        {name: value_of(name, value) for name, value in map(parse_setting, pairs)}
        for pairs in (str(text).split() for text in config.sweep.get("skip", ()))
    ]


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
    if method.released and run.labels.get("expansion.frozen_spread") == "own":
        raise ConfigError(
            f"sweep.axes has expansion.frozen_spread=own, but sweep.method {name!r} "
            "has 'online' always; leave the method or these runs (sweep.skip) out"
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
