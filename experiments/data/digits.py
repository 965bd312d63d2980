"""Handwritten digits of 8×8 pixels, read one pixel a time step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

TEST_IMAGES = 360


class DigitSplit(NamedTuple):
    """Images as sequences of pixels, and their digits."""

    train_inputs: Float[np.ndarray, "train 64 1"]
    train_targets: Int[np.ndarray, " train"]
    test_inputs: Float[np.ndarray, "test 64 1"]
    test_targets: Int[np.ndarray, " test"]


def load_digits(split_seed: int) -> DigitSplit:
    """Loads the digits that come with scikit-learn, and sets 360 of 1797 apart.

    Pixels are read row by row and scaled to [-1, 1]: a background of zeros would leave
    a state at 0, where modReLU has no gradient, until the first stroke.

    Args:
        split_seed: seed of the permutation whose first images are the test set.

    Returns:
        The two parts; they share no image.

    References:
        Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
        Learning Repository, 1998; scikit-learn bundles its test part.
    """
    from sklearn import datasets

    images, digits = datasets.load_digits(return_X_y=True)
    inputs = (images[..., None] / 8 - 1).astype(np.float32)
    order = np.random.default_rng(split_seed).permutation(len(digits))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    targets = digits.astype(np.int32)
    return DigitSplit(inputs[train], targets[train], inputs[test], targets[test])
