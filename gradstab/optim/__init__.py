"""Transformations for optax that keep weights in a set."""

from ._project_spectral_norm import (
    ProjectSpectralNormState as ProjectSpectralNormState,
    project_spectral_norm as project_spectral_norm,
)
