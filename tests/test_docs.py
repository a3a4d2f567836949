"""The snippets of the documentation run as they stand, in order, page by page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/extending.md"]


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page):
    text = (ROOT / page).read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    namespace: dict = {}
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), namespace)
