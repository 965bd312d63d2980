"""Every experiment there is, under the name it has on the command line."""

from experiments.adding import ADDING
from experiments.experiment import Experiment
from experiments.pixel_digits import PIXEL_DIGITS

EXPERIMENTS: dict[str, Experiment] = {
    "adding": ADDING,
    "pixel_digits": PIXEL_DIGITS,
}
