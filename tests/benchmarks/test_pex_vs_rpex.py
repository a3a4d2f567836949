"""Table 1: the paper's numbers, ours from rows on disk, and what a study will take."""

import json

import numpy as np

from benchmarks import pex_vs_rpex
from experiments import study_cost
from rpex_jax import results
from rpex_jax.types import Spec

ELEMENTS = ["observation", "action", "reward", "dynamics"]


def test_the_papers_numbers_average_as_the_paper_says():
    """Its row of averages: offline 44.5 and 58.4, online the rest."""
    numbers = [row for task in pex_vs_rpex.PAPER.values() for row in task.values()]
    means = np.mean(numbers, axis=0)
    expected = [44.5, 50.3, 53.5, 59.1, 58.4, 54.9, 66.6, 75.16]
    np.testing.assert_allclose(means, expected, atol=0.06)


def write_study(folder, config):
    """Scores that are known: base and method as an offset, seeds apart by 2."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    low, high = -20.272305, 3234.3

    def returns(score):
        return [low + score / 100 * (high - low)] * 2

    offsets = {"direct": 0.0, "pex": 10.0, "rpex": 20.0, "rpex-released": 5.0}
    rows = []
    for number, base in enumerate(("iql", "riql")):
        place = {"base": base, "corruption": "reward", "pretraining": number}
        for seed in (0, 1):
            run = place | {"seed": seed, "pretraining": 2 * number + seed}
            rows.append(
                run | {"phase": "offline", "step": 2, "returns": returns(30.0 + number)}
            )
            for method, offset in offsets.items():
                for step in (1, 2, 3, 4):
                    # the first evaluation is not among the last three
                    score = 99.0 if step == 1 else 40.0 + offset + 2 * seed
                    rows.append(
                        run
                        | {"phase": "online", "method": method, "step": step}
                        | {"returns": returns(score)}
                    )
    results.append_rows(folder / "chunks.jsonl", rows)


def test_ours_beside_the_papers(tmp_path):
    """Mean of the last three evaluations and its error over seeds, column by column."""
    (config,) = pex_vs_rpex.make_configs("smoke", ["Hopper-v4"], ["reward"], [])
    write_study(tmp_path / "Hopper-v4", config)
    text = pex_vs_rpex.report_of(tmp_path)
    ours = "| Hopper-v4 | reward | 30.0 -> 41.0 ± 1.0 | 30.0 -> 51.0 ± 1.0 "
    ours += "| 30.0 -> 61.0 ± 1.0 | 30.0 -> 46.0 ± 1.0 | 31.0 -> 41.0 ± 1.0 |"
    assert ours in text
    # the paper's RPEX is what its code ran
    paper = "|  | paper | 55.2 -> 97.8 | 55.2 -> 99.8 | - | 55.2 -> 102.6 "
    paper += "| 72.9 -> 68.3 | 72.9 -> 90.1 | - | 72.9 -> 100.6 |"
    assert paper in text
    line, released = text.strip().splitlines()[-2:]
    assert released.startswith("riql: rpex-released is above pex in 0 of 1 rows; a run")
    assert "probability 0.00 [0.00, 0.00]" in released
    assert line.startswith("riql: rpex is above pex in 1 of 1 rows; a run of it is")
    # every seed of one above every seed of the other; two seeds, 60 and 62, 50 and 52
    assert "probability 1.00 [1.00, 1.00]" in line
    assert "61.00 [60.00, 62.00] and 51.00 [50.00, 52.00]" in line


def test_a_row_with_more_runs_weighs_no_more():
    """Interquartile means are of the first runs of each row; the claim is of all."""
    cells = {
        ("Hopper-v4", element, "iql", method): pex_vs_rpex.Cell(scores, scores)
        for element, method, scores in (
            ("reward", "pex", [1.0, 2.0, 70.0, 90.0]),
            ("reward", "rpex", [3.0, 4.0, 5.0]),
            ("action", "pex", [1.0, 2.0]),
            ("action", "rpex", [3.0, 4.0]),
        )
    }
    line = pex_vs_rpex.verdicts(cells)
    assert "probability 0.75" in line  # half of the pairs, and all
    assert "means of 2 runs a row 3.50" in line and "and 1.50" in line


def test_the_work_of_the_whole_protocol():
    """2 M updates, 1 M steps, 5 seeds, 4 elements, 2 bases, 4 methods, UTD 4 for 1."""
    (config,) = pex_vs_rpex.make_configs("paper", ["HalfCheetah-v4"], ELEMENTS, [])
    spec = Spec(observation_dim=17, action_dim=6)
    offline = study_cost.offline_work(config, spec)
    assert sum(work.updates for work in offline) == 2 * 4 * 5 * 2_000_000
    online = study_cost.online_work(config, spec)
    learning = 1_000_000 - 5_000
    assert sum(work.updates for work in online) == 2 * 4 * 5 * learning * (3 + 4)
    assert sum(len(work.members) for work in online) == 2 * 4 * 4 * 5
    # A set asks the critics about two actions more than its base does.
    by_method = {
        (run.labels["base"], run.labels["method"]): work.flops
        for work in online
        for run in work.members
    }
    assert by_method["iql", "rpex"] > by_method["iql", "direct"]
    assert by_method["riql", "direct"] > by_method["iql", "direct"]
