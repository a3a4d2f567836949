"""Settings of the command line that a corruption's own settings would beat unseen."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments import corruptions
from experiments.settings import ConfigError, parse_setting, parse_value


def check(config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Raises a `ConfigError` unless what the user gave holds in all runs.

    Args:
      config: the study's, with what was given in it.
      given: the settings of the command line, by key.
    """
    corruptions.check_forms(config)
    axes = {parse_setting(axis)[0] for axis in config.sweep.axes}  # these win
    chosen = {
        name: config.corruptions[name].settings
        for name in config.sweep.corruption
        if name in config.corruptions
    }
    for name, settings in chosen.items():
        for setting in settings:
            key, text = parse_setting(setting)
            if key not in given or key in axes:
                continue
            if parse_value(text, config, key) != given[key]:
                others = tuple(other for other in settings if other != setting)
                raise ConfigError(
                    f"--config.{key} is {given[key]}, but corruptions.{name}.settings "
                    f"sets {setting} for runs under {name!r}; change that setting, as "
                    f'by --config.corruptions.{name}.settings="{others}", or have '
                    f"{key} in sweep.axes"
                )
