"""Checkpoints and folders of results: missing, damaged, or of something else."""

import json
import os
import shutil

import jax
import numpy as np
import pytest

from experiments import data_attacks, folders, policies, study_inputs
from experiments.configs import collect
from experiments.settings import ConfigError
from rpex_jax import checkpoints
from rpex_jax.checkpoints import CheckpointError
from rpex_jax.training.offline import OfflineData
from tests import diagnostic
from tests.bad_input.programs import error_of
from tests.bad_input.sentence import Says, assert_says
from tests.experiments.tiny import tiny_config

# The numbers of runs are stacked before their checkpoints can be looked at.
OPERATIONS = ("add", "convert_element_type", "multiply", "stack", "stage")
OPERATIONS += ("dynamic_slice", "squeeze")


def on_device(tree):
    """Zeros in these shapes, without a program."""
    return jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype)), tree)


# A state alone

STATE = {
    "actor": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)},
    "step": np.zeros((), np.int32),
}


@pytest.fixture
def group(tmp_path):
    """A folder with the state as its second chunk."""
    checkpoints.save(tmp_path / "group", 2, on_device(STATE))
    return tmp_path / "group"


def changed(**actor):
    """The shapes of a state whose policy has other arrays; None is no such array."""
    arrays = {k: v for k, v in (STATE["actor"] | actor).items() if v is not None}
    return jax.eval_shape(lambda: STATE | {"actor": arrays})


def problem(group, like, chunk=2) -> str:
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(group, chunk, like)
    return str(error.value)


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        (
            changed(kernel=np.zeros((3, 4))),
            Says("actor.kernel", "(3, 2)", "it must have (3, 4)"),
        ),
        (
            changed(kernel=np.zeros((5, 3, 2))),
            Says("actor.kernel", "(3, 2)", "it must have (5, 3, 2)"),
        ),
        (changed(kernel=np.zeros(3)), Says("actor.kernel", "(3, 2)", "have (3,)")),
        (
            changed(scale=np.zeros(2)),
            Says("actor.scale", "has nothing", "it must have (2,)"),
        ),
        (changed(bias=None), Says("actor.bias", "(2,)", "it must have nothing")),
        (changed(kernel={"a": np.zeros(1)}), Says("kernel", "(3, 2)", "have nothing")),
    ],
)
def test_a_state_of_another_program(group, like, expected):
    """The first array that differs is named, with both shapes."""
    text = problem(group, like)
    assert_says(text, expected)
    assert_says(text, Says(f"{group}/2", "another environment, agent", "must have"))


