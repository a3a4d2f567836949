"""Updates and environment steps per second, beside peers and what the machine can do.

    python -m benchmarks.throughput --out=benchmarks/results/throughput \
      --peers=.venv-peers/bin/python

Sizes follow the backend, and what does not fit in ten minutes is left out and named.
Each rate is the best of several rounds, in turn with what it is held against, because
timings on shared machines are noisy: the ratios are what to quote.
"""

import contextlib
import sys
import time
from pathlib import Path

from benchmarks import peer_process, reports, steps, updates
from experiments.command_line import OUT, refuse_arguments, run
from experiments.folders import check_out, provenance

MINUTES = 10
UPDATE_SECONDS = 16.0  # of rounds, an agent; compiling comes on top
STEP_SECONDS = 5.0  # of rounds, a number of environments
FIRST_SECONDS = {"mujoco": 0.0, "mjx": 90.0}  # compiling and timing one environment


def main(argv: list[str]) -> None:
    refuse_arguments(argv)
    if OUT.value:
        check_out("--out", Path(OUT.value).absolute().parent)
    begin = time.monotonic()
    deadline = begin + 60 * MINUTES
    made_with = provenance("benchmarks.throughput")
    python = peer_process.find_peers(peer_process.PEERS_PYTHON.value)
    walks, skipped = step_rates("mujoco", deadline)
    rates, versions = update_rates(python)
    made_with |= {f"peer {name}": version for name, version in versions.items()}
    compiled, more_skipped = step_rates("mjx", deadline)
    walks, skipped = walks + compiled, skipped + more_skipped
    made_with["minutes"] = f"{(time.monotonic() - begin) / 60:.1f}"
    text = f"{updates.tables(rates)}\n\n{steps.table(walks)}"
    if skipped:
        text += f"\n\nLeft out for want of time: {'; '.join(skipped)}."
    reports.write(made_with, text, {"updates": rates, "steps": walks})


def update_rates(python: str | None) -> tuple[list[dict], dict[str, str]]:
    """Rates of all agents, with the peers if there is a Python; and its versions."""
    rows = []
    with contextlib.ExitStack() as stack:
        peers = None
        if python:
            peers = stack.enter_context(peer_process.running(python, updates.PROBLEM))
        for name in updates.LEARNERS:
            print(f"updates of {name}", file=sys.stderr)
            rows += updates.measure(name, peers, UPDATE_SECONDS)
    return rows, peers.versions if peers else {}


def step_rates(engine: str, deadline: float) -> tuple[list[dict], list[str]]:
    """Rates in growing numbers of environments until `deadline`; what was left out."""
    rows, skipped = [], []
    for count in steps.COUNTS[engine]:
        for name in steps.NAMES:
            before = [row for row in rows if row["env"] == name]
            if time.monotonic() + needs(before, engine, count) > deadline:
                skipped.append(f"{name} with {engine}, {count}")
            else:
                print(f"steps of {count} {name}, {engine}", file=sys.stderr)
                rows.append(steps.measure(name, engine, count, STEP_SECONDS))
    return rows, skipped


def needs(before: list[dict], engine: str, count: int) -> float:
    """Seconds that the next number needs at least, from the rates before it."""
    if not before:
        return FIRST_SECONDS[engine]
    last = before[-1]
    num_steps = count * steps.steps_in_scan(engine, count)
    executions = 3  # one to warm up, and two rounds at least
    return last["compile_s"] + executions * num_steps / last["steps_per_s"]


if __name__ == "__main__":
    run(main)
