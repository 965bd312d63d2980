"""Numbers with a fixed number of binary digits behind the point."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """How real numbers are held as integers: x is the integer round(x 2**bits).

    Sums of such numbers are exact, so that what was added can be taken away again; sums
    of floating-point numbers are not.

    Attributes:
        wide: whether integers have 64 bits; else 32.
        bits: how many of them stand behind the binary point.
    """

    wide: bool
    bits: int

    @property
    def limit(self) -> float:
        """The magnitude that numbers must stay below."""
        return 2.0 ** (self._width - 1 - self.bits)

    @property
    def signed(self) -> jnp.dtype:
        """Dtype of the numbers."""
        return jnp.dtype(f"int{self._width}")

    @property
    def unsigned(self) -> jnp.dtype:
        """Dtype of the buffers of `ExactRational`."""
        return jnp.dtype(f"uint{self._width}")

    @property
    def taped(self) -> jnp.dtype:
        """Dtype of what leaves a full buffer: a quarter of its bits."""
        return jnp.dtype(f"uint{self._width // 4}")

    @property
    def real(self) -> jnp.dtype:
        """Dtype of the floating-point numbers that are converted."""
        return jnp.dtype(f"float{self._width}")

    @property
    def _width(self) -> int:
        return 64 if self.wide else 32

    def quantize(self, x: Float[Array, "..."]) -> Int[Array, "..."]:
        """The nearest fixed-point number of a magnitude below `limit`."""
        scaled = jnp.round(x.astype(self.real) * 2.0**self.bits)
        return scaled.astype(self.signed)

    def to_float(self, c: Int[Array, "..."]) -> Float[Array, "..."]:
        """The floating-point number nearest to a fixed-point one."""
        return c.astype(self.real) * 2.0**-self.bits

    def holds(self, x: Float[Array, "..."]) -> Array:
        """Whether numbers can be converted: False for NaN."""
        # With a margin that is wider than what a few roundings are off by.
        return jnp.abs(x) < (1 - 2.0**-20) * self.limit
