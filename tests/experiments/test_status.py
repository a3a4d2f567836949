"""How far a sweep is, from recorded rows."""

import json
import os

from experiments import status
from experiments.configs.default import default_config
from rpex_jax import results

NOW = 1_800_000_000.0
OFFLINE, ONLINE = 4, 5  # chunks


def config():
    """Two pretrainings and two methods of each, which are one program; and `offline`,
    which does not learn."""
    made = default_config()
    made.env = "NoScore-v0"
    made.sweep.update(dict(base=("iql",), method=("offline", "pex", "rpex")))
    made.sweep.update(dict(corruption=("clean", "reward"), seed=(0,)))
    made.offline.update(dict(steps=100 * OFFLINE, chunk=100))
    made.online.update(dict(steps=10 + 20 * ONLINE, warmup=10, chunk=20))
    return made


def rows_of(phase, labels, chunk, returns):
    place = {"group": f"{phase}-0", "phase": phase, "chunk": chunk, "step": 100 * chunk}
    # the first chunk compiles; then a chunk takes 4 seconds
    wall = {"wall/chunk": 90.0 if chunk == 1 else 3.0, "wall/evaluation": 1.0}
    row = labels | place | {"critic/loss": 1.0, "episode/return": None} | wall
    return row | ({"returns": returns} if returns else {})


def record(tmp_path, online_chunks, broken=()):
    rows = []
    for number, corruption in enumerate(("clean", "reward")):
        labels = {"base": "iql", "corruption": corruption, "seed": 0}
        labels |= {"pretraining": number}
        for chunk in range(1, OFFLINE + 1):
            rows.append(rows_of("offline", labels, chunk, [10.0, 20.0]))
        for method in ("pex", "rpex"):
            for chunk in range(1, online_chunks + 1):
                returns = [30.0 + chunk, 40.0 + chunk] if chunk % 2 == 0 else None
                row = rows_of("online", labels | {"method": method}, chunk, returns)
                if (corruption, method) in broken and chunk >= 2:
                    row |= {"critic/loss": None, "failed": "critic/loss is not"}
                rows.append(row)
                if "failed" in row:
                    break
    (tmp_path / "config.json").write_text(json.dumps(config().to_dict()))
    results.append_rows(tmp_path / "chunks.jsonl", rows)
    os.utime(tmp_path / "chunks.jsonl", (NOW - 75, NOW - 75))


def table(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return [line for line in lines if line[0].startswith(("offline-", "online-"))]


def test_a_running_sweep(tmp_path):
    """Four runs of 20 steps in 4 s; 2 chunks of 5 are left. Scores are the last's."""
    record(tmp_path, online_chunks=3)
    text = status.status(tmp_path, NOW)
    assert table(text) == [
        ["offline-0", "iql", "2", "4 of 4", "15.0", "50.0", "0:00:00"],
        ["online-0", "iql pex, rpex", "4", "3 of 5", "37.0", "20.0", "0:00:08"],
    ]
    assert "1 of 2 groups are done; time left 0:00:08; last row written 0:01:15" in text
    assert "failed" not in text


def test_a_sweep_that_has_only_compiled_says_no_rate(tmp_path):
    record(tmp_path, online_chunks=1)
    assert table(status.status(tmp_path, NOW))[1][3:] == ["1 of 5", "", "", "?"]


def test_a_sweep_before_its_first_row(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config().to_dict()))
    text = status.status(tmp_path, NOW)
    assert [line[3] for line in table(text)] == ["0 of 4", "0 of 5"]
    assert "0 of 2 groups are done; time left ?." in text


def test_a_run_that_diverged_is_named_once(tmp_path):
    record(tmp_path, online_chunks=4, broken={("reward", "rpex")})
    lines = status.status(tmp_path, NOW).splitlines()
    assert [line for line in lines if line.startswith("failed")] == [
        "failed: online-0, base iql, method rpex, corruption reward, seed 0: "
        "critic/loss is not"
    ]


def test_a_group_whose_runs_have_all_diverged_is_done(tmp_path):
    every = {(x, method) for x in ("clean", "reward") for method in ("pex", "rpex")}
    record(tmp_path, online_chunks=4, broken=every)
    text = status.status(tmp_path, NOW)
    assert table(text)[1][3] == "5 of 5" and "2 of 2 groups are done" in text
