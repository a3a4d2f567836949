"""A signal ends a sweep after the chunk in flight, not in it."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a job scheduler at its limit


class Interrupted(Exception):
    """A sweep has stopped at a whole chunk because a signal asked for it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as shells have it


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Gives `check()`, which raises `Interrupted` if a signal has come since.

    The second signal ends the program at once, as without this. Outside of the main
    thread, where Python has no signals, nothing changes.
    """
    came: list[int] = []

    def note(number, frame):
        if came:
            raise KeyboardInterrupt
        came.append(number)
        print(
            f"\n{signal.Signals(number).name}: the chunk in flight is finished and "
            "saved first; once more to stop at once",
            file=sys.stderr,
        )

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
