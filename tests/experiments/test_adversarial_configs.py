"""The studies of adversarial fine-tuning: their runs are the paper's, in any budget."""

import importlib
import itertools

import pytest

from benchmarks import adversarial_finetuning
from experiments import programs, study, study_settings
from experiments.configs.adversarial.common import PRESETS, start, with_runs
from experiments.settings import ConfigError

ENVS = ("Hopper-v4", "HalfCheetah-v4", "Ant-v4")
NORMAL = ("direct", "none", "fixed")
RANDOM = ("direct", "random", "fixed")
ADVERSARIAL = ("direct", "adversarial", "fixed")
FULLY_ONLINE = ("scratch", "adversarial", "fixed")
LINEAR = ("direct", "adversarial", "linear")
ADAPTIVE = ("direct", "adversarial", "adaptive")
TABLE_1 = {NORMAL, RANDOM, ADVERSARIAL, FULLY_ONLINE}
# study: (method, perturbation, curriculum) of its runs, and how many of each
MATRIX = {
    "table1": (TABLE_1, 1),
    "table2": ({ADVERSARIAL, LINEAR, ADAPTIVE}, 1),
    "tables": ({*TABLE_1, LINEAR, ADAPTIVE}, 1),
    "table3": ({("sac", "adversarial", "adaptive")}, 1),
    "table4": ({ADAPTIVE, ("direct", "pgd", "adaptive")}, 1),
    "figure4": (TABLE_1, 1),
    "figure5": ({LINEAR, ADAPTIVE}, 1),
    "figure6": ({LINEAR}, 5),
    "figure7": ({ADAPTIVE}, 5 * 5),
    "figure8": ({ADAPTIVE}, 5 * 5),
    "figure9": ({ADVERSARIAL}, 5),
    "figure10": ({ADVERSARIAL}, 2),
}


def get_config(name: str, *argument: str):
    module = importlib.import_module(f"experiments.configs.adversarial.{name}")
    return module.get_config(*argument)


def kind(run: study.Run) -> tuple[str, str, str]:
    config = run.config
    return run.labels["method"], config.perturbation.kind, config.curriculum.kind


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", MATRIX)
def test_each_study_has_the_runs_of_the_paper(name, preset):
    """Each column of the table for every seed, and nothing else."""
    config = get_config(name, f"{preset},Hopper-v4")
    assert config.study == name
    runs = study.expand_grid(config)
    kinds, each = MATRIX[name]
    assert {kind(run) for run in runs} == kinds
    seeds = PRESETS[preset].seeds
    assert len(runs) == len(kinds) * each * seeds
    labels = [tuple(run.labels.values()) for run in runs]
    assert len(set(labels)) == len(labels)
    for run in runs:
        assert run.labels["base"] == ("iql" if name == "table3" else "td3")
        assert run.labels["corruption"] == "clean"
        # data are in the replay alone
        assert study_settings.num_offline(run.config) == 0
        assert run.config.agent.td3.hidden_dims == (PRESETS[preset].width,) * 2


@pytest.mark.parametrize("preset", PRESETS)
def test_budgets(preset):
    """Fixed q and curricula have theirs, warm-up included; tables see thirds."""
    budget = PRESETS[preset]
    for run in study.expand_grid(get_config("tables", preset)):
        fixed = run.config.curriculum.kind == "fixed"
        steps = budget.fixed_steps if fixed else budget.scheduled_steps
        assert run.config.online.steps == steps
        scratch = run.labels["method"] == "scratch"
        online = run.config.online
        assert online.warmup == (budget.warmup if scratch else 0)
        assert online.prefill == (0.0 if scratch else 0.1)
        assert online.warmup_actions == "uniform"
    period = budget.chunk * budget.evaluate_every
    assert budget.scheduled_steps // 3 % period == 0
    assert budget.fixed_steps >= budget.scheduled_steps // 3


