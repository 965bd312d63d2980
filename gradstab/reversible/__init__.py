"""Training that runs backward exactly, and the hypergradients that this gives."""

from gradstab.reversible._exact_rational import ExactRational as ExactRational
from gradstab.reversible._hypergradient import (
    Hypergradient as Hypergradient,
    hypergradient as hypergradient,
)
from gradstab.reversible._schedules import Schedules as Schedules
from gradstab.reversible._train import train as train
