"""The snippets of the documentation run as they stand, in order, page by page."""

import pkgutil
import re
from pathlib import Path

import pytest

import rpex_jax
from experiments.configs.default import default_config
from experiments.settings import flatten

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "docs/antmaze.md",
    "docs/attacks.md",
    "docs/extending.md",
    "docs/gymnasium.md",
    "docs/reports.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page, tmp_path, monkeypatch):
    """A snippet with a title is the file of that name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (ROOT / page).read_text()
    snippets = re.findall(
        r'```python(?: title="([^"]+)")?\n(.*?)```', text, flags=re.DOTALL
    )
    assert snippets
    namespace: dict = {}
    for title, snippet in snippets:
        if title:
            (tmp_path / title).write_text(snippet)
        else:
            exec(compile(snippet, page, "exec"), namespace)


@pytest.mark.parametrize("page", ["rpex", "pex", "riql"])
def test_functions_that_are_named_exist(page):
    """`agents.iql.actor_step` and the like, below `rpex_jax`, or a setting's key."""
    modules = {module.name for module in pkgutil.iter_modules(rpex_jax.__path__)}
    settings = {key for key, _ in flatten(default_config())}
    text = (ROOT / "docs" / f"{page}.md").read_text()
    names = re.findall(r"`(\w+(?:\.\w+)+)(?:[=(][^`]*)?`", text)
    ours = [name for name in names if name.split(".")[0] in modules]
    assert ours
    for name in ours:
        if name not in settings and not name.endswith(".py"):
            pkgutil.resolve_name(f"rpex_jax.{name}")


@pytest.mark.parametrize(
    "page",
    sorted(
        str(path.relative_to(ROOT))
        for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    ),
)
def test_what_is_named_in_full_exists(page):
    """`rpex_jax.data.scores.REFERENCE_SCORES`, `experiments/units.py` and the like."""
    text = (ROOT / page).read_text()
    folders = "rpex_jax|experiments|benchmarks"
    for name in set(re.findall(rf"\b(?:{folders})(?:\.\w+)+", text)):
        pkgutil.resolve_name(name)
    for name in set(re.findall(rf"\b(?:{folders}|tests)/[\w/]+\.\w+", text)):
        assert (ROOT / name).exists(), name
