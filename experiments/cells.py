"""The recurrent cells that are compared, as settings ask for them."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Initializer

import gradstab as gs
from experiments.settings import TrainingSettings


def rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's tanh cell, its recurrent kernel started with Gaussian numbers over √n."""
    # Flax would start it with an orthogonal kernel, which is half of the cure.
    return tanh(gaussian(settings.hidden), in_features, settings, rngs)


def orthogonal_start(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's tanh cell, its recurrent kernel orthogonal at the start alone."""
    return tanh(nnx.initializers.orthogonal(), in_features, settings, rngs)


def torus_rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's tanh cell, started on closed curves in planes of two units."""
    return tanh(gs.nn.torus_init(), in_features, settings, rngs)


def tanh(
    start: Initializer, in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Makes Flax's tanh cell with a start of its recurrent kernel."""
    return nnx.SimpleCell(
        in_features,
        settings.hidden,
        recurrent_kernel_init=start,
        dtype=settings.dtype,
        rngs=rngs,
    )


def leaky_rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A leaky tanh cell, its recurrent matrix started with Gaussian numbers over √n."""
    return leaky(gaussian(settings.hidden), in_features, settings, rngs)


def limit_cycle(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """The same leaky tanh cell, started on limit cycles in planes of two units."""
    return leaky(gs.nn.limit_cycle_init(), in_features, settings, rngs)


def leaky(
    start: Initializer, in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Makes a leaky tanh cell with a start of its recurrent matrix."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.LimitCycleCell(
        in_features,
        settings.hidden,
        recurrent=gs.nn.Unconstrained(shape, matrix_init=start, rngs=rngs),
        dt=settings.dt,
        dtype=settings.dtype,
        rngs=rngs,
    )


def gru(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's gated recurrent unit."""
    return nnx.GRUCell(in_features, settings.hidden, dtype=settings.dtype, rngs=rngs)


def lstm(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's long short-term memory."""
    return nnx.OptimizedLSTMCell(
        in_features, settings.hidden, dtype=settings.dtype, rngs=rngs
    )


def scornn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """An orthogonal recurrent matrix by the scaled Cayley transform."""
    return gs.nn.OrthogonalCell(
        in_features,
        settings.hidden,
        recurrent=scaled_cayley(settings, rngs),
        activation_fn=gs.nn.modrelu,
        kernel_init=symmetric_uniform(0.01),
        dtype=settings.dtype,
        rngs=rngs,
    )


def exprnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """An orthogonal recurrent matrix by the exponential."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.OrthogonalCell(
        in_features,
        settings.hidden,
        recurrent=gs.nn.Exponential(shape, rngs=rngs),
        activation_fn=gs.nn.modrelu,
        dtype=settings.dtype,
        rngs=rngs,
    )


def orthogonal_candidate(
    kind: type[gs.nn.GRUCell] | type[gs.nn.LSTMCell],
    in_features: int,
    settings: TrainingSettings,
    rngs: nnx.Rngs,
) -> nnx.RNNCellBase:
    """A gated cell whose candidate reads the state by an orthogonal matrix."""
    return kind(
        in_features,
        settings.hidden,
        candidate=scaled_cayley(settings, rngs),
        dtype=settings.dtype,
        rngs=rngs,
    )


def scaled_cayley(settings: TrainingSettings, rngs: nnx.Rngs) -> gs.nn.ScaledCayley:
    """Makes an orthogonal matrix as large as the state."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.ScaledCayley(shape, negatives=settings.negatives, rngs=rngs)


def spectral_rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A recurrent matrix with singular values near 1, by Householder reflectors."""
    return gs.nn.SpectralRNNCell(
        in_features,
        settings.hidden,
        reflectors=settings.reflectors,
        radius=settings.radius,
        kernel_init=nnx.initializers.glorot_uniform(),
        dtype=settings.dtype,
        rngs=rngs,
    )


def spectral_gru(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A gated unit whose candidate matrix the optimizer may project."""
    return gs.nn.SpectralGRUCell(
        in_features, settings.hidden, dtype=settings.dtype, rngs=rngs
    )


def nc_gru(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A gated unit with an orthogonal candidate matrix by a Neumann series."""
    shape = (settings.hidden, settings.hidden)
    matrix = gs.nn.NeumannCayley(shape, negatives=settings.negatives, rngs=rngs)
    return gs.nn.NCGRUCell(
        in_features, settings.hidden, candidate=matrix, dtype=settings.dtype, rngs=rngs
    )


def enrnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A long memory by the scaled Cayley transform, and a short one that fades."""
    lasting = settings.hidden - settings.short
    long = gs.nn.ScaledCayley(
        (lasting, lasting), negatives=min(settings.negatives, lasting), rngs=rngs
    )
    return gs.nn.ENRNNCell(
        in_features,
        settings.hidden,
        short_features=settings.short,
        long=long,
        dtype=settings.dtype,
        rngs=rngs,
    )


def sbo_rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A recurrence whose steps are those of gradient descent."""
    return gs.nn.SBORNNCell(
        in_features,
        settings.hidden,
        step_size=settings.step_size,
        rank=settings.rank,
        dtype=settings.dtype,
        rngs=rngs,
    )


def h_detach(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """The long short-term memory, its gradient through h stopped by chance."""
    return gs.nn.HDetachLSTMCell(
        in_features,
        settings.hidden,
        p_detach=settings.p_detach,
        dtype=settings.dtype,
        rngs=rngs,
    )


def symmetric_uniform(limit: float) -> Initializer:
    """Makes an initializer of numbers uniform in (-limit, limit)."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def gaussian(features: int) -> Initializer:
    """Makes an initializer of Gaussian numbers over the root of so many features."""
    return nnx.initializers.normal(features**-0.5)