@pytest.mark.parametrize(
    "damage",
    ["no arrays", "no metadata", "no manifest", "cut metadata", "cut arrays", "empty"],
)
def test_a_damaged_state(group, damage):
    """Whatever of it a full disk or a half copied folder leaves."""
    place = group / "2" / "default"
    if damage == "no arrays":
        shutil.rmtree(place)
    elif damage == "empty":
        shutil.rmtree(group / "2")
        (group / "2").mkdir()
    elif damage == "no metadata":
        (place / "_METADATA").unlink()
    elif damage == "cut metadata":
        text = (place / "_METADATA").read_text()
        (place / "_METADATA").write_text(text[: len(text) // 2])
    elif damage == "no manifest":
        (place / "manifest.ocdbt").unlink()
        shutil.rmtree(place / "ocdbt.process_0")
    else:
        for file in (p for p in place.rglob("d/*") if p.is_file()):
            file.write_bytes(file.read_bytes()[:3])
    text = problem(group, changed())
    assert_says(
        text, Says(f"{group}/2 cannot be read", "may be damaged", "train again")
    )


def test_no_state(group):
    (group / "3").write_text("a file")
    for place, chunk in ((group, 1), (group, 3), (group / "no", 2)):
        says = Says(f"{place}/{chunk}", "is no folder", "must be a checkpoint")
        assert_says(problem(place, changed(), chunk), says)


# The folder of a study

GROUPS = ("offline-0", "online-0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """As of a study that is done: zeros in the shapes of its policies; and these."""
    config = tiny_config(tmp_path_factory.mktemp("data") / "data.npz", chunks=2)
    with config.unlocked():
        config.sweep.method, config.sweep.corruption = ("direct",), ("clean",)
    out = tmp_path_factory.mktemp("finished")
    text = json.dumps(config.to_dict(), indent=1, sort_keys=True)
    (out / "config.json").write_text(text)
    likes = {}

    def remember(folder, chunk, like):
        likes[folder.name] = on_device(like)
        return likes[folder.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            study_inputs, "make_env", lambda config: diagnostic.target_reward()
        )
        with patch.context() as shapes:
            shapes.setattr(checkpoints, "restore", remember)
            shapes.setattr(checkpoints, "latest", lambda folder: 2)
            for group in GROUPS:
                (out / "checkpoints" / group / "2").mkdir(parents=True)
            policies.load(out)
        for group in GROUPS:
            shutil.rmtree(out / "checkpoints" / group)
            checkpoints.save(out / "checkpoints" / group, 2, likes[group])
        yield out, policies.load(out)


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the folder, to be broken."""
    return shutil.copytree(finished[0], tmp_path / "out")


def change(out, **edit):
    """Edits config.json; a key with dots, joined by __."""
    config = json.loads((out / "config.json").read_text())
    for key, value in edit.items():
        part, *names = config, *key.split("__")
        for name in names[:-1]:
            part = part[name]
        if value is None:
            del part[names[-1]]
        else:
            part[names[-1]] = value
    (out / "config.json").write_text(json.dumps(config))


def loading(place) -> str:
    with pytest.raises((ConfigError, CheckpointError)) as error:
        policies.load(place)
    return str(error.value)


def test_the_folder_is_fine(finished):
    """Or the others would show nothing."""
    _, (_, groups) = finished
    assert [len(group.labels) for group in groups] == [1, 1]


@pytest.mark.parametrize(
    "place",
    [
        "no/such",
        "../no",
        "checkpoints/online-7",
        "checkpoints/online-0/9",
        "checkpoints/online-0/2/default",
        "config.json",
        "checkpoints/offline-0/last",
    ],
)
def test_a_checkpoint_that_is_not_there(out, place):
    """What was given, and what can be."""
    says = Says("--checkpoint is", place, "where none is complete; it must be the")
    if place.endswith("default"):  # stands for the whole of it
        says = says._replace(value="/default")
    assert_says(loading(out / place), says)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            {"agent__iql__hidden_dims": [32, 16]},
            Says("checkpoints/offline-0/2", "16", "it must have"),
        ),
        (
            {"agent__iql__num_critics": 4},
            Says("checkpoints/offline-0/2", "2", "it must have"),
        ),
        ({"sweep__seed": [0, 1]}, Says("offline-0/2", "(1,", "it must have (2,")),
        (
            {"sweep__base": ["riql"]},
            Says("checkpoints/offline-0/2", "another environment, agent", "must have"),
        ),
        ({"online__capacity": 3}, Says("online-0/2", "(1, 7", "must have (1, 3")),
        (
            {"sweep__base": ["iql", "rqil"]},
            Says("sweep.base is", "'rqil'", "did you mean 'riql'?"),
        ),
        ({"agent__iql__hidden_dims": 16}, Says("agent.iql.hidden_dims", "16", "tuple")),
        ({"perturbation__bound": "0.3"}, Says("perturbation.bound", "'0.3'", "number")),
        (
            {"perturbation": None},
            Says("config.json", "'perturbation.", "of this version"),
        ),
        ({"sweep": None}, Says("config.json", "missing", "of this version")),
    ],
)
def test_a_config_that_the_policies_were_not_trained_by(out, edit, expected):
    """An edited config.json, or one of other code."""
    change(out, **edit)
    assert_says(loading(out), expected)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", "cannot be read"),
        (b'{"env": ', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1, 2]", "holds [1, 2]"),
        (b"{}", "missing"),
    ],
)
def test_a_config_that_is_none(out, content, value):
    (out / "config.json").write_bytes(content)
    assert_says(loading(out), Says(f"{out}/config.json", value, ""))


def test_an_environment_of_other_widths(out, monkeypatch):
    """As if env were edited in the config."""
    env = diagnostic.target_reward()
    wide = env._replace(spec=env.spec._replace(observation_dim=9))
    monkeypatch.setattr(study_inputs, "make_env", lambda config: wide)
    assert_says(loading(out), Says("offline-0/2", "1", "it must have"))


@pytest.mark.parametrize("name", ["online-7", "offline-x", "backup", "offline"])
def test_a_folder_among_the_groups(out, name):
    """It is of no run of the study."""
    place = out / "checkpoints" / name
    shutil.copytree(out / "checkpoints" / "offline-0", place)
    says = Says("--checkpoint has", str(place), "those are offline-0, online-0")
    assert_says(loading(out), says)


def test_what_the_policies_started_from_is_gone(out):
    """Attacks are made on it."""
    shutil.rmtree(out / "checkpoints" / "offline-0")
    says = Says("offline-0 has no checkpoint", "online-0", "must be there")
    assert_says(loading(out), says)


def test_a_file_where_a_checkpoint_should_be(out):
    (out / "checkpoints" / "offline-0" / "7").write_text("")
    assert_says(loading(out), Says("offline-0/7", "is no folder", "must be a"))


# Going on with a study


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("expansion.kappa", 0.2, "expansion.kappa was 0.1 and is 0.2"),
        ("sweep.seed", (0, 1), "sweep.seed was [0] and is [0, 1]"),
        ("env", "Hopper-v5", "env was 'Hopper-v4' and is 'Hopper-v5'"),
        ("agent.iql.beta", 1.0, "agent.iql.beta was 3.0 and is 1.0"),
    ],
)
def test_going_on_with_another_config(out, key, value, said):
    config = folders.read(out)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError) as error:
        folders.prepare(out, config, resume=True)
    says = Says(f"--resume needs the config that {out} was made with", said, "")
    assert_says(error.value, says)


