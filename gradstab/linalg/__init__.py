"""Pure maps from unconstrained arrays to constrained matrices."""
