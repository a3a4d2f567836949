"""Settings that cannot be used, of every program that has any."""

import math

import pytest
from ml_collections import ConfigDict

from experiments import (
    attack,
    attack_sets,
    collect,
    gridworld,
    policy_sets,
    study,
    study_inputs,
)
from experiments.configs import attack as attack_defaults
from experiments.configs import collect as collect_defaults
from experiments.configs import default
from experiments.configs import gridworld as gridworld_defaults
from experiments.settings import ConfigError, flatten
from experiments.study_settings import NAMES, RANGES
from rpex_jax.data.dataset import DatasetError
from rpex_jax.types import Spec
from tests.bad_input.sentence import Says, assert_says

NAN, INF = math.nan, math.inf


def edited(config: ConfigDict, edit: dict) -> ConfigDict:
    """The config with other values, of any type."""
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(edit)
    return config


def small_study() -> ConfigDict:
    config = default.default_config()
    config.sweep.base = ("iql",)
    config.sweep.method = ("pex", "rpex")
    config.sweep.corruption = ("clean", "action")
    config.sweep.seed = (0, 1)
    return config


def problem(config: ConfigDict) -> str:
    with pytest.raises(ConfigError) as error:
        study.expand_grid(config)
    return str(error.value)


def setting(config: ConfigDict, key: str):
    return dict(flatten(config))[key]


# Every number, every name, and each of another type


def bad_values(key: str) -> list:
    low, high = RANGES[key]
    if isinstance(setting(default.default_config(), key), int):
        return [low - 1] + ([high + 1] if high < INF else [])
    over = [high + 0.01] if high < INF else []
    return [low - 0.01, NAN, INF, *over]


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key in RANGES for value in bad_values(key)]
)
def test_a_number_out_of_range(key, value):
    """Each number has a range; NaN and infinity are in none."""
    low, high = RANGES[key]
    text = problem(edited(small_study(), {key: value}))
    assert_says(text, Says(f"{key} is", str(value), f"[{low}, {high}]"))


FREE = ("note", "env", "attacker", "data.source", "perturbation.attack_set")  # texts


def test_every_number_has_a_range_and_every_name_a_list():
    """A new setting without a check would let nonsense train for hours."""
    for key, value in flatten(default.default_config()):
        if isinstance(value, bool | int | float):
            assert key in RANGES, key
        elif isinstance(value, str) and key not in FREE:
            assert key in NAMES, key


@pytest.mark.parametrize("key", NAMES)
def test_an_unknown_name(key):
    """The names that may be are all listed."""
    text = problem(edited(small_study(), {key: "nonsense"}))
    assert_says(text, Says(f"{key} is", "'nonsense'", ""))
    assert all(name in text for name in NAMES[key])


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("online.rate", "high", "a number"),
        ("online.rate", None, "a number"),
        ("online.rate", (0.5,), "a number"),
        ("online.steps", 1.5, "an integer"),
        ("online.steps", True, "an integer"),
        ("online.steps", "many", "an integer"),
        ("offline.batch_size", None, "an integer"),
        ("env", 3, "text"),
        ("env", None, "text"),
        ("engine", 1, "text"),
        ("data.source", None, "text"),
        ("perturbation.kind", False, "text"),
        ("sweep.seed", 3, "a tuple"),
        ("sweep.seed", None, "a tuple"),
        ("sweep.base", "iql", "a tuple"),
        ("sweep.method", "pex", "a tuple"),
        ("sweep.axes", "expansion.kappa=0.1", "a tuple"),
        ("sweep.skip", "method=pex", "a tuple"),
        ("data.action_range", 1.0, "a tuple"),
        ("data.drop_observation_columns", 0, "a tuple"),
        ("online.snapshots", 1_000, "a tuple"),
        ("agent.iql.hidden_dims", 256, "a tuple"),
        ("evaluation.conditions", "normal", "a tuple"),
        ("curriculum.score_range", 1000.0, "a tuple"),
    ],
)
def test_a_value_of_another_type(key, value, allowed):
    """As a file of settings may have it: none is guessed at."""
    text = problem(edited(small_study(), {key: value}))
    assert_says(text, Says(f"{key} is", repr(value), f"must be {allowed}"))


