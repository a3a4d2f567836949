"""What every message to a user must be: one sentence that says what to do."""

import re
from typing import NamedTuple


class Says(NamedTuple):
    """What a message holds."""

    name: str  # the key, flag or file
    value: str  # what it is; empty where something is missing
    allowed: str  # what it may be, or what to do


def assert_says(message: object, expected: Says) -> None:
    """One line, one sentence, with all that is expected in it."""
    text = str(message)
    assert text and text.strip() == text and "\n" not in text, text
    # What a library said stands in brackets, as it said it.
    own = re.sub(r"\(.*\)", "", text)
    assert not re.search(r"[.!?] [A-Z]", own), f"several sentences: {text}"
    assert "Traceback" not in text and len(text) < 1000, text
    for part in expected:
        assert part in text, f"{part!r} is not in {text!r}"
