"""A study: its grid, its runs and programs, its defaults against the papers."""

import math

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import (
    groups,
    overrides,
    policy_sets,
    programs,
    run_configs,
    study,
)
from experiments.configs import default, halfcheetah, quickstart
from experiments.programs import by_pretraining, pretraining_key
from experiments.settings import ConfigError
from rpex_jax import sweep
from rpex_jax.attacks.corruption import ELEMENTS
from rpex_jax.methods import METHODS


def small_grid(**axes) -> ConfigDict:
    """The default study with a small grid."""
    config = default.default_config()
    config.sweep.base = ("iql",)
    config.sweep.method = ("pex", "rpex")
    config.sweep.corruption = ("clean", "action")
    config.sweep.seed = (0, 1)
    for name, values in axes.items():
        config.sweep[name] = values
    return config


# What can start from IQL and RIQL.
AFTER_IQL = tuple(name for name, method in METHODS.items() if "iql" in method.bases)


def single(config: ConfigDict, **labels) -> study.Run:
    """One run of a study."""
    point = {"base": "iql", "method": "rpex", "corruption": "clean", "seed": 0}
    return study.resolve(config, point | labels)


# The grid


def test_grid_has_every_combination_once():
    """bases x methods x corruptions x seeds, seeds fastest."""
    runs = study.expand_grid(small_grid(base=("iql", "riql")))
    labels = [tuple(run.labels.values()) for run in runs]
    assert len(labels) == len(set(labels)) == 2 * 2 * 2 * 2
    assert labels[0] == ("iql", "pex", "clean", 0)
    assert labels[1] == ("iql", "pex", "clean", 1)
    assert labels[-1] == ("riql", "rpex", "action", 1)


def test_one_pretraining_may_serve_all_seeds():
    """offline.seed, as the released code has one checkpoint a setting: all seeds start
    from one pretraining, keep its damage, and have their own randomness online."""
    config = small_grid(corruption=("clean",))
    config.offline.seed = 7031
    runs = study.expand_grid(config)
    (started,) = by_pretraining(runs).values()
    assert len(started) == len(runs) == 4
    assert run_configs.offline_run(runs[0]).seed == 7031
    assert runs[0].pretraining == {"base": "iql", "corruption": "clean", "seed": 7031}
    told = [run_configs.online_run(run) for run in runs]
    assert {of.pretraining_seed for of in told} == {7031}
    assert {of.seed for of in told} == {0, 1}
    config.offline.seed = -1
    runs = study.expand_grid(config)
    assert len(by_pretraining(runs)) == 2
    for run in runs:
        told = run_configs.online_run(run)
        assert told.pretraining_seed == told.seed == run.labels["seed"]


def test_a_set_of_seeds_needs_pretrainings_of_several():
    """One that serves all of them gives a set nothing to choose from."""
    config = small_grid(seed=(0, 1, 2))
    config.expansion.num_policies, config.expansion.members = 3, "seeds"
    policy_sets.check(study.expand_grid(config))
    config.offline.seed = 0
    with pytest.raises(ConfigError, match=r"num_policies is 3.*at most 2"):
        policy_sets.check(study.expand_grid(config))


def test_a_corruption_brings_its_settings():
    """UTD 4 under action corruption, AlignIQL under observation corruption."""
    runs = study.expand_grid(small_grid(corruption=("clean", *ELEMENTS)))
    for run in runs:
        corruption, online = run.labels["corruption"], run.config.online
        assert online.updates_per_step == (4 if corruption == "action" else 1)
        assert online.align == (1.0 if corruption == "observation" else 0.0)
        assert programs.online_program(run).updates_per_step == online.updates_per_step
        hit = [float(element == corruption) for element in ELEMENTS]
        told = run_configs.online_run(run)
        np.testing.assert_allclose(told.offline_corruption.rate, 0.3 * np.array(hit))
        np.testing.assert_allclose(told.online_corruption.rate, 0.5 * np.array(hit))
        np.testing.assert_allclose(told.online_corruption.scale, hit)


