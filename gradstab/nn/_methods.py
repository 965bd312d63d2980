"""Which class a method comes from, whatever has been wrapped around it."""

import inspect
from typing import Any


def method_of(kind: type, name: str) -> Any:
    """Returns the function, or the property, that a class defines or inherits.

    Tools such as `nnx.tabulate` put wrappers in the place of methods for a while.
    """
    return inspect.unwrap(getattr(kind, name))


def overrides(kind: type, base: type, *names: str) -> bool:
    """Tells whether a class has one of these methods from elsewhere than `base`."""
    return any(method_of(kind, name) is not method_of(base, name) for name in names)
