"""Libraries that only this floor needs, imported where they are used."""

from importlib import import_module
from typing import Any


def extra(name: str) -> Any:
    """Imports a module of the extra `dynamics`.

    Args:
        name: the module, such as "diffrax" or "matplotlib.figure".

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: naming the extra, if it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"This needs {name.partition('.')[0]}, of the extra `dynamics`: "
            'pip install ".[dynamics]"'
        ) from error