def test_the_preset_paper_has_the_budgets_of_the_paper():
    """Section 5.1 and appendix D, as far as the numbers survive."""
    config = get_config("tables")
    assert config.note == ""
    assert config.offline.steps == 5_000_000
    assert config.online.snapshots == (1_000_000, 2_000_000, 3_000_000)
    assert len(config.sweep.seed) == 5 and config.evaluation.episodes == 100
    runs = study.expand_grid(config)
    steps = {kind(run): run.config.online.steps for run in runs}
    assert {steps[k] for k in TABLE_1} == {1_000_000}
    assert {steps[k] for k in (LINEAR, ADAPTIVE)} == {3_000_000}
    config = get_config("table3", "paper")
    assert config.offline.steps == config.online.steps == 3_000_000
    assert config.offline.batch_size == config.online.batch_size == 256


def test_conditions():
    """Table 4 replaces random perturbation by PGD."""
    for name in MATRIX:
        conditions = set(get_config(name, "smoke").evaluation.conditions)
        expected = {
            "table4": {"normal", "adversarial", "pgd"},
            "figure6": {"normal", "adversarial"},
            "figure7": {"normal"},
        }.get(name, {"normal", "random", "adversarial"})
        assert conditions == expected, name


def test_what_the_figures_vary():
    """One number each, and what must follow from it."""
    runs = study.expand_grid(get_config("figure6", "smoke"))
    assert {r.config.curriculum.q_max for r in runs} == {0.2, 0.4, 0.6, 0.8, 1.0}
    runs = study.expand_grid(get_config("figure8", "smoke"))
    curricula = [run.config.curriculum for run in runs]
    pairs = {(c.smoothing, c.step_size) for c in curricula}
    smoothing, step_sizes = (0.05, 0.1, 0.3, 0.5, 0.9), (0.1, 0.25, 0.5, 1.0, 2.0)
    assert pairs == set(itertools.product(smoothing, step_sizes))
    runs = study.expand_grid(get_config("figure9", "small"))
    assert {r.config.online.prefill for r in runs} == {0.0, 0.1, 0.25, 0.5, 1.0}
    for run in runs:  # an empty replay is filled by the pretrained policy first
        assert (run.config.online.warmup > 0) == (run.config.online.prefill == 0)
        assert run.config.online.warmup_actions == "policy"
    runs = study.expand_grid(get_config("figure10", "smoke"))
    assert {r.config.online.bc_weight for r in runs} == {0.0, 1.0}


def test_environments_have_their_own_numbers():
    """Bound, population, step size of the curriculum, and share of the data."""
    found = {}
    for env in ENVS:
        config = get_config("table2", f"paper,{env}")
        assert config.env == env
        assert config.data.source == f"{env.lower()}/expert-v0"
        found[env] = (
            config.perturbation.bound,
            config.attack.population_size,
            config.curriculum.step_size,
            config.online.prefill,
        )
    assert found == {
        "Hopper-v4": (0.3, 20, 1.0, 0.1),
        "HalfCheetah-v4": (0.3, 30, 1.0, 0.5),
        "Ant-v4": (0.5, 40, 0.5, 0.5),
    }
    assert get_config("table2").env == get_config("table2", "small").env == "Hopper-v4"


def test_columns_with_one_pretraining_share_it():
    """Tables 1 and 2 as one study pretrain once a seed."""
    runs = study.expand_grid(get_config("tables", "smoke"))
    assert len(programs.by_pretraining(runs)) == PRESETS["smoke"].seeds


def test_runs_that_pairs_of_values_cannot_tell_apart():
    """Three axes of which every pair of values occurs: a run too many is refused."""
    config, _ = start("table1", "smoke")
    keys = ("online.updates_per_step", "curriculum.episodes", "online.batch_size")
    # all eight but one: no pair of values is absent
    values = [v for v in itertools.product((1, 2), (3, 4), (5, 6)) if v != (2, 4, 6)]
    runs = [{"method": "direct"} | dict(zip(keys, v, strict=True)) for v in values]
    with pytest.raises(ConfigError, match="the runs of table1 cannot be told from"):
        with_runs(config, runs)


def test_the_benchmark_checks_all_of_its_studies_first():
    """A task with its data each."""
    tasks = ["Hopper-v4", "HalfCheetah-v4"]
    configs = adversarial_finetuning.make_configs("smoke", tasks, ["a.npz", "b.npz"])
    assert [config.env for config in configs] == tasks
    assert [config.data.source for config in configs] == ["a.npz", "b.npz"]
