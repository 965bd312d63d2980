import numpy as np

from experiments.data import load_digits


def rows(part):
    return {image.tobytes() for image in part}


def test_splits_every_image_into_one_part():
    split = load_digits(0)
    shapes = [(len(inputs), *inputs.shape[1:]) for inputs, _ in split]
    assert shapes == [(1077, 64, 1), (360, 64, 1), (360, 64, 1)]
    images = np.concatenate([inputs for inputs, _ in split])
    assert images.dtype == np.float32
    assert images.min() == -1
    assert images.max() == 1
    # No two of the images are equal, so that a shared one would be found.
    assert len(rows(images)) == 1797
    digits = np.concatenate([targets for _, targets in split])
    assert set(digits) == set(range(10))


def test_pixels_keep_their_digit():
    from sklearn import datasets

    images, digits = datasets.load_digits(return_X_y=True)
    known = {
        (image / 8 - 1).astype(np.float32).tobytes(): digit
        for image, digit in zip(images, digits, strict=True)
    }
    split = load_digits(5)
    for image, digit in zip(*split.test, strict=True):
        assert known[image.tobytes()] == digit


def test_the_split_is_that_of_its_seed():
    np.testing.assert_array_equal(load_digits(3).test[0], load_digits(3).test[0])
    assert rows(load_digits(3).test[0]) != rows(load_digits(4).test[0])
