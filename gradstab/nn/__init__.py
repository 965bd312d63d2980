"""Flax NNX modules: parametrizations, cells and the sequence layer."""

from ._materialize import materialize as materialize
from ._parametrization import (
    Fixed as Fixed,
    Materialized as Materialized,
    Parametrization as Parametrization,
)
