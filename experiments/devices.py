"""The device that a run asks for."""

from typing import Any

import jax

from experiments.run_directory import SettingsError
from experiments.settings import DeviceKind


def chosen_device(kind: DeviceKind) -> Any:
    """Finds a device of a kind; None leaves the choice to JAX.

    Args:
        kind: which kind, or "any".

    Returns:
        The first of them.

    Raises:
        SettingsError: naming the devices there are, if none is of that kind.
    """
    if kind == "any":
        return None
    try:
        return jax.devices(kind)[0]
    except RuntimeError as error:
        there = ", ".join(map(str, jax.devices()))
        raise SettingsError(
            f"--device {kind}: there is none; JAX finds {there}."
        ) from error
