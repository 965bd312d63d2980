"""Pure maps from unconstrained arrays to constrained matrices."""

from ._cayley import cayley as cayley, inverse_cayley as inverse_cayley
from ._clip import clip_singular_values as clip_singular_values
from ._conv_norm_bound import conv_norm_bound as conv_norm_bound
from ._conv_singular_values import conv_singular_values as conv_singular_values
from ._expm import expm_skew as expm_skew
from ._householder import householder_product as householder_product
from ._householder_vectors import householder_vectors as householder_vectors
from ._logm import logm_orthogonal as logm_orthogonal
from ._neumann import neumann_cayley as neumann_cayley
from ._orthogonality import orthogonality_error as orthogonality_error
from ._polar import polar as polar
from ._skew import skew as skew
from ._spectral_norm import spectral_norm as spectral_norm
from ._spectral_radius import spectral_radius as spectral_radius
from ._svd_product import svd_product as svd_product
