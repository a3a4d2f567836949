"""What a benchmark leaves: its table on the screen, and a JSON and a Markdown file."""

import json
from pathlib import Path

from experiments.command_line import OUT
from rpex_jax import results


def write(made_with: dict[str, str], text: str, rows: object) -> None:
    """Prints a report, and keeps it and its numbers where `--out` says."""
    header = "".join(f"{key}: {value}  \n" for key, value in made_with.items())
    text = f"{header}\n{text}\n"
    print(text)
    if OUT.value:
        out = Path(OUT.value)
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {"made_with": made_with, "rows": rows}
        results.write_atomically(out.with_suffix(".json"), json.dumps(record, indent=1))
        results.write_atomically(out.with_suffix(".md"), text)
