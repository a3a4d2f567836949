"""Studies with perturbed actions: what runs are told, one tiny study, bad settings."""

import numpy as np
import pytest

from experiments import (
    attack_sets,
    evaluate,
    policies,
    programs,
    run_configs,
    study,
    study_cost,
)
from experiments import sweep as program
from experiments.attack_sets import calibrated_q_max
from experiments.configs.default import default_config
from experiments.settings import ConfigError
from rpex_jax import envs, results
from rpex_jax.attacks.curriculum import Curriculum
from rpex_jax.attacks.perturbation import PGDSettings
from tests import diagnostic
from tests.experiments.tiny import small_world, write_data

KINDS = "perturbation.kind=none,random,adversarial,pgd"


def adversarial_config(*axes, **settings):
    """TD3+BC, then TD3, on a data set that fills the replay."""
    config = default_config()
    config.sweep.base, config.sweep.method = ("td3",), ("direct",)
    config.sweep.corruption, config.sweep.seed = ("clean",), (0,)
    config.sweep.axes = axes
    config.online.update({"offline_ratio": 0.0, "prefill": 0.5, "warmup": 0})
    config.online.update({"steps": 1_000_000, "capacity": 1_000})
    config.update_from_flattened_dict(settings)
    return config


def only_run(**settings):
    [run] = study.expand_grid(adversarial_config(**settings))
    return run


# What a run is told


@pytest.mark.parametrize(
    ("kind", "uniform", "pgd"),
    [
        ("random", 1, None),
        ("adversarial", 0, None),
        ("pgd", 0, PGDSettings(num_steps=3, step_size=1.5)),
    ],
)
def test_a_kind_of_perturbation(kind, uniform, pgd):
    settings = {"perturbation.kind": kind, "perturbation.bound": 0.2}
    settings |= {"pgd.num_steps": 3, "pgd.step_size": 1.5}
    told = run_configs.online_run(only_run(**settings)).perturbation
    assert (told.uniform, told.pgd, told.bound) == (uniform, pgd, 0.2)


def test_what_a_study_takes_is_known_before_its_attacks():
    """Zeros stand for them in a dry run."""
    env, run = envs.make("Hopper-v4"), only_run(**{"perturbation.kind": "random"})
    data = study_cost.random_data(env.spec)
    assert study_cost.online_sample(env, [run], data).num_bytes > 0


def test_without_a_perturbation_the_program_is_that_of_before():
    assert run_configs.online_run(only_run()).perturbation is None


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("fixed", {"initial": 0.4}),
        ("linear", {"increment": 0.6 / 200}),
        ("adaptive", {"step_size": 0.7, "smoothing": 0.3, "cap": 0.2}),
    ],
)
def test_a_curriculum(kind, numbers):
    """Scores are D4RL's; a chunk of 5 000 steps is a period."""
    settings = {"q": 0.4, "q_max": 0.6, "step_size": 0.7, "smoothing": 0.3, "cap": 0.2}
    settings = {f"curriculum.{name}": value for name, value in settings.items()}
    settings |= {"perturbation.kind": "adversarial", "curriculum.kind": kind}
    told = run_configs.online_run(only_run(**settings)).perturbation.curriculum
    expected = Curriculum(low=-20.272305, high=3234.3, **numbers)
    assert told == expected


def test_strengths_curricula_and_seeds_are_one_program():
    config = adversarial_config(
        "perturbation.kind=random,adversarial",
        "perturbation.bound=0.1,0.3",
        "curriculum.kind=fixed,linear,adaptive",
        "curriculum.smoothing=0.1,0.9",
        "curriculum.step_size=0.5,1.0",
        "online.bc_weight=0.0,1.0",
    )
    config.sweep.seed = (0, 1)
    runs = study.expand_grid(config)
    assert len(runs) == 2 * 2 * 3 * 2 * 2 * 2 * 2
    assert len({programs.online_program(run) for run in runs}) == 1


