"""Every experiment there is, under the name it has on the command line."""

from experiments.adding import ADDING
from experiments.copying import COPYING
from experiments.denoise import DENOISE
from experiments.experiment import Experiment
from experiments.parenthesis import PARENTHESIS
from experiments.pixel_digits import PIXEL_DIGITS
from experiments.pixel_mnist import PIXEL_MNIST
from experiments.settings import TrainingSettings

EXPERIMENTS: dict[str, Experiment] = {
    "adding": ADDING,
    "copying": COPYING,
    "denoise": DENOISE,
    "parenthesis": PARENTHESIS,
    "pixel_digits": PIXEL_DIGITS,
    "pixel_mnist": PIXEL_MNIST,
}


def name_of(settings: TrainingSettings) -> str:
    """Finds the experiment that some settings belong to."""
    return next(
        name
        for name, experiment in EXPERIMENTS.items()
        if type(settings) is type(experiment.presets["quick"])
    )
