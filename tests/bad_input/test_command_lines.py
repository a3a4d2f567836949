"""Wrong command lines of every program: one line on stderr, exit code 2."""

import errno
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl.testing import flagsaver

from experiments import command_line
from experiments.interruption import Interrupted
from tests.bad_input.programs import error_of
from tests.bad_input.sentence import Says, assert_says

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "experiments" / "configs"
# Two scripts of the benchmarks run in another interpreter, started by a program.
PROGRAMS = [
    f"{folder}.{path.stem}"
    for folder in ("experiments", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "if __name__ ==" in path.read_text() and not path.stem.startswith("peers")
]
WITH_CONFIG = {
    "experiments.sweep": "quickstart.py",
    "experiments.collect": "collect.py",
    "experiments.gridworld": "gridworld.py",
}
OF_POLICIES = ("experiments.evaluate", "experiments.attack", "experiments.measure")
OF_CHECKPOINTS = ("benchmarks.attack_bound", "benchmarks.attack_cost")
OF_FOLDERS = ("experiments.report", "experiments.status", "experiments.export")
OF_PROGRAMS = ("benchmarks.breakdown", "benchmarks.scaling")
OF_STUDIES = ("benchmarks.adversarial_finetuning", "benchmarks.pex_vs_rpex")


@pytest.fixture
def place(tmp_path):
    """A file, an empty folder, and configs that are none."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "nothing.py").write_text("x = 1\n")
    (tmp_path / "none.py").write_text("def get_config():\n  return None\n")
    (tmp_path / "typo.py").write_text("def get_config(:\n  return None\n")
    (tmp_path / "raises.py").write_text("def get_config():\n  return 1 / 0\n")
    (tmp_path / "text.py").write_bytes(b"\xff\xfe\x00")
    return tmp_path


def check(program, arguments, expected, place, capfd):
    """The program ends with the sentence, and has made nothing."""
    before = sorted(place.rglob("*"))
    given = [x.format(configs=CONFIGS, place=place) for x in arguments]
    message = error_of(program, given, capfd)
    assert_says(message, Says(*(x.format(place=place) for x in expected)))
    assert sorted(place.rglob("*")) == before


def test_every_program_is_here():
    """A new program must end in a line too."""
    known = {*WITH_CONFIG, *OF_POLICIES, *OF_CHECKPOINTS, *OF_FOLDERS, *OF_STUDIES}
    known |= {"benchmarks.online_learning", "benchmarks.throughput"}
    known |= {*OF_PROGRAMS}
    assert set(PROGRAMS) == known
    for program in PROGRAMS:
        source = (ROOT / program.replace(".", "/")).with_suffix(".py").read_text()
        assert source.endswith('if __name__ == "__main__":\n    run(main)\n'), program


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_flag(program, place, capfd):
    expected = Says("no flag --chekpoint", "", "did you mean --checkpoint?")
    check(program, ["--chekpoint=3"], expected, place, capfd)


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p not in OF_FOLDERS])
def test_an_argument_that_is_no_flag(program, place, capfd):
    arguments = ["extra"]
    if program in WITH_CONFIG:
        arguments.append(f"--config={CONFIGS / WITH_CONFIG[program]}")
    expected = Says("unknown argument", "'extra'", "--name=value")
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize(
    "program",
    [
        *("experiments.evaluate", "experiments.measure", *OF_FOLDERS, *OF_PROGRAMS),
        *(*OF_STUDIES, "benchmarks.online_learning", "benchmarks.throughput"),
    ],
)
def test_a_config_that_would_be_ignored(program, place, capfd):
    arguments = [f"--config={CONFIGS}/quickstart.py"]
    if program in OF_FOLDERS:
        arguments.append("{place}/folder")
    expected = Says("--config is", "quickstart.py", "must have none")
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("programs", "arguments"),
    [
        (OF_STUDIES, ["--dry_run"]),
        (OF_STUDIES, ["--launcher=ray"]),
        (OF_STUDIES, ["--resources=num_gpus=1"]),
        (OF_STUDIES, ["--sink=wandb"]),
        (OF_STUDIES, ["--unit_size=1"]),
        (OF_CHECKPOINTS, ["--episodes=5"]),
        (["experiments.measure"], ["--episodes=5"]),
        (["experiments.measure"], ["--run=1"]),
        (["experiments.measure"], ["--video={place}/a.mp4"]),
        (OF_FOLDERS, ["--out={place}/a", "{place}/folder"]),
    ],
)
def test_a_flag_that_would_be_ignored(programs, arguments, place, capfd):
    """It came with an import."""
    for program in programs:
        expected = Says(f"{arguments[0].split('=')[0]} is", "", "must have none")
        check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize("program", OF_PROGRAMS)
def test_a_program_that_is_not_timed(program, place, capfd):
    expected = Says("--programs is", "'iqn'", "did you mean 'iql'?")
    check(program, ["--programs=iqn"], expected, place, capfd)


@pytest.mark.parametrize("program", OF_FOLDERS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Says("the arguments are", "[]", "there must be one, a results folder")),
        (["a", "b"], Says("the arguments are", "['a', 'b']", "there must be one")),
        (["{place}/none"], Says("{place}/none", "is no folder", "must be a results")),
        (["{place}/file"], Says("{place}/file", "is no folder", "must be a results")),
        (["{place}/folder"], Says("{place}/folder", "has no config.json", "folder")),
    ],
)
def test_a_folder_of_no_results(program, arguments, expected, place, capfd):
    if arguments == ["{place}/folder"] and program == "experiments.report":
        expected = Says("{place}/folder", "no config.json", "results folder")
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize("program", WITH_CONFIG)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Says("--config", "is not given", "must name a file")),
        (["--config"], Says("--config", "Missing value", "--name=value")),
        (["--config="], Says("--config is", "''", "which is no file")),
        (["--config=no/such.py"], Says("--config is", "no/such.py", "is no file")),
        (["--config={place}/folder"], Says("--config is", "folder", "is no file")),
        (["--config={place}/file"], Says("--config is", "file", "must be Python")),
        (["--config={place}/nothing.py"], Says("--config", "nothing.py", "ConfigDict")),
        (["--config={place}/none.py"], Says("--config", "none.py", "a ConfigDict")),
        (["--config={place}/typo.py"], Says("typo.py", "SyntaxError", "ConfigDict")),
        (
            ["--config={place}/raises.py"],
            Says("raises.py", "ZeroDivisionError: division by zero", "ConfigDict"),
        ),
        (["--config={place}/text.py"], Says("--config is", "text.py", "be Python")),
        (
            ["--config={configs}/attack.py"],
            Says("--config is", "attack.py: the setting '", "missing; it must be"),
        ),
        (["--config.seed=1"], Says("--config.seed", "", "--config must name its file")),
        (["--out"], Says("--out", "Missing value", "must read --name=value")),
    ],
)
def test_a_config_that_is_none(program, arguments, expected, place, capfd):
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--launcher=slrum"], Says("--launcher is", "'slrum'", "local, ray, slurm")),
        (["--unit_size=-1"], Says("--unit_size is", "'-1'", "non-negative integer")),
        (["--unit_size=two"], Says("--unit_size is", "'two'", "non-negative integer")),
        (["--resources=fast"], Says("--resources holds", "'fast'", "key=value")),
        (["--resources=a=1"], Says("--resources is", "{{'a': 1}}", "must be empty")),
        (["--sink=wand"], Says("--sink is", "'wand'", "did you mean 'wandb'?")),
        (
            ["--sink=tensorboard", "--unit_size=1"],
            Says("--sink is", "tensorboard", "use experiments.export"),
        ),
        (["--config.sweep.sed=(0,)"], Says("'sweep.sed'", "", "mean 'sweep.seed'?")),
        (["--config.onlin.rate=0.4"], Says("'onlin.rate'", "", "mean 'online.rate'?")),
        (["--config.xyzzy=1"], Says("'xyzzy'", "", "here there are agent, attack,")),
        (["--config.xyzzy"], Says("'xyzzy'", "", "here there are agent, attack,")),
        (["--config.online.rate=2"], Says("online.rate is", "2.0", "[0, 1]")),
        (["--config.online.rate=nan"], Says("online.rate is", "nan", "[0, 1]")),
        (["--config.online.rate=abc"], Says("online.rate is", "'abc'", "a number")),
        (["--config.online.rate"], Says("--config.online.rate", "", "--name=value")),
        (["--config.online.steps=1.5"], Says("online.steps is", "'1.5'", "an integer")),
        (["--config.online.steps=1e5"], Says("online.steps is", "'1e5'", "an integer")),
        (
            ["--config.online.chunk=99999999999"],
            Says("online.chunk is", "99999999999", "at most 2147483647"),
        ),
        (["--config.online=3"], Says("--config.online is", "'3'", "one at a time")),
        (["--config.sweep.seed=(0,"], Says("sweep.seed is", "'(0,'", "a tuple")),
        (["--config.sweep.seed=a"], Says("sweep.seed", "'a'", "integers")),
        (["--config.sweep.seed=True"], Says("sweep.seed", "True", "integers")),
        (["--config.sweep.method=pexx"], Says("sweep.method", "'pexx'", "'pex'")),
        (["--config.sweep.method=3"], Says("sweep.method is", "3", "allowed are")),
        (["--config.env=Hoper-v4"], Says("env:", "'Hoper-v4'", "Hopper-v4")),
        (["--config.env="], Says("env:", "''", "known are Hopper-v4")),
        (["--config.env=CartPole-v1"], Says("env: CartPole-v1", "Discrete(2)", "Box")),
        (["--config.env=no_module:Foo-v0"], Says("env:", "'no_module:Foo-v0'", "id")),
        (["--config.env=HalfCheetah-v4"], Says("'hopper-medium-replay'", "11", "17")),
        (
            ["--config.sweep.corruption=observation", "--config.online.align=0"],
            Says("--config.online.align is", "0.0", 'observation.settings="()"'),
        ),
        (["--config.engine=mujoko"], Says("engine is", "'mujoko'", "'mujoco'")),
        (
            ["--config.env=Pendulum-v1", "--config.engine=mjx"],
            Says("env: Pendulum-v1", "'mjx'", "'gymnasium' only"),
        ),
        (
            ["--config.data.source=no/such.npz"],
            Says("no/such.npz", "does not exist", "give the path"),
        ),
        (
            ["--config.data.source={place}/file"],
            Says("{place}/file", "is no file", "Minari id"),
        ),
        (
            ["--config.data.source={place}/folder"],
            Says("{place}/folder", "cannot be read", "download it again"),
        ),
        (
            ["--config.data.drop_observation_columns=99"],
            Says("hopper-medium-replay", "column 99", "only 11"),
        ),
        (
            ["--config.sweep.corruption=adversarial-action"],
            Says("attacker is", "empty", "set it to the folder of an EDAC agent"),
        ),
        (
            [
                "--config.sweep.corruption=adversarial-action",
                "--config.attacker={place}/folder",
            ],
            Says("attacker is", "{place}/folder", "the folder of a sweep"),
        ),
        (
            ["--config.perturbation.attack_set={place}/none.json"],
            Says("{place}/none.json", "cannot be read", "an attack set's file"),
        ),
        (["--out={place}/file"], Says("--out is", "{place}/file", "be written")),
        (["--out={place}/file/x"], Says("--out is", "{place}/file/x", "be written")),
        (["--resume=maybe"], Says("--resume is", "'maybe'", "true, false")),
    ],
)
def test_a_sweep(arguments, expected, place, capfd):
    arguments = ["--config={configs}/quickstart.py", "--out={place}/out", *arguments]
    check("experiments.sweep", arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("quickstart.py:small", Says("quickstart.py:small", "1 was given", "Config")),
        ("collect.py", Says("collect.py: the setting", "'agent.awac", "be there")),
        ("rpex/table1.py:smal", Says("the preset is", "'smal'", "mean 'small'?")),
        ("rpex/table1.py:small,Ant-v4", Says("environment", "'Ant-v4'", "Walker2d")),
        ("adversarial/table1.py:smal", Says("the preset is", "'smal'", "'small'?")),
        (
            "adversarial/table1.py:small,Hoper-v4",
            Says("environment", "'Hoper'", "did you mean 'Hopper'?"),
        ),
    ],
)
def test_a_sweep_of_a_config_that_does_not_fit(config, expected, place, capfd):
    check("experiments.sweep", ["--config={configs}/" + config], expected, place, capfd)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config.kind=('random',)"], Says("'kind'", "", "did you mean 'kinds'?")),
        (["--config.kinds=randon"], Says("kinds is", "'randon'", "'random'")),
        (["--config.env=Hoper-v4"], Says("env:", "'Hoper-v4'", "Hopper-v4")),
        (["--config.rows=0"], Says("rows is", "0", "[1, inf]")),
        (["--config.medium.score=high"], Says("medium.score is", "'high'", "number")),
        (["--config.dataset_id=a b"], Says("a b", "no Minari id", "name-v0")),
        (["--builtin={place}/no/a.npz"], Says("--builtin", "{place}/no/a.npz", "file")),
        (["--builtin={place}/folder"], Says("--builtin", "{place}/folder", "a file")),
        (["--out={place}/file"], Says("--out is", "{place}/file", "be written")),
        (["--overwrite=3"], Says("--overwrite is", "'3'", "true, false")),
    ],
)
def test_a_collection(arguments, expected, place, capfd, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place / "minari"))
    arguments = ["--config={configs}/collect.py", "--out={place}/out", *arguments]
    check("experiments.collect", arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config.grid=maze"], Says("grid is", "'maze'", "open, wall")),
        (["--config.seeds=a"], Says("seeds is", "('a',)", "integers of 0 or more")),
        (["--config.agent.hidden_dims=()"], Says("agent.hidden_dims", "()", "integer")),
        (["--config.updates=0"], Says("updates is", "0", "[1, inf]")),
        (["--out={place}/file"], Says("--out is", "{place}/file", "be written")),
    ],
)
def test_a_grid_world(arguments, expected, place, capfd):
    arguments = ["--config={configs}/gridworld.py", *arguments]
    check("experiments.gridworld", arguments, expected, place, capfd)


@pytest.mark.parametrize("program", OF_POLICIES)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Says("--checkpoint", "empty", "must name the policies' folder")),
        (["--checkpoint="], Says("--checkpoint", "empty", "must name")),
        (["--checkpoint=/no/such"], Says("--checkpoint", "/no/such", "folder of a")),
        (["--checkpoint={place}/file"], Says("--checkpoint", "{place}/file", "folder")),
        (["--checkpoint={place}/folder"], Says("--checkpoint", "/folder", "folder of")),
        (["--checkpoint=/"], Says("--checkpoint is", "/", "the folder of a sweep")),
        (["--episodes=0"], Says("--episodes is", "'0'", "a positive integer")),
        (["--episodes=ten"], Says("--episodes is", "'ten'", "a positive integer")),
        (["--run=-1"], Says("--run is", "'-1'", "a non-negative integer")),
    ],
)
def test_no_policies(program, arguments, expected, place, capfd):
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        ("evaluate", ["--conditions="], Says("--conditions is", "''", "normal, rand")),
        ("evaluate", ["--conditions=windy"], Says("--conditions", "'windy'", "pgd")),
        (
            "evaluate",
            ["--conditions=pgd,pgd"],
            Says("--conditions is", "['pgd', 'pgd']", "each may come once"),
        ),
        ("evaluate", ["--bound=wide"], Says("--bound is", "'wide'", "a number")),
        ("evaluate", ["--bound=nan"], Says("--bound is", "nan", "(0, 1]")),
        ("evaluate", ["--bound=0"], Says("--bound is", "0.0", "(0, 1]")),
        ("evaluate", ["--bound=1.5"], Says("--bound is", "1.5", "(0, 1]")),
        ("evaluate", ["--out=/no/a.json"], Says("--out is", "/no/a.json", "a folder")),
        ("evaluate", ["--out={place}"], Says("--out is", "{place}", "be a file")),
        ("attack", ["--out=/no/a.json"], Says("--out is", "/no/a.json", "a folder")),
        ("attack", ["--config.bound=0.2"], Says("--config.bound", "", "--config must")),
        (
            "attack",
            ["--config={configs}/quickstart.py"],
            Says("quickstart.py: the setting", "'bound'", "must be there"),
        ),
        (
            "attack",
            ["--config={configs}/attack.py", "--config.bound=0"],
            Says("bound is", "0.0", "(0, 1]"),
        ),
        ("measure", ["--samples=1"], Says("--samples is", "'1'", "integer >= 2")),
    ],
)
def test_policies_that_are_not_to_be_looked_at_so(
    program, arguments, expected, place, capfd
):
    """Found before the checkpoint is read."""
    arguments = ["--checkpoint=/no/such", *arguments]
    check(f"experiments.{program}", arguments, expected, place, capfd)


@pytest.mark.parametrize("program", OF_CHECKPOINTS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Says("--checkpoints", "empty", "must name folders of policies")),
        (["--checkpoints=/no"], Says("--checkpoints is", "/no", "folder of a sweep")),
        (
            ["--checkpoints=/no", "--out={place}/file/x"],
            Says("--out is", "{place}/file", "be written"),
        ),
        (
            ["--checkpoints=/no", "--config={configs}/collect.py"],
            Says("collect.py: the setting", "'bound'", "must be there"),
        ),
        (
            [
                "--checkpoints=/no",
                "--config={configs}/attack.py",
                "--config.searches=0",
            ],
            Says("searches is", "0", "[1, inf]"),
        ),
    ],
)
def test_attacks_that_are_measured(program, arguments, expected, place, capfd):
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize("program", OF_STUDIES)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset=smal"], Says("--preset is", "'smal'", "medium, small, smoke")),
        (["--tasks=Hoper-v4"], Says("environment is", "'Hoper", "Hopper")),
        (["--tasks=Hopper-v4,Hopper-v4"], Says("--tasks is", "'Hopper-v4'", "once")),
        (["--data=a,b", "--tasks=Hopper-v4"], Says("--data", "2", "for 1 --tasks")),
        (
            ["--tasks=Hopper-v4,HalfCheetah-v4", "--data=hopper-medium-replay,no.npz"],
            Says("no.npz", "does not exist", "give the path"),
        ),
        (
            ["--tasks=HalfCheetah-v4", "--data=hopper-medium-replay"],
            Says("'hopper-medium-replay'", "width 11", "HalfCheetah-v4 has 17"),
        ),
        (["--out={place}/file"], Says("--out is", "{place}/file", "be written")),
    ],
)
def test_benchmarks_of_studies(program, arguments, expected, place, capfd):
    check(program, arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        (
            "pex_vs_rpex",
            ["--elements=rewards"],
            Says("--elements", "'rewards'", "'rew"),
        ),
        ("pex_vs_rpex", ["--elements="], Says("sweep.corruption", "empty", "at least")),
        (
            "pex_vs_rpex",
            ["--elements=reward,reward"],
            Says("sweep.corruption is", "('reward', 'reward')", "come once"),
        ),
        ("pex_vs_rpex", ["--tasks=Ant-v4"], Says("environment", "'Ant-v4'", "Hopper")),
        ("online_learning", [], Says("--out", "is not given", "must be a folder")),
        (
            "online_learning",
            ["--out={place}/file"],
            Says("--out is", "{place}/file", "be written"),
        ),
        (
            "online_learning",
            ["--out={place}/out", "--peers=no/python"],
            Says("--peers is", "'no/python'", "make peers"),
        ),
        ("throughput", ["--peers=no/py"], Says("--peers", "'no/py'", "make peers")),
        (
            "throughput",
            ["--out={place}/file/x"],
            Says("--out", "{place}/file", "written"),
        ),
    ],
)
def test_other_benchmarks(program, arguments, expected, place, capfd):
    check(f"benchmarks.{program}", arguments, expected, place, capfd)


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (OSError(errno.ENOSPC, "Disk full"), 2, "error: runs/a: Disk full; {whole}"),
        (OSError(errno.EACCES, "Denied", "b"), 2, "error: b: Denied; {whole}"),
        (ConnectionError("no answer"), 2, "error: runs/a: no answer; {whole}"),
        (Interrupted(signal.SIGINT), 130, "SIGINT: stopped; {resume}"),
        (Interrupted(signal.SIGTERM), 143, "SIGTERM: stopped; {resume}"),
        (KeyboardInterrupt(), 130, "stopped at once; {whole}"),
    ],
)
def test_what_may_end_any_program(raised, code, line, capfd, monkeypatch):
    """A full disk and a signal are no bugs either."""

    def main(argv):
        raise raised

    monkeypatch.setattr(sys, "argv", ["program", "--out=runs/a"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        command_line.run(main)
    assert ended.value.code == code
    resume = "the same command with --resume goes on from the last chunk that was saved"
    expected = line.format(whole="what was saved is whole", resume=resume)
    assert capfd.readouterr().err == expected + "\n"


def test_a_process_ends_so_too():
    """As a user starts it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.sweep"),
            *(f"--config={CONFIGS / 'quickstart.py'}", "--config.onlin.rate=0.4"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch("error: .*'online.rate'.*\n", done.stderr), done.stderr
