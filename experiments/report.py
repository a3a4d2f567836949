"""Turns a results folder, finished or running, into `report.html` and `report.md`.

    python -m experiments.report runs/quickstart

The page is one file: figures are in it, and nothing is loaded. The same figures lie in
`figures/` as PNG and PDF.
"""

from pathlib import Path

from experiments import folders
from experiments.command_line import run, the_folder
from experiments.reports import adversarial, comparison
from experiments.reports.document import Table, to_html, to_markdown
from experiments.settings import ConfigError
from rpex_jax import results


def main(argv: list[str]) -> None:
    print(write(the_folder(argv)))


def write(folder: Path) -> str:
    """Writes `report.html`, `report.md` and figures; returns the tables and the path.

    A study of adversarial fine-tuning, or a folder of them, has a report of its own.

    Raises:
      ConfigError: there are no results.
    """
    saved = folder / "config.json"
    config = folders.read_json(saved) if saved.exists() else {}
    if not config or config.get("study"):
        return adversarial.write(folder)
    if "sweep" not in config:
        raise ConfigError(f"{folder} is no sweep's folder; it must be one to report")
    blocks, further = comparison.blocks(folder, config)
    results.write_atomically(folder / "report.md", to_markdown(blocks, folder))
    title = f"{config['env']}: {', '.join(config['sweep']['method'])}"
    page = to_html(title, [*blocks, *further])
    results.write_atomically(folder / "report.html", page)
    tables = [block for block in blocks if isinstance(block, Table)]
    text = to_markdown(tables, folder) if tables else "no evaluation online yet\n"
    return f"{text}\nreport: {folder / 'report.html'}"


if __name__ == "__main__":
    run(main)
