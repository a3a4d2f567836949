"""A tiny study on all devices of this process.

    python -m tests.on_devices DATA OUT ENGINE CHUNKS

ENGINE is one of Hopper's, or "diagnostic": no physics. It stops after so many chunks of
both phases. Fails if a program that trains holds a collective.
"""

import contextlib
import itertools
import re
import sys
from pathlib import Path

from experiments import interruption
from experiments import sweep as program
from rpex_jax import devices, sweep
from tests.experiments.tiny import small_world, tiny_config

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


def stop_after(chunks):
    """In place of signals: `check` ends the process."""
    calls = itertools.count(1)

    def check():
        if next(calls) == chunks:
            sys.exit()

    return lambda: contextlib.nullcontext(check)


def study(data, out, engine):
    """Trains 13 pretrainings and 26 runs of them, or what is left of these."""
    config = tiny_config(data, chunks=2).unlock()
    config.sweep.corruption, config.sweep.seed = ("action",), tuple(range(13))
    world = small_world()
    if engine != "diagnostic":
        config.engine, world = engine, contextlib.nullcontext()
    with world:
        resume = (out / "config.json").exists()
        program.run_study(config.lock(), out, resume=resume)


if __name__ == "__main__":
    data, out, engine, chunks = sys.argv[1:]
    sweep.compile_for = watched
    interruption.deferred = stop_after(int(chunks))
    study(Path(data), Path(out), engine)
