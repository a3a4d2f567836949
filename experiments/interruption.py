"""A signal ends a sweep after the chunk in flight, not in it.

But for units on other machines, or in other processes of this one: nobody tells them.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a job scheduler at its limit
SAVED = "the chunk in flight is finished and saved first"
LOST = "units are stopped, each at the cost of its chunk in flight"


class Interrupted(Exception):
    """A sweep has stopped because a signal asked for it; what is saved goes on."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as shells have it


@contextlib.contextmanager
def deferred(follows: str = SAVED) -> Iterator[Callable[[], None]]:
    """Gives `check()`, which raises `Interrupted` if a signal has come since.

    The second signal ends the program at once, as without this. Outside of the main
    thread, where Python has no signals, nothing changes.

    Args:
      follows: what the user is told that a signal does.
    """
    came: list[int] = []

    def note(number, frame):
        if came:
            raise KeyboardInterrupt
        came.append(number)
        name = signal.Signals(number).name
        print(f"\n{name}: {follows}; once more to stop at once", file=sys.stderr)

    def check() -> None:
        if came:
            raise Interrupted(came[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
