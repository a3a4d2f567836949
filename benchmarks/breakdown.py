"""Where the time of an update goes on a CPU, beside what the machine can do.

    python -m benchmarks.breakdown --programs=iql,pex --out=benchmarks/results/breakdown

A chunk of one run is traced by JAX's profiler, and each operation put down to the
functions that asked for it, by the compiled program's own table. Its time is the lower
quartile of its executions: what interrupts some of them counts little. Online, updates
have lost their functions, and what is no product in them counts as other.
"""

import collections
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import programs, reports
from benchmarks.timing import best_times
from experiments import study_cost, study_inputs
from experiments.command_line import refuse_arguments, run
from experiments.folders import provenance
from experiments.settings import ConfigError
from rpex_jax import results

NUM_UPDATES = 64  # that are traced
WIDTH = 256  # of the products that are the yardstick, and their batch
COPIED = 2**23  # numbers; more than most caches hold
IN_A_ROW = 8  # products: what is short is seldom interrupted
PRODUCTS = "matrix products"
PARTS = {  # by the functions that ask for them; the first that fits
    "Adam": ("adam_step",),
    "target critics": ("polyak",),
    "random numbers": (
        *("_uniform", "_randint", "_normal", "_gumbel", "_bernoulli"),
        *("_threefry_fold_in", "_threefry_split", "_threefry_random_bits"),
    ),
    "batch: gather, damage, standardise": (
        *("sample_rows", "standardise_batch", "make_buffer.sample"),
    ),
    "losses and quantiles": ("expectile_loss", "ensemble_quantile"),
    "acting": ("make_chunk.act",),
    "environment": ("step",),
    "replay": ("make_buffer.add", "make_chunk.chunk.store"),
}
OTHERS = "activations, their gradients, copies, other"


class Operation(NamedTuple):
    """One of the compiled program."""

    name: str  # in the trace
    is_product: bool
    functions: frozenset[str]  # that asked for it, ours and those that JAX compiles


def main(argv: list[str]) -> None:
    refuse_arguments(argv)
    timed = programs.timed_programs()
    if jax.default_backend() != "cpu":
        raise ConfigError("the device is no CPU; set JAX_PLATFORMS=cpu")
    made_with = provenance("benchmarks.breakdown")
    rows = [measure(program) for program in timed]
    reports.write(made_with, table(rows), rows)


def measure(program: str) -> dict:
    """Milliseconds of an update by part, and what products and memory need at least."""
    own = programs.PROGRAMS[program]
    point = programs.Point(program, runs=1, critics=own.critics, width=WIDTH)
    env = study_inputs.make_env(programs.config_of(point))
    data = study_cost.random_data(env.spec)
    sample = programs.sample_of(point, env, data, NUM_UPDATES)
    state = sample.start()
    agent_state = state.agent
    compiled = jax.jit(sample.chunk).lower(state).compile()
    jax.block_until_ready(compiled(state))  # once to warm up
    found = operations(compiled.as_text())
    seconds = traced_seconds(lambda: compiled(state), {x.name for x in found})
    parts: dict[str, float] = collections.Counter()
    for operation in found:
        parts[part_of(operation)] += 1e3 * seconds.get(operation.name, 0) / NUM_UPDATES
    flops = programs.work_of(point, env).flops
    return {"program": program, "ms": parts, "limits": limits(flops, agent_state)}


