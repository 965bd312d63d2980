"""Signals that ask a run to stop: it ends its step, saves, and exits."""

import signal
from collections.abc import Generator
from contextlib import contextmanager

# Handlers belong to the process, and so does what they were told.
_requests: list[int] = []


class InterruptedRunError(Exception):
    """A run was asked to stop, and its state is saved."""


@contextmanager
def interruptible() -> Generator[None]:
    """Turns the first SIGTERM or SIGINT into a request; a second one ends at once.

    Yields:
        Nothing: `is_interrupted` tells whether there is a request.
    """
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: object) -> None:
        _requests.append(number)
        restore()

    for number in before:
        signal.signal(number, request)
    try:
        yield
    finally:
        restore()
        _requests.clear()


def is_interrupted() -> bool:
    """Tells whether a signal has come since `interruptible` was entered."""
    return bool(_requests)
