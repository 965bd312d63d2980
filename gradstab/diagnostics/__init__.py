"""What the gradients of a model do."""

from ._gradient_conflict import (
    GradientConflict as GradientConflict,
    gradient_conflict as gradient_conflict,
)