def test_going_on_with_a_damaged_config(out):
    config = folders.read(out)
    (out / "config.json").write_text('{"env":')
    with pytest.raises(ConfigError) as error:
        folders.prepare(out, config, resume=True)
    assert_says(error.value, Says(f"{out}/config.json", "cannot be read", "be JSON"))


def test_a_place_that_cannot_be_written(out, monkeypatch):
    """Who runs the tests may be allowed everything, so that it is pretended."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in (folders.check_out, folders.check_out_file):
        with pytest.raises(ConfigError) as error:
            check("--out", out / "new")
        assert_says(error.value, Says("--out is", f"{out}/new", "can be written"))
    new = out / "new"
    with pytest.raises(ConfigError, match="can be written"), folders.locked(new):
        pass
    assert not new.exists()


def test_attacked_rows_that_are_damaged(out, monkeypatch):
    """They are kept from an earlier start of the study."""
    path = out / "attacks" / "rows.npz"
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 half")
    monkeypatch.setattr(data_attacks, "scales", lambda runs, phase: {"action": 1.0})
    with pytest.raises(ConfigError) as error:
        data_attacks.with_attacks(OfflineData(None, None), out, [], attacker=object())
    assert_says(error.value, Says(str(path), "cannot be read", "remove it to have"))


# What programs say of such a folder

PROGRAMS = {
    "experiments.status": "{out}",
    "experiments.report": "{out}",
    "experiments.evaluate": "--checkpoint={out}",
    "experiments.attack": "--checkpoint={out}",
    "experiments.measure": "--checkpoint={out}",
    "benchmarks.attack_bound": "--checkpoints={out}",
    "benchmarks.attack_cost": "--checkpoints={out}",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_and_a_damaged_config(out, program, capfd):
    (out / "config.json").write_text('{"env":')
    text = error_of(program, [PROGRAMS[program].format(out=out)], capfd)
    assert_says(text, Says(f"{out}/config.json", "cannot be read", "must be JSON"))


@pytest.mark.parametrize("program", ["experiments.attack", "benchmarks.attack_cost"])
def test_programs_and_a_damaged_checkpoint(out, program, capfd):
    shutil.rmtree(out / "checkpoints" / "offline-0" / "2" / "default")
    text = error_of(program, [PROGRAMS[program].format(out=out)], capfd)
    assert_says(text, Says("offline-0/2 cannot be read", "damaged", "train again"))


@pytest.mark.parametrize("program", ["experiments.status", "experiments.report"])
@pytest.mark.parametrize(
    ("line", "value"),
    [(b"{'group': 1}", "line 1"), (b"[1]", "line 1"), (b"\xff", "cannot be read")],
)
def test_programs_and_rows_that_are_none(out, program, line, value, capfd):
    (out / "chunks.jsonl").write_bytes(line + b"\n")
    text = error_of(program, [str(out)], capfd)
    assert_says(text, Says(f"{out}/chunks.jsonl", value, "JSON"))


def test_programs_and_a_collection(tmp_path, capfd):
    """It has neither a grid nor a data set."""
    text = json.dumps(collect.get_config().to_dict())
    (tmp_path / "config.json").write_text(text)
    for program in ("experiments.status", "experiments.report"):
        text = error_of(program, [str(tmp_path)], capfd)
        assert_says(text, Says(str(tmp_path), "", "sweep"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run=2"], Says("--run is", "2", "there are 2, from 0")),
        (["--video={out}/a.mp4"], Says("--video needs", "target_reward", "Hopper-v4")),
        (
            ["--conditions=adversarial"],
            Says("policy-0-bound-0.3-evaluation.json", "cannot be read", "attack set"),
        ),
        (
            ["--conditions=adversarial", "--attack_set={out}/config.json"],
            Says("{out}/config.json has no field", "'bound'", "an attack set has"),
        ),
        (
            ["--conditions=adversarial", "--attack_set={out}/none.json"],
            Says("{out}/none.json", "cannot be read", "give an attack set's file"),
        ),
    ],
)
def test_an_evaluation_that_cannot_be(
    finished, out, arguments, expected, capfd, monkeypatch
):
    monkeypatch.setattr(policies, "load", lambda place: finished[1])
    arguments = [f"--checkpoint={out}", *(x.format(out=out) for x in arguments)]
    text = error_of("experiments.evaluate", arguments, capfd)
    assert_says(text, Says(*(x.format(out=out) for x in expected)))


def test_data_that_are_gone(finished, out, capfd, monkeypatch):
    """Where a sweep's states are drawn from."""
    monkeypatch.setattr(policies, "load", lambda place: finished[1])
    text = error_of("experiments.measure", [f"--checkpoint={out}"], capfd)
    assert_says(text, Says("data.npz", "does not exist", "give the path of a file"))
