"""RPEX's studies: RIQL's tables cell by cell, and what each study compares."""

import importlib
import pkgutil

import pytest

from experiments import study
from experiments.configs import rpex
from experiments.configs.rpex import common
from rpex_jax import sweep
from rpex_jax.attacks.corruption import ELEMENTS

STUDIES = sorted(
    {module.name for module in pkgutil.iter_modules(rpex.__path__)}
    - {"common", "hyperparameters"}
)
# sigma / quantile / critics as RIQL_config.py prints them.
RANDOM = """
| random corruption | HalfCheetah | Walker2d | Hopper |
| observation | 0.1 / 0.1 / 5 | 0.1 / 0.25 / 5 | 0.1 / 0.25 / 3 |
| action | 0.5 / 0.25 / 3 | 0.5 / 0.1 / 5 | 0.1 / 0.25 / 5 |
| reward | 3.0 / 0.25 / 5 | 3.0 / 0.1 / 5 | 1.0 / 0.25 / 3 |
| dynamics | 3.0 / 0.25 / 5 | 1.0 / 0.25 / 3 | 1.0 / 0.5 / 5 |
"""
ADVERSARIAL = """
| adversarial corruption | HalfCheetah | Walker2d | Hopper |
| observation | 0.1 / 0.1 / 5 | 1.0 / 0.25 / 5 | 1.0 / 0.25 / 5 |
| action | 1.0 / 0.1 / 5 | 1.0 / 0.1 / 5 | 1.0 / 0.25 / 5 |
| reward | 1.0 / 0.1 / 5 | 3.0 / 0.1 / 5 | 0.1 / 0.25 / 5 |
| dynamics | 1.0 / 0.1 / 5 | 1.0 / 0.25 / 5 | 1.0 / 0.5 / 5 |
"""


def cells(text, prefix):
    header, *lines = (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.strip().splitlines()
    )
    for element, *row in lines:
        for body, cell in zip(header[1:], row, strict=True):
            yield body, f"{prefix}{element}", tuple(map(float, cell.split("/")))


@pytest.mark.parametrize(
    ("body", "corruption", "row"),
    [*cells(RANDOM, ""), *cells(ADVERSARIAL, "adversarial-")],
)
def test_riqls_numbers_reach_the_agent(body, corruption, row):
    """Through the config and the corruption's settings to what a run is told."""
    config = common.start(f"paper,{body}-v4")
    config.sweep.base, config.sweep.corruption = ("riql",), (corruption,)
    run = study.expand_grid(config)[0]
    for told in (study.offline_run(run).agent, study.online_run(run).agent):
        assert (told.sigma, told.quantile, float(told.num_critics)) == row


def test_the_papers_protocol():
    """RPEX Table C.1 and section 7."""
    config = common.start("")
    assert config.env == "Hopper-v4" and config.sweep.seed == (0, 1, 2, 3, 4)
    assert config.offline.steps == 2_000_000 and config.online.steps == 1_000_000
    assert config.offline.batch_size == config.online.batch_size == 256
    assert (config.offline.rate, config.online.rate) == (0.3, 0.5)
    assert config.online.warmup == 5_000 and config.online.offline_ratio == 0.5
    assert (config.expansion.kappa, config.expansion.inv_temperature) == (0.1, 3.0)
    agent = config.agent.riql
    assert (agent.learning_rate, agent.discount) == (3e-4, 0.99)
    assert (agent.expectile, agent.beta, agent.target_update_rate) == (0.7, 3.0, 5e-3)
    runs = {name: one(config, name) for name in (*ELEMENTS, "mixed")}
    utd = {name: run.config.online.updates_per_step for name, run in runs.items()}
    assert utd == {name: 4 if name == "action" else 1 for name in utd}
    align = {name: run.config.online.align for name, run in runs.items()}
    assert align == {name: float(name == "observation") for name in align}
    mixed = runs["mixed"].config.expansion
    assert (mixed.kappa, mixed.inv_temperature) == (0.3, 10.0)


def one(config, corruption):
    point = {"base": "riql", "method": "rpex", "corruption": corruption, "seed": 0}
    return study.resolve(config, point)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("preset", common.PRESETS)
def test_every_study_is_valid_and_says_what_it_answers(name, preset):
    module = importlib.import_module(f"experiments.configs.rpex.{name}")
    assert module.__doc__.strip()
    config = module.get_config(f"{preset},HalfCheetah-v4")
    assert study.expand_grid(config)
    assert bool(config.note) == (preset != "paper")
    with pytest.raises(AttributeError):
        config.online.rat = 0.1


def test_elements_and_seeds_are_one_program():
    """Where their settings agree in structure; UTD and K are structure."""
    config = common.start("small,HalfCheetah-v4")
    config.sweep.base, config.sweep.method = ("iql",), ("rpex",)
    config.sweep.corruption = ELEMENTS
    config.corruptions.action.settings = ()
    runs = study.expand_grid(config)
    assert len(runs) == 4 * 3
    assert len(sweep.group_by(runs, study.offline_program)) == 1
    assert len(sweep.group_by(runs, study.online_program)) == 1
