"""Data sets and generators: pure functions of a key, or of a recorded seed."""

from .adding import TRIVIAL_ERROR as TRIVIAL_ERROR, adding_batch as adding_batch
from .digits import DigitSplit as DigitSplit, load_digits as load_digits
