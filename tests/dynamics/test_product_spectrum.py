import numpy as np

from gradstab.dynamics._product_spectrum import eigenvalues_of_product


def test_products_of_hundreds_of_orders_of_magnitude():
    values, count = np.array([1.0, -0.5, 1e-9, -1e-60, 1e-150]), 40
    frames = np.random.default_rng(0).standard_normal((count, 5, 5))
    frames = np.linalg.qr(frames)[0] + 0.1 * frames
    pieces = []
    for k in range(count):
        share = np.abs(values) ** (1 / count) * np.sign(values) ** (k == 0)
        after = frames[(k + 1) % count]
        pieces.append(after @ np.diag(share) @ np.linalg.inv(frames[k]))
    found = eigenvalues_of_product(np.asarray(pieces))
    np.testing.assert_allclose(found, values, rtol=1e-9)