@pytest.mark.parametrize("key", ["online.rate", "sweep.seed", "agent.riql.sigma"])
def test_a_setting_that_is_missing(key):
    config, (group, _, name) = small_study(), key.rpartition(".")
    part = config
    for word in group.split("."):
        part = part[word]
    del part[name]
    assert_says(problem(config), Says(f"'{key}'", "missing", "must be there"))


@pytest.mark.parametrize(
    ("key", "value", "largest"),
    [
        ("online.chunk", 2**31, "2147483647"),
        ("online.capacity", 10**15, "2147483647"),
        ("evaluation.episodes", 10**20, "2147483647"),
        ("offline.scale", 1e39, "3.40"),
        ("agent.iql.learning_rate", 1e300, "3.40"),
        ("data.reward_shift", -1e39, "3.40"),
    ],
)
def test_a_number_that_programs_cannot_hold(key, value, largest):
    """They compute in int32 and float32."""
    text = problem(edited(small_study(), {key: value}))
    assert_says(text, Says(f"{key} is", str(value), f"at most {largest}"))


# What fits no other setting


@pytest.mark.parametrize(
    ("axis", "value", "nearest"),
    [
        ("method", "rpexx", "rpex"),
        ("method", "scrtch", "scratch"),
        ("base", "rqil", "riql"),
        ("corruption", "rewards", "reward"),
    ],
)
def test_a_mistyped_name_on_an_axis(axis, value, nearest):
    """The nearest name is offered, and all are listed."""
    text = problem(edited(small_study(), {f"sweep.{axis}": (value,)}))
    says = Says(f"sweep.{axis} is", repr(value), f"did you mean {nearest!r}? allowed")
    assert_says(text, says)


