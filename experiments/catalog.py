"""Every experiment there is, under the name it has on the command line."""

from experiments.adding import ADDING
from experiments.char_ptb import CHAR_PTB
from experiments.copying import COPYING
from experiments.denoise import DENOISE
from experiments.experiment import Experiment
from experiments.markov_text import MARKOV_TEXT
from experiments.parenthesis import PARENTHESIS
from experiments.pixel_digits import PIXEL_DIGITS
from experiments.pixel_mnist import PIXEL_MNIST
from experiments.polyphonic import POLYPHONIC
from experiments.settings import Preset, TrainingSettings
from experiments.suggestion import suggest
from experiments.word_ptb import WORD_PTB

EXPERIMENTS: dict[str, Experiment] = {
    "adding": ADDING,
    "char_ptb": CHAR_PTB,
    "copying": COPYING,
    "denoise": DENOISE,
    "markov_text": MARKOV_TEXT,
    "parenthesis": PARENTHESIS,
    "pixel_digits": PIXEL_DIGITS,
    "pixel_mnist": PIXEL_MNIST,
    "polyphonic": POLYPHONIC,
    "word_ptb": WORD_PTB,
}


def missing(name: str, preset: Preset) -> list[str]:
    """Says which experiment or preset there is none of; empty if both exist."""
    if name not in EXPERIMENTS:
        return [f"{name} is no experiment; {suggest(name, EXPERIMENTS)}"]
    return EXPERIMENTS[name].lacks(preset)


def name_of(settings: TrainingSettings) -> str:
    """Finds the experiment that some settings belong to."""
    return next(
        name
        for name, experiment in EXPERIMENTS.items()
        if type(settings) is type(experiment.presets["quick"])
    )
