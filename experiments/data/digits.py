"""Handwritten digits of 8×8 pixels, read one pixel a time step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SET_APART = 360
Digits = tuple[Float[np.ndarray, "count 64 1"], Int[np.ndarray, " count"]]


class DigitSplits(NamedTuple):
    """Images as sequences of pixels, with their digits, in three parts."""

    train: Digits
    validation: Digits
    test: Digits


def load_digits(split_seed: int = 0) -> DigitSplits:
    """Loads the digits that come with scikit-learn, in three parts.

    Pixels are read row by row and scaled to [-1, 1]: a background of zeros would leave
    a state at 0, where modReLU has no gradient, until the first stroke.

    Args:
        split_seed: seed of the permutation whose first 360 images are the test set and
            whose next 360 the validation set.

    Returns:
        The three parts, of 1,077, 360 and 360 images; they share none.

    References:
        Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
        Learning Repository, 1998; scikit-learn bundles its test part.
    """
    from sklearn import datasets

    images, digits = datasets.load_digits(return_X_y=True)
    inputs = (images[..., None] / 8 - 1).astype(np.float32)
    order = np.random.default_rng(split_seed).permutation(len(digits))
    test, validation, train = np.split(order, [SET_APART, 2 * SET_APART])
    targets = digits.astype(np.int32)
    return DigitSplits(
        *((inputs[part], targets[part]) for part in (train, validation, test))
    )