AXES = "sweep.axes"
STUDY = [
    # Budgets
    ({"offline.chunk": 3_000}, Says("offline.chunk is", "3000", "be whole chunks")),
    ({"offline.steps": 5_000}, Says("offline.chunk is", "10000", "5000 steps must")),
    ({"online.chunk": 4_000}, Says("online.chunk is", "4000", "995000 steps after")),
    ({"online.warmup": 1_000_000}, Says("online.warmup is", "1000000", "less than")),
    ({"online.warmup": 0}, Says("online.warmup is 0", "", "one must fill the replay")),
    ({"online.offline_ratio": 1.0}, Says("offline_ratio is", "1.0", "one online row")),
    ({"online.offline_ratio": 0.999}, Says("offline_ratio is", "0.999", "one online")),
    # Widths
    ({"agent.iql.hidden_dims": ()}, Says("agent.iql.hidden_dims is", "()", "integers")),
    ({"agent.riql.hidden_dims": (0, 9)}, Says("riql.hidden_dims", "(0, 9)", "1 or mo")),
    ({"agent.iql.hidden_dims": (9.0,)}, Says("hidden_dims is", "(9.0,)", "integers")),
    ({"agent.iql.hidden_dims": ("9",)}, Says("hidden_dims is", "('9',)", "integers")),
    ({"agent.iql.hidden_dims": (True,)}, Says("hidden_dims", "(True,)", "integers")),
    ({"agent.edac.num_critics": 1}, Says("edac.num_critics is", "1", "[2, inf]")),
    # The grid
    ({"sweep.seed": ()}, Says("sweep.seed is", "empty", "at least one")),
    ({"sweep.method": ()}, Says("sweep.method is", "empty", "at least one")),
    ({"sweep.seed": (0, 0)}, Says("sweep.seed is", "(0, 0)", "may come once")),
    ({"sweep.method": ("pex", "pex")}, Says("sweep.method", "'pex')", "come once")),
    ({"sweep.seed": (0.5,)}, Says("sweep.seed", "0.5", "integers")),
    ({"sweep.seed": (-1,)}, Says("sweep.seed", "-1", "integers in [0, 2^31)")),
    ({"sweep.seed": (2**31,)}, Says("sweep.seed", "2147483648", "[0, 2^31)")),
    ({"sweep.seed": ("a",)}, Says("sweep.seed", "'a'", "integers")),
    ({"sweep.seed": (True,)}, Says("sweep.seed", "True", "integers")),
    ({"sweep.seed": ((0,),)}, Says("sweep.seed", "(0,)", "integers")),
    ({"sweep.method": (3,)}, Says("sweep.method is", "3", "allowed are")),
    ({"sweep.method": (("pex",),)}, Says("sweep.method is", "('pex',)", "allowed")),
    ({"sweep.skip": ("speed=1",)}, Says("sweep.skip is", "'speed'", "allowed are")),
    ({"sweep.skip": ("method",)}, Says("setting", "'method'", "'key=value'")),
    ({"sweep.skip": (3,)}, Says("setting", "3", "'key=value'")),
    ({"sweep.skip": ("seed=a",)}, Says("seed is", "'a'", "of type int")),
    ({"sweep.skip": ("method=px",)}, Says("sweep.skip is", "'px'", "did you mean")),
    (
        {"sweep.skip": ("method=pex", "method=rpex")},
        Says("sweep.skip is", "'method=rpex'", "it leaves no run"),
    ),
    # Further axes
    ({AXES: ("expansion.kappa",)}, Says("setting", "'expansion.kappa'", "key=value")),
    ({AXES: (0.1,)}, Says("setting", "0.1", "must read 'key=value'")),
    (
        {AXES: ("expansion.kapa=0.1",)},
        Says("no setting", "'expansion.kapa'", "did you mean 'expansion.kappa'?"),
    ),
    ({AXES: ("expansion=0.1",)}, Says("expansion", "", "cannot differ")),
    ({AXES: ("online.rate=0.1,high",)}, Says("online.rate is", "'high'", "float")),
    ({AXES: ("online.rate=0.1,",)}, Says("online.rate is", "''", "float")),
    ({AXES: ("online.rate=0.1,1.5",)}, Says("online.rate is", "1.5", "[0, 1]")),
    ({AXES: ("online.rate=nan",)}, Says("online.rate is", "nan", "[0, 1]")),
    ({AXES: ("online.warmup=1.5",)}, Says("online.warmup is", "'1.5'", "type int")),
    ({AXES: ("expansion.ipw_form=logits",)}, Says("ipw_form", "'logits'", "'logit'")),
    ({AXES: ("expansion.kappa=1,1.0",)}, Says("expansion.kappa", "(1.0, 1.0)", "once")),
    (
        {AXES: ("expansion.kappa=1", "expansion.kappa=2")},
        Says("sweep.axes", "'expansion.kappa'", "each may come once"),
    ),
    # a study has one environment, one data set, one rhythm of evaluation
    ({AXES: ("env=Hopper-v4,Hopper-v5",)}, Says("env", "", "cannot differ")),
    ({AXES: ("data.source=a,b",)}, Says("data.source", "", "cannot differ")),
    ({AXES: ("evaluation.episodes=1,2",)}, Says("evaluation.episodes", "", "cannot")),
    ({AXES: ("agent.iql.hidden_dims=(9,)",)}, Says("hidden_dims", "", "cannot differ")),
    # Corruptions
    ({"corruptions.action": "all"}, Says("corruptions.action", "", "must say what")),
    ({"corruptions.new": ConfigDict()}, Says("corruptions.new", "'offline'", "must")),
    (
        {"corruptions.action.offline": "action"},
        Says("corruptions.action.offline is", "'action'", "a tuple of texts"),
    ),
    (
        {"corruptions.action.settings": (0.1,)},
        Says("corruptions.action.settings is", "(0.1,)", "a tuple of texts"),
    ),
    (
        {"corruptions.action.settings": ("online.updates_per_stp=4",)},
        Says("no setting", "'online.updates_per_stp'", "'online.updates_per_step'?"),
    ),
    (
        {"corruptions.action.settings": ("online.updates_per_step=0",)},
        Says("online.updates_per_step is", "0", "[1, inf]"),
    ),
    (
        {"corruptions.action.offline": ("actions",)},
        Says("corruptions.action.offline is", "'actions'", "did you mean 'action'?"),
    ),
    (
        {"corruptions.action.offline": ("",)},
        Says("corruptions.action.offline is", "''", "allowed are observation"),
    ),
    (
        {"corruptions.all.online": ("action", "adversarial action rate=0.1")},
        Says("corruptions.all.online is", "rate=0.1", "each element may come once"),
    ),
    (
        {"corruptions.mixed.online": ("adversarial reward rate=1.2",)},
        Says("corruptions.mixed.online has", "rate=1.2", "[0, 1]"),
    ),
    (
        {"corruptions.mixed.online": ("reward rate=nan",)},
        Says("corruptions.mixed.online has", "rate=nan", "[0, 1]"),
    ),
    (
        {"corruptions.mixed.online": ("reward scale=inf",)},
        Says("corruptions.mixed.online has", "scale=inf", "must lie in"),
    ),
    (
        {"corruptions.mixed.online": ("reward rate=0.1 rate=0.2",)},
        Says("corruptions.mixed.online is", "rate=0.1 rate=0.2", "may come once"),
    ),
    (
        {"corruptions.mixed.offline": ("dynamics scale=big",)},
        Says("corruptions.mixed.offline has", "scale=big", "a number"),
    ),
    (
        {"corruptions.mixed.offline": ("dynamics share=0.1",)},
        Says("corruptions.mixed.offline is", "'share'", "rate, scale"),
    ),
    (
        {"corruptions.mixed.offline": ("adversarial",)},
        Says("corruptions.mixed.offline is", "'adversarial'", "dynamics"),
    ),
    # The data
    ({"data.source": ""}, Says("data.source is", "''", "a file, a folder")),
    ({"data.action_range": (1.0,)}, Says("action_range is", "(1.0,)", "two numbers")),
    ({"data.action_range": (1, -1)}, Says("action_range is", "(1, -1)", "lower one")),
    ({"data.action_range": (0, NAN)}, Says("action_range is", "nan", "two numbers")),
    ({"data.action_range": (0, INF)}, Says("action_range is", "inf", "two numbers")),
    ({"data.action_range": ("a", "b")}, Says("action_range", "('a', 'b')", "numbers")),
    (
        {"data.drop_observation_columns": (0.5,)},
        Says("data.drop_observation_columns is", "(0.5,)", "integers"),
    ),
    ({"online.snapshots": (0,)}, Says("online.snapshots is", "(0,)", "integers of 1")),
    # What attacks
    ({"evaluation.conditions": ()}, Says("conditions is", "()", "normal must be")),
    (
        {"evaluation.conditions": ("normal", "windy")},
        Says("evaluation.conditions is", "'windy'", "allowed are normal"),
    ),
    (
        {"evaluation.conditions": ("random",)},
        Says("evaluation.conditions is", "('random',)", "normal must be among"),
    ),
    (
        {"evaluation.conditions": ("normal", "normal")},
        Says("evaluation.conditions is", "('normal', 'normal')", "may come once"),
    ),
    (
        {"curriculum.score_range": (3.0, 1.0)},
        Says("curriculum.score_range is", "(3.0, 1.0)", "the lower one first"),
    ),
    ({"curriculum.score_range": (1.0,)}, Says("score_range", "(1.0,)", "two returns")),
    ({"curriculum.score_range": (0, NAN)}, Says("score_range is", "nan", "two")),
    ({"curriculum.score_range": ("a", "b")}, Says("score_range is", "'a'", "returns")),
    ({"attack.mutation_low": 1.5}, Says("attack.mutation_low is", "1.5", "high, 1.0")),
    (
        {"env": "InvertedPendulum-v5", "perturbation.kind": "random"},
        Says("env", "InvertedPendulum-v5", "set curriculum.score_range"),
    ),
]


