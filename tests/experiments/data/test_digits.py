import numpy as np

from experiments.data import load_digits


def rows(part):
    return {image.tobytes() for image in part}


def test_splits_every_image_into_one_part():
    split = load_digits(0)
    assert split.train_inputs.shape == (1437, 64, 1)
    assert split.test_inputs.shape == (360, 64, 1)
    assert split.train_inputs.dtype == np.float32
    images = np.concatenate([split.train_inputs, split.test_inputs])
    assert images.min() == -1
    assert images.max() == 1
    # No two of the images are equal, so that a shared one would be found.
    assert len(rows(images)) == 1797
    assert not rows(split.train_inputs) & rows(split.test_inputs)
    digits = np.concatenate([split.train_targets, split.test_targets])
    assert set(digits) == set(range(10))


def test_pixels_keep_their_digit():
    from sklearn import datasets

    images, digits = datasets.load_digits(return_X_y=True)
    known = {
        (image / 8 - 1).astype(np.float32).tobytes(): digit
        for image, digit in zip(images, digits, strict=True)
    }
    split = load_digits(5)
    for image, digit in zip(split.test_inputs, split.test_targets, strict=True):
        assert known[image.tobytes()] == digit


def test_the_split_is_that_of_its_seed():
    np.testing.assert_array_equal(load_digits(3)[2], load_digits(3)[2])
    assert rows(load_digits(3).test_inputs) != rows(load_digits(4).test_inputs)
