import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from gradstab.nn._block_convolution import block_convolve, block_deconvolve
from tests.helpers import check_grads, random_matrix


def frame_of(channels, rank, seed=0):
    return linalg.polar(random_matrix(seed, (channels, rank), jnp.float64))


def naive(frame, kernel, axis, is_late):
    """The sum over pairs of positions that defines a convolution."""
    projection = np.asarray(frame @ frame.T)
    taps = [projection, np.eye(len(projection)) - projection]
    shape = list(kernel.shape)
    shape[axis] += 1
    made = np.zeros(shape)
    for place in itertools.product(*map(range, kernel.shape[:-2])):
        for step, tap in enumerate(reversed(taps) if is_late else taps):
            target = list(place)
            target[axis] += step
            made[tuple(target)] += tap @ np.asarray(kernel[place])
    return made


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("is_late", [False, True])
def test_it_is_the_convolution_with_two_projections(axis, is_late):
    with jax.enable_x64(True):
        frame, kernel = frame_of(4, 2), random_matrix(1, (2, 3, 4, 3), jnp.float64)
        found = block_convolve(frame, kernel, axis, is_late=is_late)
        np.testing.assert_allclose(
            found, naive(frame, kernel, axis, is_late), atol=1e-14
        )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 5])
def test_what_was_put_before_a_kernel_is_taken_away_again(axis, is_late, channels):
    with jax.enable_x64(True):
        frame = frame_of(channels, channels // 2)
        kernel = random_matrix(1, (2, 3, channels, 3), jnp.float64)
        longer = block_convolve(frame, kernel, axis, is_late=is_late)
        found, shorter = block_deconvolve(longer, axis, channels // 2, is_late=is_late)
        np.testing.assert_allclose(shorter, kernel, atol=1e-13)
        np.testing.assert_allclose(found @ found.T, frame @ frame.T, atol=1e-13)


def test_small_parts_at_the_ends_lose_no_digits():
    with jax.enable_x64(True):
        frame, kernel = frame_of(6, 3), random_matrix(1, (3, 6, 6), jnp.float64)
        kernel = kernel.at[0].multiply(1e-7).at[2].multiply(1e-9)
        longer = block_convolve(frame, kernel, 0, is_late=False)
        found, shorter = block_deconvolve(longer, 0, 3, is_late=False)
        again = block_convolve(found, shorter, 0, is_late=False)
        np.testing.assert_allclose(again, longer, atol=1e-14)


def test_what_is_not_finite_stays_so():
    kernel = jnp.ones((3, 4, 4)).at[1, 0, 0].set(jnp.nan)
    _, shorter = block_deconvolve(kernel, 0, 2, is_late=False)
    assert not np.all(np.isfinite(shorter))


def test_gradients_agree_with_central_differences():
    with jax.enable_x64(True):
        arguments = frame_of(4, 2), random_matrix(1, (2, 4, 3), jnp.float64)

        def convolved(frame, kernel):
            return block_convolve(frame, kernel, 0, is_late=True)

        check_grads(convolved, arguments, order=2, modes=["rev"])
