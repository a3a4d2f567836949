"""What a signal does to a sweep, in this process."""

import os
import signal
import threading

import pytest

from experiments import interruption


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_waits_for_the_chunk(number, capsys):
    """It is noted, and told; the check after the chunk raises, with a shell's code."""
    before = signal.getsignal(number)
    with interruption.deferred() as check:
        check()
        os.kill(os.getpid(), number)
        with pytest.raises(interruption.Interrupted) as stopped:
            check()
    assert stopped.value.exit_code == 128 + number
    assert "once more to stop at once" in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), interruption.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_thread_has_no_signals():
    """A study may run in one all the same."""
    raised = []

    def work():
        try:
            with interruption.deferred() as check:
                check()
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not raised