@pytest.mark.parametrize(("edit", "expected"), STUDY)
def test_a_study_that_cannot_be(edit, expected):
    """Key, value and what may be, before anything is loaded or compiled."""
    assert_says(problem(edited(small_study(), edit)), expected)


@pytest.mark.parametrize(
    ("base", "method", "edit", "expected"),
    [
        ("iql", "off2on", {}, Says("sweep.method", "'off2on'", "from cql_ensemble")),
        ("awac", "sac", {}, Says("sweep.method", "'sac'", "it can from")),
        (
            "cql_ensemble",
            "off2on",
            {"online.prefill": 0.5},
            Says("online.prefill is", "0.5", "it must be 0"),
        ),
        (
            "iql",
            "jsrl",
            {"perturbation.kind": "pgd"},
            Says("perturbation.kind is 'pgd'", "'jsrl'", "the critic of one agent"),
        ),
        ("iql", "rpex", {"perturbation.kind": "pgd"}, Says("'pgd'", "'rpex'", "one")),
        ("iql", "jsrl", {"jsrl.schedule": "linera"}, Says("'linera'", "", "'linear'?")),
        ("iql", "jsrl", {"jsrl.window": 0}, Says("jsrl.window is", "0", "[1, inf]")),
        ("iql", "jsrl", {"jsrl.num_stages": 0}, Says("jsrl.num_stages", "0", "[1, ")),
        ("iql", "jsrl", {"jsrl.tolerance": -0.1}, Says("jsrl.tolerance", "-0.1", "[0")),
        (
            "td3",
            "direct",
            {"offline.steps": 9, "offline.chunk": 9},
            Says("offline.chunk makes", "9", "a multiple of agent.td3.policy_delay, 2"),
        ),
        (
            "td3",
            "direct",
            {"online.steps": 5_009, "online.chunk": 9},
            Says("online.chunk makes", "9", "a multiple of agent.td3.policy_delay, 2"),
        ),
    ],
)
def test_a_method_that_cannot_go_on(base, method, edit, expected):
    config = edited(small_study(), edit)
    point = {"base": base, "method": method, "corruption": "clean", "seed": 0}
    with pytest.raises(ConfigError) as error:
        study.resolve(config, point)
    assert_says(error.value, expected)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            {},
            Says("expansion.num_policies is", "12", "at most 11, one more than there"),
        ),
        (
            {"expansion.members": "seeds"},
            Says("expansion.num_policies is", "12", "there are pretrainings of seeds"),
        ),
        ({"expansion.num_policies": 1}, Says("num_policies is", "1", "[2, inf]")),
        ({"expansion.members": "all"}, Says("members is", "'all'", "snapshots, seeds")),
    ],
)
def test_a_set_of_too_many_policies(edit, expected):
    budget = {"offline.steps": 100, "offline.chunk": 10, "expansion.num_policies": 12}
    with pytest.raises(ConfigError) as error:
        policy_sets.check(study.expand_grid(edited(small_study(), budget | edit)))
    assert_says(error.value, expected)