def test_skip_leaves_runs_out():
    config = adversarial_config(KINDS)
    config.sweep.method = ("direct", "scratch")
    config.sweep.skip = (
        "method=scratch perturbation.kind=random",
        "perturbation.kind=pgd",
    )
    labels = [
        (run.labels["method"], run.labels["perturbation.kind"])
        for run in study.expand_grid(config)
    ]
    assert labels == [
        ("direct", "none"),
        ("direct", "random"),
        ("direct", "adversarial"),
        ("scratch", "none"),
        ("scratch", "adversarial"),
    ]


def test_skip_compares_numbers_and_not_their_texts():
    config = adversarial_config("curriculum.q=0,0.5", "online.corrupt_again=1,2")
    config.sweep.skip = ("curriculum.q=5e-1", "curriculum.q=0 online.corrupt_again=01")
    [run] = study.expand_grid(config)
    assert run.labels["curriculum.q"] == 0 and run.labels["online.corrupt_again"] == 2


def test_a_calibrated_curriculum_is_as_exposed_as_the_adaptive_runs():
    settings = {"perturbation.kind": "adversarial", "curriculum.q_max": 0.0}
    config = adversarial_config("curriculum.kind=adaptive,linear", **settings)
    adaptive, linear = study.expand_grid(config)
    assert not programs.online_program(adaptive).calibrated
    assert programs.online_program(linear).calibrated
    rows = [
        adaptive.labels | {"phase": "online", "seed": seed, "curriculum/q": q}
        for seed, q in ((0, 0.1), (0, 0.3), (1, 0.2), (1, 0.2))
    ]
    rows.append(linear.labels | {"phase": "online", "curriculum/q": 0.9})
    rows.append(
        adaptive.labels | {"phase": "online", "base": "iql", "curriculum/q": 0.9}
    )
    assert calibrated_q_max(linear, rows) == pytest.approx(0.4 * 200 / 199)
    failed = [
        adaptive.labels | {"phase": "online", "seed": 2, "curriculum/q": 0.7} | marked
        for marked in ({}, {"failed": "actor/loss is not finite at step 8"})
    ]
    assert calibrated_q_max(linear, failed + rows) == pytest.approx(0.4 * 200 / 199)
    with pytest.raises(ConfigError, match=r"q_max is 0.* all of these have failed"):
        calibrated_q_max(linear, failed)


# What it costs


def test_the_steps_of_evaluations_and_attacks():
    """Two seeds; `direct` without and with perturbations, and `offline`, idle."""
    config = adversarial_config(
        "perturbation.kind=none,adversarial",
        **{
            "sweep.method": ("offline", "direct"),
            "sweep.seed": (0, 1),
            "offline.steps": 40,
            "offline.chunk": 10,
            "online.steps": 30,
            "online.chunk": 10,
            "evaluation.conditions": ("normal", "random", "adversarial"),
            "evaluation.episodes": 5,
            "evaluation.every": 2,  # twice in 4 chunks offline, twice in 3 online
        },
    )
    config.curriculum.episodes, config.attack.episodes = 7, 2
    config.attack.update({"searches": 3, "population_size": 11, "generations": 4})
    episodes = 2 * 2 * 5 + 2 * 3 * 5  # of pretraining, and at its end
    episodes += 2 * 2 * 3 * 11 * (4 + 1) * 2  # a set to train, one to evaluate with
    episodes += (2 + 2) * 2 * 3 * 5  # of the runs online
    episodes += 2 * (1 + 3) * 7  # of the curriculum, first before any chunk
    env = diagnostic.target_reward()
    steps = episodes * (env.time_limit or 1000)
    assert study_cost.evaluation_steps(config, env) == steps


