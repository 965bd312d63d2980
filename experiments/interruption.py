"""Signals that ask a run to stop: it ends its step, saves, and exits."""

import signal
from collections.abc import Generator
from contextlib import contextmanager


class InterruptedRunError(Exception):
    """A run was asked to stop, and its state is saved."""


class Interruption:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def interruptible() -> Generator[Interruption]:
    """Turns the first SIGTERM or SIGINT into a request; a second one ends at once.

    Yields:
        The request. Ask it between steps.
    """
    interruption = Interruption()
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: object) -> None:
        interruption.requested = True
        restore()

    for number in before:
        signal.signal(number, request)
    try:
        yield interruption
    finally:
        restore()