def traced_seconds(run: Callable[[], object], names: set[str]) -> dict[str, float]:
    """Seconds of the named operations of a run, without those that they contain.

    What is executed less often than there are updates is no part of one: the loop over
    them, and what precedes it.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        (file,) = Path(folder).rglob("*.xplane.pb")
        trace = jax.profiler.ProfileData.from_file(str(file))
    own: dict[str, list[float]] = collections.defaultdict(list)
    for plane in trace.planes:
        for line in plane.lines:
            events = [
                (event.start_ns, event.end_ns, event.name)
                for event in line.events
                if event.name in names
            ]
            for name, duration in without_inner(events):
                own[name].append(duration / 1e9)
    return {
        name: float(np.quantile(x, 0.25)) * len(x)
        for name, x in own.items()
        if len(x) >= NUM_UPDATES
    }


def without_inner(
    events: list[tuple[float, float, str]],
) -> list[tuple[str, float]]:
    """Durations without the events inside, of (start, end, name) of one thread."""
    durations, open_events = [], []  # of the latter: indices into the former
    ends = []
    for start, end, name in sorted(events, key=lambda e: (e[0], -e[1])):
        while ends and ends[-1] <= start:
            ends.pop()
            open_events.pop()
        if open_events:
            durations[open_events[-1]][1] -= end - start
        open_events.append(len(durations))
        ends.append(end)
        durations.append([name, end - start])
    return [(name, duration) for name, duration in durations]


def operations(program: str) -> list[Operation]:
    """Those of a compiled program, from its text."""
    functions = stack_functions(program)
    found = []
    for line in program.splitlines():
        match = re.match(r"\s+(?:ROOT )?%([\w.\-]+) = ", line)
        if not match:
            continue
        asked = re.search(r'op_name="([^"]*)" stack_frame_id=(\d+)', line)
        text, frame = asked.groups() if asked else ("", "0")
        # reductions of biases' gradients are done by the library of products too
        is_product = match[1].startswith("dot") or (
            '"__ynn_fusion"' in line and not text.endswith("reduce_sum")
        )
        compiled = re.findall(r"jit\((\w+)\)", text)
        found.append(
            Operation(match[1], is_product, functions[int(frame)].union(compiled))
        )
    return found


def stack_functions(program: str) -> dict[int, frozenset[str]]:
    """Qualified names of the functions on the stack of each frame; 0 has none."""
    names = _section(program, "FunctionNames", r'(\d+) "(.*)"')
    locations = _section(program, "FileLocations", r"(\d+) .*function_name_id=(\d+)")
    frames = _section(
        program, "StackFrames", r"(\d+) {file_location_id=(\d+) parent_frame_id=(\d+)"
    )
    name_of, location_of = dict(names), dict(locations)
    found: dict[int, frozenset[str]] = {0: frozenset()}
    for frame, location, parent in frames:  # parents come first; they are one off
        name = name_of[location_of[location]].replace(".<locals>", "")
        found[int(frame)] = found[int(parent) - 1] | {name}
    return found


def _section(program: str, title: str, pattern: str) -> list[tuple[str, ...]]:
    """A numbered table in front of a program."""
    lines = program.partition(f"\n{title}\n")[2].partition("\n\n")[0].splitlines()
    return [re.match(pattern, line).groups() for line in lines]


def part_of(operation: Operation) -> str:
    """What an operation counts as."""
    if operation.is_product:
        return PRODUCTS
    for part, functions in PARTS.items():
        if operation.functions.intersection(functions):
            return part
    return OTHERS


def limits(flops: int, agent_state: object) -> dict[str, float]:
    """Milliseconds that an update's products and its moments need at the best rates.

    Products are held against float32 products of its layers' shape; Adam and the target
    step, which read and write parameters, moments and gradients, against a copy in
    memory, though caches may be faster.
    """
    x = jax.random.normal(jax.random.key(0), (WIDTH, WIDTH)) / WIDTH**0.5
    product = jax.jit(lambda x: jax.lax.fori_loop(0, IN_A_ROW, lambda _, y: x @ y, x))
    numbers = jnp.zeros(COPIED)
    copy = jax.jit(lambda x: x + 1.0)
    product_s, copy_s = best_times([lambda: product(x), lambda: copy(numbers)], 10.0)
    per_flop = product_s / (IN_A_ROW * 2 * WIDTH**3)
    per_byte = copy_s / (2 * numbers.nbytes)
    num_bytes = sum(x.nbytes for x in jax.tree.leaves(agent_state))
    return {
        "products": 1e3 * flops * per_flop,
        "product_gflop_per_s": 1e-9 / per_flop,
        "state": 1e3 * 2 * num_bytes * per_byte,
        "copy_gb_per_s": 1e-9 / per_byte,
    }


def table(rows: list[dict]) -> str:
    """Milliseconds and shares of all parts, and the limits, in Markdown."""
    parts = [PRODUCTS, *PARTS, OTHERS]
    lines = []
    for part in parts:
        cells = [part]
        for row in rows:
            took = row["ms"].get(part, 0.0)
            cells += [f"{took:.2f}", f"{took / sum(row['ms'].values()):.0%}"]
        lines.append(cells)
    header = ["ms an update"]
    for row in rows:
        header += [row["program"], "share"]
    notes = []
    for row in rows:
        found = row["limits"]
        notes.append(
            f"{row['program']}: products need {found['products']:.2f} ms at "
            f"{found['product_gflop_per_s']:.0f} GFLOP/s, that of {WIDTH} x {WIDTH} "
            f"products; reading and writing the state once, {found['state']:.2f} ms at "
            f"{found['copy_gb_per_s']:.0f} GB/s, that of a copy in memory."
        )
    return f"{results.markdown_table(header, lines)}\n\n" + "  \n".join(notes)


if __name__ == "__main__":
    run(main)
