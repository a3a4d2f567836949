"""RPEX's studies: RIQL's tables cell by cell, and what each study compares."""

import importlib
import pkgutil

import pytest

from experiments import programs, run_configs, study
from experiments.configs import rpex
from experiments.configs.rpex import (
    antmaze,
    common,
    figure8,
    hyperparameters,
    table1,
    table3,
    table6,
)
from experiments.settings import ConfigError, look_up
from rpex_jax import sweep
from rpex_jax.attacks.corruption import ELEMENTS

STUDIES = sorted(
    {module.name for module in pkgutil.iter_modules(rpex.__path__)}
    - {"common", "hyperparameters", "antmaze"}  # the last has other environments
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
    for told in (run_configs.offline_run(run).agent, run_configs.online_run(run).agent):
        assert (told.sigma, told.quantile, float(told.num_critics)) == row


@pytest.mark.parametrize("env", ["HalfCheetah-v4", "Walker2d-v4", "Hopper-v4"])
def test_several_elements_have_the_numbers_of_one(env):
    """As pretraining's damage: of dynamics, or of the first of all four."""
    rows = hyperparameters.rows(env)
    assert rows["mixed"] == rows["online-adversarial-dynamics"] == rows["dynamics"]
    assert rows["all"] == rows["observation"]


def test_the_paper_evaluates_every_ten_thousand_steps():
    """Its seeds, five and three; Tables 3 and 6 are of Walker2d in every preset."""
    for name in common.PRESETS:
        for study_of in (table3, table6):
            assert study_of.get_config(name).env == "Walker2d-v4"
    config = table1.get_config()
    for phase in (config.offline, config.online):
        assert config.evaluation.every * phase.chunk == 10_000
    assert len(config.sweep.seed) == 5 and len(figure8.get_config().sweep.seed) == 3


def test_table_3_has_the_papers_four_ranges():
    """And the correction is told: dynamics and action, a program each."""
    config = table3.get_config("small")
    runs = study.expand_grid(config)
    told = {run_configs.online_run(run).agent for run in runs}
    found = sorted({(agent.lowest_weight, agent.highest_weight) for agent in told})
    assert found == [(-1e4, 100), (-1e4, 1e4), (-100, 100), (0, 100)]
    assert len(runs) == 2 * 2 * 4 * 3  # rules, elements, ranges, seeds
    assert len(sweep.group_by(runs, programs.online_program)) == 2


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
    assert (config.jsrl.schedule == "curriculum") == (preset == "paper")
    with pytest.raises(AttributeError):
        config.online.rat = 0.1


def test_the_middle_budget():
    """Five seeds of 128-128 with the paper's schedule, which is longer than they are.

    RIQL has the released code's critics where it leaves its floor with them.
    """
    config = common.start("medium,HalfCheetah-v4")
    assert config.sweep.seed == (0, 1, 2, 3, 4)
    assert (config.offline.steps, config.online.steps) == (200_000, 100_000)
    paper = common.start("paper,HalfCheetah-v4").offline.steps
    assert config.offline.actor_decay * config.offline.steps == paper
    init = {
        (preset, body): common.start(f"{preset},{body}-v4").agent.riql.critic_init
        for preset in common.PRESETS
        for body in ("HalfCheetah", "Hopper", "Walker2d")
    }
    released = {case for case, name in init.items() if name == "edac"}
    assert released == {
        *(("paper", body) for body in ("HalfCheetah", "Hopper", "Walker2d")),
        ("medium", "HalfCheetah"),
    }
    assert set(init.values()) == {"edac", "torch"}
    assert config.agent.iql.hidden_dims == config.agent.riql.hidden_dims == (128, 128)


def test_rules_of_selection_are_numbers_of_one_program():
    """PEX has no correction; the released RPEX the online policy's spread, and so has
    any RPEX that is told."""
    config = common.start("small")
    config.sweep.base, config.sweep.corruption = ("iql",), ("reward",)
    config.sweep.method, config.sweep.seed = common.SETS, (0,)
    runs = study.expand_grid(config)
    told = {run.labels["method"]: run_configs.online_run(run).agent for run in runs}
    numbers = {name: (of.kappa, of.online_spread) for name, of in told.items()}
    assert numbers == {"pex": (0, 0), "rpex": (0.1, 0), "rpex-released": (0.1, 1)}
    assert len(sweep.group_by(runs, programs.online_program)) == 1
    config.expansion.frozen_spread = "online"
    told = [run_configs.online_run(run).agent for run in study.expand_grid(config)]
    assert [of.online_spread for of in told] == [1.0, 1.0, 1.0]


def test_the_released_rule_has_no_other_spread():
    """As an axis it would label the same runs as something else."""
    config = common.start("small")
    config.sweep.base, config.sweep.method = ("iql",), common.SETS
    config.sweep.axes = ("expansion.frozen_spread=own,online",)
    with pytest.raises(ConfigError, match=r"frozen_spread=own.*'rpex-released'"):
        study.expand_grid(config)
    config.sweep.skip = ("method=rpex-released expansion.frozen_spread=own",)
    assert study.expand_grid(config)


def test_elements_and_seeds_are_one_program():
    """Where their settings agree in structure; UTD and K are structure."""
    config = common.start("small,HalfCheetah-v4")
    config.sweep.base, config.sweep.method = ("iql",), ("rpex",)
    config.sweep.corruption = ELEMENTS
    config.corruptions.action.settings = ()
    runs = study.expand_grid(config)
    assert len(runs) == 4 * 3
    assert len(sweep.group_by(runs, programs.offline_program)) == 1
    assert len(sweep.group_by(runs, programs.online_program)) == 1


# Every number that AntMaze has a source for, cell by cell. Damage, seeds: RPEX Table 5.
# Kappa, lambda, ratio, updates: its Table C.1, which Table 5 keeps. Expectile, beta,
# reward, episodes: PEX's README and IQL's antmaze_config.py. RIQL: attack_offline.py.
ANTMAZE = """
| data.reward_scale | 1 |
| data.reward_shift | -1 |
| offline.rate | 0.2 |
| offline.scale | 0.3 |
| offline.steps | 2000000 |
| offline.batch_size | 256 |
| online.rate | 0.3 |
| online.scale | 0.5 |
| online.steps | 1000000 |
| online.warmup | 5000 |
| online.batch_size | 256 |
| online.offline_ratio | 0.5 |
| online.updates_per_step | 1 |
| expansion.kappa | 0.1 |
| expansion.inv_temperature | 3 |
| evaluation.episodes | 100 |
| agent.iql.expectile | 0.9 |
| agent.iql.beta | 10 |
| agent.iql.discount | 0.99 |
| agent.iql.learning_rate | 0.0003 |
| agent.riql.expectile | 0.9 |
| agent.riql.beta | 10 |
| agent.riql.discount | 0.99 |
| agent.riql.learning_rate | 0.0003 |
| agent.riql.target_update_rate | 0.005 |
| agent.riql.sigma | 3 |
| agent.riql.quantile | 0.1 |
| agent.riql.num_critics | 5 |
"""


def test_antmaze_has_the_papers_numbers():
    """All three methods, from RIQL, with both damages; AlignIQL for observations."""
    config = antmaze.get_config()
    for line in ANTMAZE.strip().splitlines():
        key, number = (cell.strip() for cell in line.strip("| ").split("|"))
        assert look_up(config, key) == float(number), key
    assert config.env == "antmaze-large-play-v2"
    runs = study.expand_grid(config)
    assert len(runs) == 4 * 2 * 10  # methods, damages, seeds
    labels = {(run.labels["base"], run.labels["method"]) for run in runs}
    assert labels == {("riql", name) for name in ("direct", *common.SETS)}
    align = {run.labels["corruption"]: run.config.online.align for run in runs}
    assert align == {"observation": 1.0, "dynamics": 0.0}


def test_antmazes_data_are_d4rls_files():
    """Of all six mazes, as D4RL's list of addresses for v2 names them."""
    names = {
        "antmaze-umaze-v2": "u-maze_noisy_multistart_False_multigoal_False",
        "antmaze-umaze-diverse-v2": "u-maze_noisy_multistart_True_multigoal_True",
        "antmaze-medium-play-v2": "big-maze_noisy_multistart_True_multigoal_False",
        "antmaze-medium-diverse-v2": "big-maze_noisy_multistart_True_multigoal_True",
        "antmaze-large-play-v2": "hardest-maze_noisy_multistart_True_multigoal_False",
        "antmaze-large-diverse-v2": "hardest-maze_noisy_multistart_True_multigoal_True",
    }
    for preset in common.PRESETS:
        for env, name in names.items():
            config = antmaze.get_config(f"{preset},{env}")
            assert config.data.source == f"Ant_maze_{name}_sparse_fixed.hdf5"
            assert config.env == env and study.expand_grid(config)
            assert bool(config.note) == (preset != "paper")
    with pytest.raises(ConfigError, match=r"'antmaze-huge-v2'.*did you mean"):
        antmaze.get_config("small,antmaze-huge-v2")
