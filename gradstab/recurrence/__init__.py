"""Pure recurrences over time."""

from ._matmul_step import Feed as Feed, MatmulStep as MatmulStep
from ._scan import scan as scan
