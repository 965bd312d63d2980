"""Signals that ask a run to stop: it ends its step, saves, and exits."""

import signal
from collections.abc import Generator
from contextlib import contextmanager

# Handlers belong to the process, and so does what they were told.
_requests: list[int] = []
# What a second signal does, though the process may have been started with the first of
# these ignored, as shells start what runs in the background.
_AT_ONCE = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class InterruptedRunError(Exception):
    """A run was asked to stop, and its state is saved."""


@contextmanager
def interruptible() -> Generator[None]:
    """Turns the first SIGTERM or SIGINT into a request; a second one ends at once.

    Yields:
        Nothing: `is_interrupted` tells whether there is a request.
    """
    before = {number: signal.getsignal(number) for number in _AT_ONCE}

    def request(number: int, frame: object) -> None:
        _requests.append(number)
        for other, handler in _AT_ONCE.items():
            signal.signal(other, handler)

    for number in before:
        signal.signal(number, request)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requests.clear()


def is_interrupted() -> bool:
    """Tells whether a signal has come since `interruptible` was entered."""
    return bool(_requests)
