"""Pure recurrences over time."""

from ._matmul_step import MatmulStep as MatmulStep
from ._scan import scan as scan
