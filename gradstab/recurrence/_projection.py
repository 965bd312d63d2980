"""Where the inputs of a recurrence meet their weights."""

import jax


def project_ahead() -> bool:
    """Tells whether to project a whole sequence at once, ahead of the loop over time."""
    # One wide product suits an accelerator, where each launch costs. On a CPU it writes
    # and reads back an array as long as the sequence: the loop is faster without.
    return jax.default_backend() != "cpu"
