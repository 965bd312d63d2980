"""Measurements that several tests share."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import test_util

import gradstab as gs

RATIO_LIMIT = 30.0  # LAPACK's own threshold for an orthogonality residual


def orthogonality_ratio(q):
    """Returns ||QᴴQ - I||_1 / (rows eps), or of Qᴴ when Q is wide, in float64."""
    wide = np.asarray(q, np.complex128)
    wide = wide if wide.shape[0] >= wide.shape[1] else wide.conj().T
    if 0 in wide.shape:
        return 0.0
    defect = wide.conj().T @ wide - np.eye(wide.shape[1])
    columns = np.sum(np.abs(defect), axis=0)
    return float(np.max(columns) / (wide.shape[0] * jnp.finfo(q.dtype).eps))


def random_matrix(seed, shape, dtype):
    """Draws a standard normal matrix, complex with complex dtypes."""
    # NumPy, because JAX would compile its generator anew for every shape.
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *shape))
    is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
    draw = (real + 1j * imaginary) / 2**0.5 if is_complex else real
    return jnp.asarray(draw, dtype)


def check_grads(function, args, order, **options):
    """Holds derivatives to central differences, on JAX arrays throughout."""

    # JAX's own would hand NumPy arrays to the function, which type checking refuses.
    def on_arrays(*args):
        return function(*jax.tree.map(jnp.asarray, args))

    test_util.check_grads(on_arrays, args, order, **options)


def check_sequence_gradient(cell, inputs, *, atol):
    """Holds the gradient of a sequence to that of stock `nnx.RNN`."""

    @jax.jit
    def slope(rnn, inputs):
        return jax.grad(lambda rnn, x: jnp.sum(rnn(x) ** 3), (0, 1))(rnn, inputs)

    ours, in_ours = slope(gs.nn.RNN(cell), inputs)
    stock, in_stock = slope(nnx.RNN(cell, rngs=False), inputs)
    pairs = zip(*map(jax.tree.leaves, (ours, stock)), strict=True)
    for one, other in [*pairs, (in_ours, in_stock)]:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol)


def primitives_in_scan(jaxpr, inside=False):
    """Yields the name of every primitive that runs once per scan step."""
    for eqn in jaxpr.eqns:
        if inside:
            yield eqn.primitive.name
        for sub in _sub_jaxprs(eqn):
            yield from primitives_in_scan(sub, inside or eqn.primitive.name == "scan")


def _sub_jaxprs(eqn):
    leaves = jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "jaxpr"))
    candidates = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]
    return [c for c in candidates if hasattr(c, "eqns")]


@contextlib.contextmanager
def nothing_compiled(caplog):
    """Fails if JAX compiles anything within."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        yield
        assert caplog.text == ""
        jax.jit(lambda x: x + 1)(0)
        assert "compilation" in caplog.text  # as it would have been