@pytest.mark.parametrize(
    "edit",
    [
        {},  # no adaptive runs
        {AXES: ("curriculum.kind=linear,fixed",)},
        # adaptive ones of another setting
        {
            AXES: ("curriculum.kind=linear,adaptive", "online.rate=0.1,0.2"),
            "sweep.skip": ("curriculum.kind=adaptive online.rate=0.2",),
        },
    ],
)
def test_a_curriculum_that_waits_in_vain(edit):
    """It was found out after all of pretraining."""
    calibrated = {"perturbation.kind": "random", "curriculum.q_max": 0.0}
    config = edited(small_study(), {"curriculum.kind": "linear"} | calibrated | edit)
    with pytest.raises(ConfigError) as error:
        attack_sets.check_calibrated(study.expand_grid(config))
    assert_says(error.value, Says("curriculum.q_max", "is 0", "must have curriculum"))


def test_a_data_set_that_does_not_fit_the_replay():
    """Half of the rows may be as many as it holds."""
    half = {"online.prefill": 0.5, "online.capacity": 40}
    runs = study.expand_grid(edited(small_study(), half))
    study_inputs.check_prefill(runs, 80)
    with pytest.raises(ConfigError) as error:
        study_inputs.check_prefill(runs, 82)
    assert_says(error.value, Says("online.prefill is 0.5", "41 rows", "capacity, 40"))