# One tiny study: its reward is -(executed - observation)^2, one step


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a study of all kinds, its config, and its rows."""
    folder = tmp_path_factory.mktemp("adversarial")
    write_data(folder / "data.npz", observation_dim=1, action_dim=1)
    config = adversarial_config(
        "curriculum.kind=adaptive,linear",
        **{
            "data.source": str(folder / "data.npz"),
            "perturbation.kind": "adversarial",
            "agent.td3.hidden_dims": (8,),
            "offline.steps": 4,
            "offline.chunk": 4,
            "online.steps": 8,
            "online.chunk": 4,
            "online.snapshots": (3, 9),  # after the first of two chunks; not reached
            "online.capacity": 40,
            "curriculum.q_max": 0.0,
            "curriculum.episodes": 4,
            "curriculum.step_size": 50.0,
            "attack.searches": 2,
            "attack.population_size": 5,
            "attack.generations": 2,
            "evaluation.conditions": ("normal", "random", "adversarial", "pgd"),
            "evaluation.episodes": 6,
        },
    )
    config.sweep.seed = (0, 1)
    with small_world():
        program.run_study(config.lock(), folder / "out", resume=False)
        yield folder / "out", config, results.read_rows(folder / "out/chunks.jsonl")


def test_every_condition_of_every_policy_has_its_returns(finished):
    _, _, rows = finished
    pretrained = [row for row in rows if row["phase"] == "pretrained"]
    assert [row["pretraining"] for row in pretrained] == [0, 1]
    online = [row for row in rows if row["phase"] == "online"]
    assert len(online) == 2 * 2 * 2  # seeds, chunks, curricula
    for row in pretrained + online:
        for name in ("returns", "returns/random", "returns/adversarial", "returns/pgd"):
            assert len(row[name]) == 6 and np.isfinite(row[name]).all()


def test_adaptive_runs_train_first_and_linear_ones_match_their_exposure(finished):
    _, _, rows = finished

    def q(kind):
        return [
            row["curriculum/q"]
            for row in rows
            if row["phase"] == "online" and row["curriculum.kind"] == kind
        ]

    # a ramp of two periods, of which the first is clean and the second at its half
    second = min(0.5, 2 * np.mean(q("adaptive")))
    np.testing.assert_allclose(sorted(q("linear")), [0, 0, second, second], atol=1e-6)


def test_each_policy_has_two_sets_within_the_bound(finished):
    out, config, _ = finished
    files = sorted(path.name for path in (out / "attacks").iterdir())
    assert files == [
        f"policy-{number}-bound-0.3-{purpose}.json"
        for number in (0, 1)
        for purpose in ("evaluation", "training")
    ]
    env = diagnostic.target_reward()
    run = study.expand_grid(config)[1]
    sets = [
        attack_sets.load(out, env, run, number, purpose)
        for number in (0, 1)
        for purpose in ("training", "evaluation")
    ]
    assert all(s.shape == (2, 1) and (np.abs(s) <= 0.3).all() for s in sets)
    assert len({s.tobytes() for s in sets}) == 4  # independent searches


def test_a_finished_study_resumes_to_itself(finished):
    out, config, rows = finished
    before = {path.name: path.read_bytes() for path in (out / "attacks").iterdir()}
    program.run_study(config, out, resume=True)
    assert results.read_rows(out / "chunks.jsonl") == rows
    assert before == {p.name: p.read_bytes() for p in (out / "attacks").iterdir()}


def test_its_policies_load(finished):
    """The last ones, and those of the middle that were kept: their returns are back."""
    out, _, rows = finished
    _, groups = policies.load(out)
    assert sorted(len(group.labels) for group in groups) == [2, 2, 2]
    kept = sorted(str(p.relative_to(out)) for p in out.glob("snapshots/*/*"))
    assert kept == ["snapshots/online-0/1", "snapshots/online-1/1"]
    env, groups = policies.load(out / kept[0])
    found = evaluate.evaluate(env, groups, episodes=6)
    expected = [
        row["returns"]
        for row in rows
        if (row["group"], row["chunk"]) == ("online-0", 1)
    ]
    assert [row.step for row in found] == [4, 4]
    ours = [row.returns for row in found]
    # Another program: a return is minus a squared distance, in which digits cancel.
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
