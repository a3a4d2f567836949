"""The snippets of the documentation run as they stand, in order, page by page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
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
