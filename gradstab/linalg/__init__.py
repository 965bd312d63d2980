"""Pure maps from unconstrained arrays to constrained matrices."""

from ._cayley import cayley as cayley, inverse_cayley as inverse_cayley
from ._householder import householder_product as householder_product
from ._householder_vectors import householder_vectors as householder_vectors
from ._orthogonality import orthogonality_error as orthogonality_error
from ._skew import skew as skew
from ._svd_product import svd_product as svd_product
