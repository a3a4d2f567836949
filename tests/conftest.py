"""What all tests share.

One compilation cache, so that a second run compiles little; and the table of what was
compared with Gymnasium, once all tests have run.
"""

import os
from pathlib import Path

# Compiling is most of the time of the tests, and with these it takes half of it. Level
# 0 would take a third less again, but there XLA (jaxlib 0.10.2) computes gradients that
# are NaN where level 1 to 3 agree on numbers (tests/test_baselines.py, off2on).
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1"
    " --xla_cpu_use_fusion_emitters=false"
)
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # more have tests of their own

import jax
import pytest

jax.config.update(
    "jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def free_programs():
    """Compiled programs take memory maps, of which Linux gives a process 65 530.

    With those of all modules together XLA ends in a segmentation fault.
    """
    yield
    jax.clear_caches()


def pytest_terminal_summary(terminalreporter):
    reports = [r for rs in terminalreporter.stats.values() for r in rs]
    rows = [
        row
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, row in report.user_properties
        if name == "parity"
    ]
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section("one control step against gymnasium.make(task)")
    write("largest deviation relative to max(1, |x|); terminations that disagree")
    heads = ("engine", "task", "steps", "ended", "observation", "reward", "disagree")
    write("{:8}{:28}{:>7}{:>7}{:>13}{:>9}{:>10}".format(*heads))
    for row in sorted(rows):
        write("{:8}{:28}{:7}{:7}{:13.1e}{:9.1e}{:10}".format(*row))