@pytest.mark.parametrize("field", ["observations", "actions"])
def test_data_of_another_width(field):
    """The wrong data set is told from its widths, with a way out."""
    env = study_inputs.make_env(small_study())

    class Wide:
        def __init__(self, width):
            self.shape = (4, width)

    class Recording:  # all that the check looks at
        class transitions:
            observations, actions = Wide(11), Wide(3)

    assert env.spec == Spec(11, 3)
    study_inputs.check_widths(env, Recording, "fine.npz")
    setattr(Recording.transitions, field, Wide(7))
    with pytest.raises(ConfigError) as error:
        study_inputs.check_widths(env, Recording, "other.npz")
    assert_says(error.value, Says("'other.npz'", f"{field} of width 7", "Hopper-v4"))


# Other programs


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"env": "Hoper-v4"}, Says("env:", "'Hoper-v4'", "Hopper-v4")),
        ({"env": None}, Says("env is", "None", "must be text")),
        ({"kinds": ("medum",)}, Says("kinds is", "'medum'", "did you mean 'medium'?")),
        ({"kinds": ("random", "random")}, Says("kinds is", "'random'", "each once")),
        ({"kinds": ()}, Says("kinds is", "()", "must hold some")),
        ({"kinds": "random"}, Says("kinds is", "'random'", "a tuple")),
        ({"rows": 0}, Says("rows is", "0", "[1, inf]")),
        ({"rows": 1e6}, Says("rows is", "1000000.0", "an integer")),
        ({"rows": 2**31}, Says("rows is", "2147483648", "at most 2147483647")),
        ({"seed": -1}, Says("seed is", "-1", "[0, 2147483647]")),
        ({"warmup": 1_000_000}, Says("warmup is", "1000000", "less than steps")),
        ({"evaluate_every": 300}, Says("evaluate_every is", "300", "995000 steps")),
        ({"agent.sac.hidden_dims": ()}, Says("agent.sac.hidden_dims is", "()", "inte")),
        ({"agent.sac.discount": 2.0}, Says("agent.sac.discount is", "2.0", "[0, 1]")),
        ({"warmup_actions": "unifrom"}, Says("actions is", "'unifrom'", "'uniform'")),
        ({"dataset_id": "test/hopper-v0"}, Says("dataset_id", "test/hopper", "{kind}")),
        ({"dataset_id": "{name}/{kind}-v0"}, Says("dataset_id is", "{name}", "{env}")),
        ({"dataset_id": "{"}, Says("dataset_id is", "'{'", "{env} and {kind}")),
        ({"dataset_id": "no version {kind}"}, Says("no version", "Minari", "name-v0")),
        ({"policies": "a.npz"}, Says("policies is", "'a.npz'", "a tuple")),
        ({"kinds": ("mixed",)}, Says("kinds has", "'mixed'", "policies must")),
        (
            {"kinds": ("expert",), "policies": (3,)},
            Says("policies is", "3", "files and folders"),
        ),
        (
            {"kinds": ("mixed",), "policies": ("a.npz", "b.npz"), "rows": 1},
            Says("rows is", "1", "of each of the 2 policies"),
        ),
        ({"policies": ("a.npz",)}, Says("kinds is", "'medium'", "mixed, expert")),
        ({"medium.score": "high"}, Says("medium.score is", "'high'", "a number")),
        ({"medium.mean_return": "a"}, Says("mean_return is", "'a'", "number or None")),
        (
            {"env": "Pendulum-v1", "medium.steps": 0},
            Says("env", "Pendulum-v1", "set medium.mean_return or medium.steps"),
        ),
    ],
)
def test_a_collection_that_cannot_be(tmp_path, monkeypatch, edit, expected):
    """Nothing is written, in the folder or for Minari."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    config = collect_defaults.get_config()
    two = {"kinds": ("random", "medium")}
    with pytest.raises((ConfigError, DatasetError)) as error:
        collect.collect(edited(config, two | edit), tmp_path / "out")
    assert_says(error.value, expected)
    assert not list(tmp_path.glob("[!.]*/*"))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"bound": 0.0}, Says("bound is", "0.0", "(0, 1]")),
        ({"bound": 1.01}, Says("bound is", "1.01", "(0, 1]")),
        ({"bound": NAN}, Says("bound is", "nan", "(0, 1]")),
        ({"bound": "wide"}, Says("bound is", "'wide'", "a number")),
        ({"population_size": 2}, Says("population_size is", "2", "needs at least 3")),
        ({"population_size": 2.0}, Says("population_size is", "2.0", "an integer")),
        ({"generations": -1}, Says("generations is", "-1", ">= 0")),
        ({"searches": 0}, Says("searches is", "0", "[1, inf]")),
        ({"episodes": 0}, Says("episodes is", "0", "[1, inf]")),
        ({"seed": -1}, Says("seed is", "-1", "[0, inf]")),
        ({"seed": 2**31}, Says("seed is", "2147483648", "at most 2147483647")),
        ({"strategy": "best2bin"}, Says("strategy is", "'best2bin'", "one of")),
        ({"outside": "reflect"}, Says("outside is", "'reflect'", "one of")),
        ({"crossover": 1.5}, Says("crossover is", "1.5", "[0, 1]")),
        ({"crossover": None}, Says("crossover is", "None", "a number")),
    ],
)
def test_an_attack_that_cannot_be(edit, expected):
    with pytest.raises(ConfigError) as error:
        attack.check(edited(attack_defaults.get_config(), edit))
    assert_says(error.value, expected)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"grid": "maze"}, Says("grid is", "'maze'", "open, wall")),
        ({"seeds": ()}, Says("seeds is", "()", "integers")),
        ({"seeds": (-1,)}, Says("seeds is", "(-1,)", "integers of 0 or more")),
        ({"seeds": 3}, Says("seeds is", "3", "a tuple")),
        ({"data.walkers": 0}, Says("data.walkers is", "0", "[1, inf]")),
        ({"batch_size": 0}, Says("batch_size is", "0", "[1, inf]")),
        ({"sampled_paths": 0}, Says("sampled_paths is", "0", "[1, inf]")),
        ({"data.noise": 1.5}, Says("data.noise is", "1.5", "[0, 1]")),
        ({"data.near_optimal": NAN}, Says("data.near_optimal is", "nan", "[0, 1]")),
        ({"kappas": (0.1,)}, Says("kappas is", "(0.1,)", "must hold 0")),
        ({"kappas": (0.0, "a")}, Says("kappas is", "'a'", "finite numbers")),
        ({"shown": 7.0}, Says("kappas is", "(0.0,", "what is shown, 7.0")),
        ({"inv_temperatures": ()}, Says("inv_temperatures is", "()", "numbers")),
        ({"inv_temperatures": (INF,)}, Says("inv_temperatures is", "inf", "finite")),
        ({"corruption.rate": 2.0}, Says("corruption.rate is", "2.0", "[0, 1]")),
        ({"corruption.scale": INF}, Says("corruption.scale is", "inf", "[0, inf]")),
        ({"agent.discount": 2.0}, Says("agent.discount is", "2.0", "[0, 1]")),
        ({"agent.hidden_dims": (0,)}, Says("agent.hidden_dims is", "(0,)", "integers")),
    ],
)
def test_a_grid_world_that_cannot_be(edit, expected):
    with pytest.raises(ConfigError) as error:
        gridworld.check(edited(gridworld_defaults.get_config(), edit))
    assert_says(error.value, expected)
