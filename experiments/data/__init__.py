"""Data sets and generators: pure functions of a key, or of a recorded seed."""

from .adding import TRIVIAL_ERROR as TRIVIAL_ERROR, adding_batch as adding_batch
from .copying import (
    copying_baseline as copying_baseline,
    copying_batch as copying_batch,
)
from .denoise import (
    denoise_baseline as denoise_baseline,
    denoise_batch as denoise_batch,
)
from .digits import DigitSplits as DigitSplits, load_digits as load_digits
from .images import LabeledImages as LabeledImages
from .markov_text import (
    conditional_entropy as conditional_entropy,
    markov_chain as markov_chain,
    markov_text as markov_text,
)
from .mnist import load_mnist as load_mnist, open_mnist as open_mnist
from .parenthesis import parenthesis_batch as parenthesis_batch
from .ptb import load_ptb as load_ptb
from .stream import BatchStream as BatchStream
