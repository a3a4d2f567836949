"""A tiny study on all devices of this process: python -m tests.on_devices DATA OUT.

Fails if a program that trains holds a collective.
"""

import re
import sys
from pathlib import Path

import jax

from experiments import report
from experiments import sweep as program
from rpex_jax import devices, sweep
from tests.experiments.tiny import tiny_config

COLLECTIVE = re.compile(r"all-(reduce|gather|to-all)|reduce-scatter|collective-\w+")


def watched(*args, donate_argnums=()):
    """`compile_for`; of what takes its states over, a chunk, it reads XLA's program."""
    jitted = devices.compile_for(*args, donate_argnums=donate_argnums)
    if not donate_argnums:
        return jitted
    compiled = []

    def chunk(*inputs):
        if not compiled:
            compiled.append(jitted.lower(*inputs).compile())
            found = COLLECTIVE.search(compiled[0].as_text())
            assert found is None, found
        return compiled[0](*inputs)

    return chunk


if __name__ == "__main__":
    data, out, engine, *resume = sys.argv[1:]
    sweep.compile_for = watched
    report.write = lambda folder: f"{jax.local_device_count()} devices"
    config = tiny_config(Path(data), chunks=2).unlock()
    config.engine = engine
    config.sweep.corruption, config.sweep.seed = ("action",), tuple(range(13))
    program.run_study(config.lock(), Path(out), resume=bool(resume))