def test_a_corruption_may_differ_by_phase_and_element():
    """Texts with a kind, a rate and a scale; what they leave out is the phase's."""
    config = small_grid(corruption=("mixed",))
    config.corruptions.mixed.offline = ("adversarial action scale=0.5", "reward")
    config.corruptions.mixed.online = ("reward rate=0.2 scale=2",)
    told = run_configs.online_run(study.expand_grid(config)[0])
    offline, online = told.offline_corruption, told.online_corruption
    np.testing.assert_allclose(offline.rate, [0, 0.3, 0.3, 0])
    np.testing.assert_allclose(offline.scale, [0, 0.5, 1, 0])
    np.testing.assert_array_equal(offline.adversarial, [0, 1, 0, 0])
    np.testing.assert_allclose(online.rate, [0, 0, 0.2, 0])
    np.testing.assert_allclose(online.scale, [0, 0, 2, 0])
    assert not online.adversarial.any()
    # Mixed corruption has the paper's own temperature and weight.
    assert told.agent.inv_temperature == 10.0
    assert run_configs.online_run(study.expand_grid(config)[2]).agent.kappa == 0.3


def test_further_axes_multiply_the_grid():
    """'key=value,value' is an axis like any other and a label of its rows."""
    axes = ("expansion.kappa=0.0,0.1,0.3", "online.updates_per_step=1, 2")
    runs = study.expand_grid(small_grid(axes=axes))
    assert len(runs) == 8 * 3 * 2
    assert [run.labels["expansion.kappa"] for run in runs[:6:2]] == [0.0, 0.1, 0.3]
    assert [run.labels["online.updates_per_step"] for run in runs[:2]] == [1, 2]
    for run in runs:
        assert run.config.expansion.kappa == run.labels["expansion.kappa"]
        expected = run.labels["expansion.kappa"] * (run.labels["method"] == "rpex")
        assert run_configs.online_run(run).agent.kappa == expected
        # an axis wins over the corruption's own setting
        utd = run.labels["online.updates_per_step"]
        assert programs.online_program(run).updates_per_step == utd


def test_a_flag_holds_in_all_runs_or_is_refused():
    """The rest of the corruption's settings stays in what the sentence advises."""
    config = small_grid()
    given = {"online.updates_per_step": 2}
    config.corruptions.action.settings += ("online.align=0.5",)
    with pytest.raises(ConfigError, match="updates_per_step=4 for runs") as error:
        overrides.check(config, given)
    advised = "--config.corruptions.action.settings=\"('online.align=0.5',)\""
    assert advised in str(error.value)
    overrides.check(config, {"online.updates_per_step": 4})
    overrides.check(small_grid(axes=("online.updates_per_step=1,2",)), given)
    overrides.check(small_grid(corruption=("clean",)), given)
    config.corruptions.action.settings = ("online.align=0.5",)
    overrides.check(config, given)


def test_expanding_leaves_the_config_alone():
    """A corruption's settings do not leak into the runs of another, nor the study."""
    config = small_grid(corruption=("action", "clean"))
    before = config.to_json()
    runs = study.expand_grid(config)
    assert config.to_json() == before
    assert [run.config.online.updates_per_step for run in runs[::2]] == [4, 1] * 2


def test_methods_share_their_pretraining():
    """Four runs, one pretraining; another seed, base, damage or number is another."""
    runs = study.expand_grid(
        small_grid(
            base=("iql", "riql"),
            method=AFTER_IQL,
            corruption=("clean", "reward"),
            axes=("expansion.kappa=0.1,0.3",),
        )
    )
    shared = by_pretraining(runs)
    assert len(shared) == 2 * 2 * 2
    for members in shared.values():
        assert len(members) == len(AFTER_IQL) * 2
        same = {
            tuple(run.labels[n] for n in ("base", "corruption", "seed"))
            for run in members
        }
        assert len(same) == 1


@pytest.mark.parametrize(
    "setting",
    ["agent.iql.expectile=0.8", "offline.rate=0.4", "offline.steps=3_000_000"],
)
def test_pretrainings_that_differ_in_a_number_are_not_shared(setting):
    """Also in a number that comes from an axis."""
    key, value = setting.split("=")
    config = small_grid(corruption=("reward",))
    old = getattr_dotted(config, key)
    config.sweep.axes = (f"{key}={old},{value}",)
    runs = study.expand_grid(config)
    assert len({pretraining_key(run) for run in runs}) == 2 * 2  # two seeds


