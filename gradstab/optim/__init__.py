"""Transformations for optax that keep weights in a set, and gradients in bounds."""

from ._orthogonality_penalty import (
    AddOrthogonalityPenaltyState as AddOrthogonalityPenaltyState,
    add_orthogonality_penalty as add_orthogonality_penalty,
    orthogonality_penalty as orthogonality_penalty,
)
from ._project_conv_norm import (
    ProjectConvNormState as ProjectConvNormState,
    project_conv_norm as project_conv_norm,
)
from ._project_orthogonal import (
    ProjectOrthogonalState as ProjectOrthogonalState,
    project_orthogonal as project_orthogonal,
)
from ._project_spectral_norm import (
    ProjectSpectralNormState as ProjectSpectralNormState,
    project_spectral_norm as project_spectral_norm,
)
from ._riemannian import RiemannianState as RiemannianState, riemannian as riemannian
from ._safe_clip import (
    SafeClipByGlobalNormState as SafeClipByGlobalNormState,
    safe_clip_by_global_norm as safe_clip_by_global_norm,
)
