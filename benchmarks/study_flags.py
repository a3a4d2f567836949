"""What benchmarks that run studies are told: how much, where, on which data."""

from absl import flags

PRESET = flags.DEFINE_enum(
    "preset", "small", ["paper", "small", "smoke"], "How much to spend."
)
TASKS = flags.DEFINE_list("tasks", [], "Environments; by default the benchmark's own.")
DATA = flags.DEFINE_list(
    "data", [], "A data set for each task; by default one that collect makes."
)