@pytest.mark.parametrize("setting", ["online.rate", "expansion.kappa", "online.align"])
def test_online_numbers_do_not_split_pretrainings(setting):
    """What only the online phase is told costs no second pretraining."""
    runs = study.expand_grid(small_grid(axes=(f"{setting}=0.2,0.7",)))
    assert len(by_pretraining(runs)) == 2 * 2


def getattr_dotted(config, key):
    for part in key.split("."):
        config = config[part]
    return config


# Runs and programs


def test_pex_and_rpex_are_one_program():
    """Methods that differ in a number share a program; the others have their own."""
    runs = study.expand_grid(small_grid(method=AFTER_IQL, corruption=("clean",)))
    groups = sweep.group_by(runs, programs.online_program)
    names = [{run.labels["method"] for run in members} for members in groups.values()]
    assert names == [
        {"offline"},
        {"scratch"},
        {"buffer"},
        {"direct"},
        {"pex", "rpex", "rpex-released"},
        {"mix"},
        {"sac"},
        {"jsrl"},
        {"bt"},
    ]


def test_what_does_not_learn_has_no_group_online():
    """Whoever numbers the groups, a sweep or who loads its policies, skips it."""
    config = small_grid(method=("offline", "direct"), corruption=("clean",))
    runs = study.expand_grid(config)
    [(_, members)] = groups.plan(runs).online.values()
    assert {run.labels["method"] for run in members} == {"direct"}
    assert len(members) == len(runs) / 2


def test_baselines_are_told_their_numbers():
    """Schedules, flights and balance reach the run; off2on draws no fixed share."""
    config = small_grid()
    config.bt.flight_probability, config.balance.online_share = 0.2, 0.75
    bt = run_configs.online_run(single(config, method="bt")).agent
    assert (bt.flight_probability, bt.exponent) == (0.2, 2.0)
    config.mix.weight = 0.2
    mix = run_configs.online_run(single(config, method="mix")).agent
    direct = run_configs.online_run(single(config, method="direct")).agent
    assert mix.weight == 0.2 and mix.base == direct
    off2on = single(config, base="cql_ensemble", method="off2on")
    balance = run_configs.online_run(off2on).balance
    assert (balance.online_share, balance.first_rows) == (0.75, config.online.warmup)
    assert programs.online_program(off2on).num_offline == 0
    assert run_configs.online_run(single(config)).balance is None


@pytest.mark.parametrize(
    ("schedule", "decay_steps", "randomness", "num_stages"),
    [
        ("curriculum", math.inf, 0.0, 8.0),
        ("linear", 50_000.0, 0.0, math.inf),
        ("random", math.inf, 1.0, math.inf),
    ],
)
def test_a_guides_schedule_is_its_own_numbers(
    schedule, decay_steps, randomness, num_stages
):
    """Those of the other schedules do nothing; all are runs of one program."""
    config = small_grid()
    default = run_configs.online_run(single(config, method="jsrl"))
    config.online.steps, config.jsrl.decay = 200_000, 0.25
    config.jsrl.num_stages, config.jsrl.tolerance = 8, 0.2
    config.jsrl.horizon, config.jsrl.schedule = 300.0, schedule
    run = run_configs.online_run(single(config, method="jsrl"))
    told = run.agent
    assert (told.decay_steps, told.randomness) == (decay_steps, randomness)
    assert (told.num_stages, told.horizon, told.tolerance) == (num_stages, 300.0, 0.2)
    assert sweep.structure(run) == sweep.structure(default)


def test_a_guide_acts_no_longer_than_an_episode_lasts():
    """By default; and by default it leaves as the paper says, in Table 11's numbers."""
    config = small_grid()
    for env, steps in (("Hopper-v4", 1000), ("antmaze-umaze-v2", 700)):
        config.env = env
        jsrl = run_configs.online_run(single(config, method="jsrl")).agent
        assert (jsrl.horizon, jsrl.num_stages, jsrl.tolerance) == (steps, 10, 0.05)


