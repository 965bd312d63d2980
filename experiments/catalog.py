"""Every experiment there is, under the name it has on the command line."""

from experiments.adding import ADDING
from experiments.copying import COPYING
from experiments.experiment import Experiment
from experiments.pixel_digits import PIXEL_DIGITS
from experiments.pixel_mnist import PIXEL_MNIST

EXPERIMENTS: dict[str, Experiment] = {
    "adding": ADDING,
    "copying": COPYING,
    "pixel_digits": PIXEL_DIGITS,
    "pixel_mnist": PIXEL_MNIST,
}
