import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.nn._dft_frame import (
    analyze,
    low_coherence_frequencies,
    place,
    synthesize,
)

SHAPES = [(2, 2), (2, 6), (4, 8), (8, 8), (10, 22), (32, 64)]


def frame(d, n):
    """B by its definition, from the matrix of all roots of unity."""
    rows = np.array(low_coherence_frequencies(n // 2, d // 2))
    powers = rows[:, None] * np.arange(n // 2)[None]
    f = np.exp(-2j * np.pi * powers / (n // 2)) / (n / 2) ** 0.5
    return np.block([[f.real, -f.imag], [f.imag, f.real]])


def kept(d, n):
    return np.isin(np.arange(n // 2), low_coherence_frequencies(n // 2, d // 2))


def energy(members, size):
    return sum(
        (a + b - c - d) % size == 0
        for a, b, c, d in itertools.product(members, repeat=4)
    )


@pytest.mark.parametrize(("d", "n"), SHAPES)
def test_the_definition_has_orthonormal_rows_and_columns_of_one_length(d, n):
    b = frame(d, n)
    np.testing.assert_allclose(b @ b.T, np.eye(d), atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(b, axis=0), (d / n) ** 0.5, atol=1e-14)


@pytest.mark.parametrize(("d", "n"), SHAPES)
def test_products_are_those_of_the_definition(d, n):
    with jax.enable_x64(True):
        mask, b = jnp.asarray(kept(d, n)), frame(d, n)
        x, y = (jax.random.normal(jax.random.key(0), (3, size)) for size in (d, n))
        placed = place(x, mask)
        np.testing.assert_allclose(synthesize(placed), x @ b, atol=1e-13)
        np.testing.assert_allclose(analyze(y, mask), place(y @ b.T, mask), atol=1e-13)
        assert not jnp.any(placed[:, ~mask])


@pytest.mark.parametrize(("size", "count"), [(7, 4), (9, 5), (12, 6)])
def test_each_frequency_adds_least_to_the_energy_of_those_before(size, count):
    chosen = []
    for _ in range(count):
        others = [k for k in range(size) if k not in chosen]
        energies = [energy([*chosen, k], size) for k in others]
        chosen.append(others[int(np.argmin(energies))])
    shift = next(s for s in range(size) if not any((k + s) % size == 0 for k in chosen))
    shifted = sorted((k + shift) % size for k in chosen)
    assert list(low_coherence_frequencies(size, count)) == shifted


@pytest.mark.parametrize("size", [16, 64, 100, 256])
def test_columns_look_hardly_more_alike_than_they_must(size):
    for count in (size // 8, size // 4, size // 2, 3 * size // 4):
        rows = np.array(low_coherence_frequencies(size, count))
        assert len(set(rows)) == count
        shifts = np.arange(1, size)
        sums = np.exp(2j * np.pi * rows[:, None] * shifts[None] / size).sum(axis=0)
        coherence = np.max(np.abs(sums)) / count
        welch = ((size - count) / (count * (size - 1))) ** 0.5
        assert coherence <= 1.9 * welch


@pytest.mark.parametrize(("d", "n"), [(2, 6), (4, 8), (32, 64)])
def test_the_columns_sum_to_zero_where_there_are_more_than_rows(d, n):
    np.testing.assert_allclose(frame(d, n).sum(axis=1), np.zeros(d), atol=1e-13)


def test_all_frequencies_can_be_kept():
    assert low_coherence_frequencies(5, 5) == (0, 1, 2, 3, 4)