def test_rpex_with_kappa_zero_is_pex():
    """What the program is told is equal, leaf by leaf."""
    config = small_grid()
    pex = run_configs.online_run(single(config, method="pex"))
    config.expansion.kappa = 0.0
    rpex = run_configs.online_run(single(config, method="rpex"))
    assert sweep.structure(pex) == sweep.structure(rpex)
    for one, other in zip(jax.tree.leaves(pex), jax.tree.leaves(rpex), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("method", "rows"), [("scratch", 0), ("buffer", 128), ("direct", 128), ("pex", 128)]
)
def test_offline_share_of_a_batch(method, rows):
    """Half of 256, but for the method that has no offline data."""
    assert (
        programs.online_program(single(small_grid(), method=method)).num_offline == rows
    )


def test_offline_policy_decays_and_online_does_not():
    """Cosine to 0 over the offline updates; constant online. RPEX section 1.3."""
    run = single(small_grid())
    assert run_configs.offline_run(run).agent.actor_decay_steps == 2e6
    run.config.offline.actor_decay = 2.5
    assert run_configs.offline_run(run).agent.actor_decay_steps == 5e6
    assert run_configs.online_run(run).agent.base.actor_decay_steps == math.inf


# Defaults


PAPER = {  # RPEX, arXiv 2509.24748, Table C.1, section 7, appendix C
    "offline.steps": 2_000_000,
    "online.steps": 1_000_000,
    "offline.batch_size": 256,
    "online.batch_size": 256,
    "online.offline_ratio": 0.5,
    "online.warmup": 5_000,
    "online.capacity": 1_000_000,
    "online.updates_per_step": 1,
    "online.align": 0.0,
    "offline.rate": 0.3,
    "offline.scale": 1.0,
    "online.rate": 0.5,
    "online.scale": 1.0,
    "expansion.kappa": 0.1,
    "expansion.inv_temperature": 3.0,
    "evaluation.episodes": 10,
    # where paper and code disagree: design.md, section 5
    "expansion.ipw_form": "logit",
    "expansion.offline_action": "mode",
    "expansion.online_policy": "fresh",
    "expansion.critic_transfer": "full",
    "expansion.epsilon": 0.0,
    "expansion.density_floor": 1e-6,
    "expansion.lowest_weight": -1e4,
    "expansion.highest_weight": 100.0,
    "online.corrupt_again": 0,
    "sweep.seed": (0, 1, 2, 3, 4),
} | {
    f"agent.{agent}.{name}": value
    for agent in ("iql", "riql")
    for name, value in {
        "learning_rate": 3e-4,
        "discount": 0.99,
        "target_update_rate": 0.005,
        "expectile": 0.7,
        "beta": 3.0,
        "eta": 3.0,
        "hidden_dims": (256, 256),
    }.items()
}
PAPER |= {
    "agent.iql.num_critics": 2,
    "agent.riql.num_critics": 5,
    "agent.riql.sigma": 3.0,
    "agent.riql.quantile": 0.1,
}


@pytest.mark.parametrize("key", PAPER)
def test_default_is_the_papers(key):
    """The protocol that the comparison table claims, cell by cell."""
    assert getattr_dotted(default.default_config(), key) == PAPER[key]


def test_defaults_reach_the_program():
    """What a program and a run are told is what the config says."""
    run = single(small_grid(), corruption="action")
    told, program = run_configs.online_run(run), programs.online_program(run)
    base = told.agent.base
    assert (base.learning_rate, base.discount, base.expectile) == (3e-4, 0.99, 0.7)
    assert (base.beta, base.target_update_rate, base.align) == (3.0, 0.005, 0.0)
    assert (told.agent.kappa, told.agent.inv_temperature) == (0.1, 3.0)
    assert (told.agent.epsilon, told.corrupt_again) == (0.0, 0)
    assert (told.agent.ipw_form, told.agent.offline_action) == ("logit", "mode")
    assert (program.online_policy, program.critic_transfer) == ("fresh", "full")
    assert (program.warmup, program.capacity) == (5_000, 1_000_000)
    assert program.updates_per_step == 4


@pytest.mark.parametrize("module", [quickstart, halfcheetah])
def test_shipped_configs_are_valid_and_locked(module):
    """A mistyped key in a shipped or copied study is an error, not a new setting."""
    config = module.get_config()
    assert study.expand_grid(config)
    assert config.note, "a study that is not the paper's budget says so"
    with pytest.raises(AttributeError, match="rat"):
        config.online.rat = 0.1
