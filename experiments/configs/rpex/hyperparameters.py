"""RIQL's numbers per environment and element, in one place, and how a study takes them.

Keyed by the first word of an environment's name, as the released code does: medium,
medium-replay and the rest have the same. RPEX's own numbers are the defaults of
`experiments/configs/default.py`, with those of a corruption beside it.

Source: RIQL RIQL_config.py; RPEX RIQL_TRAIN_CONFIG.py, Table C.1, section 7.
"""

from typing import NamedTuple

from ml_collections import ConfigDict


class Row(NamedTuple):
    """A cell of the tables: RIQL's critics under one corruption."""

    sigma: float  # of the Huber loss
    quantile: float  # alpha, of the target critics
    num_critics: int  # K


RANDOM = {
    "HalfCheetah": {
        "observation": Row(0.1, 0.1, 5),
        "action": Row(0.5, 0.25, 3),
        "reward": Row(3.0, 0.25, 5),
        "dynamics": Row(3.0, 0.25, 5),
    },
    "Walker2d": {
        "observation": Row(0.1, 0.25, 5),
        "action": Row(0.5, 0.1, 5),
        "reward": Row(3.0, 0.1, 5),
        "dynamics": Row(1.0, 0.25, 3),
    },
    "Hopper": {
        "observation": Row(0.1, 0.25, 3),
        "action": Row(0.1, 0.25, 5),
        "reward": Row(1.0, 0.25, 3),
        "dynamics": Row(1.0, 0.5, 5),
    },
}
ADVERSARIAL = {
    "HalfCheetah": {
        "observation": Row(0.1, 0.1, 5),
        "action": Row(1.0, 0.1, 5),
        "reward": Row(1.0, 0.1, 5),
        "dynamics": Row(1.0, 0.1, 5),
    },
    "Walker2d": {
        "observation": Row(1.0, 0.25, 5),
        "action": Row(1.0, 0.1, 5),
        "reward": Row(3.0, 0.1, 5),
        "dynamics": Row(1.0, 0.25, 5),
    },
    "Hopper": {
        "observation": Row(1.0, 0.25, 5),
        "action": Row(1.0, 0.25, 5),
        "reward": Row(0.1, 0.25, 5),
        "dynamics": Row(1.0, 0.5, 5),
    },
}
# Of several elements the released code takes the first of observation, action, reward,
# dynamics; so "all" is "observation". Pretraining for mixed damage sees dynamics only.
SAME_AS = {"mixed": "dynamics", "online-adversarial-dynamics": "dynamics"}
SAME_AS["all"] = "observation"


def rows(env: str) -> dict[str, Row]:
    """By the name of a corruption, for "Hopper-v4" and the like; none for others."""
    body = env.split("-")[0]
    random, adversarial = RANDOM.get(body, {}), ADVERSARIAL.get(body, {})
    named = random | {f"adversarial-{name}": row for name, row in adversarial.items()}
    return named | {
        name: random[other] for name, other in SAME_AS.items() if other in random
    }


def apply(config: ConfigDict) -> None:
    """Gives every corruption of a study the numbers of its environment."""
    for name, row in rows(config.env).items():
        config.corruptions[name].settings += tuple(
            f"agent.riql.{key}={value}" for key, value in row._asdict().items()
        )
