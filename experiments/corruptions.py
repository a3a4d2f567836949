"""From a study's config to what is wrong with a run's data.

A corruption names what it hits in each phase, an element a text, with what differs from
the phase's own rate and scale: "dynamics", "adversarial action rate=0.3 scale=0.5".
"""

import math
from typing import NamedTuple

from ml_collections import ConfigDict

from experiments.settings import ConfigError, check_name, parse_setting
from experiments.study_settings import RANGES
from rpex_jax.attacks.corruption import ELEMENTS, Corruption, corruption, mixed

PHASES = ("offline", "online")


class Damage(NamedTuple):
    """What is done to one element."""

    element: str
    adversarial: bool
    rate: float
    scale: float


def damages(config: ConfigDict, name: str, phase: str) -> list[Damage]:
    """What the corruption of this name does in a phase.

    Raises:
      ConfigError: an element twice, or anything that no element's text can say.
    """
    texts = config.corruptions[name][phase]
    key = f"corruptions.{name}.{phase}"
    found = [_parse(text, key, phase, config[phase]) for text in texts]
    elements = [damage.element for damage in found]
    if len(set(elements)) < len(elements):
        raise ConfigError(f"{key} is {texts}; each element may come once")
    return found


def corruption_of(config: ConfigDict, name: str, phase: str) -> Corruption:
    """The same for a run, as numbers."""
    return mixed(
        [
            corruption((each.element,), each.rate, each.scale, adversarial=True)
            if each.adversarial
            else corruption((each.element,), each.rate, each.scale)
            for each in damages(config, name, phase)
        ]
    )


def check_forms(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first corruption that does not say what it is."""
    for name, of_name in config.corruptions.items():
        parts = of_name if isinstance(of_name, ConfigDict) else {}
        for part in (*PHASES, "settings"):
            if part not in parts:
                raise ConfigError(
                    f"corruptions.{name} has no {part!r}; it must say what it hits "
                    "offline and online, and with which settings"
                )
            texts = parts[part]
            if type(texts) is not tuple or any(type(text) is not str for text in texts):
                raise ConfigError(
                    f"corruptions.{name}.{part} is {texts!r}; it must be a tuple of "
                    "texts"
                )


def check(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first corruption that cannot be used."""
    for name in config.corruptions:
        for phase in PHASES:
            damages(config, name, phase)


def _parse(text: str, key: str, phase: str, defaults: ConfigDict) -> Damage:
    words = text.split()
    adversarial = words[:1] == ["adversarial"]
    element, *pairs = words[adversarial:] or [text]
    check_name(key, element, ELEMENTS)
    numbers = {"rate": defaults.rate, "scale": defaults.scale}
    for name, value in map(parse_setting, pairs):
        check_name(key, name, tuple(numbers))
        if text.count(f"{name}=") > 1:
            raise ConfigError(f"{key} is {text!r}; each of rate, scale may come once")
        low, high = RANGES[f"{phase}.{name}"]
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise ConfigError(
                f"{key} has {name}={value}; it must be a number"
            ) from error
        if not low <= numbers[name] <= high or not math.isfinite(numbers[name]):
            raise ConfigError(
                f"{key} has {name}={value}; it must lie in [{low}, {high}]"
            )
    return Damage(element, adversarial, **numbers)
