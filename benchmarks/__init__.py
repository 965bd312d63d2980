"""Timings of gradstab against its peers, as ratios measured in one run."""

import os

# After one call OpenBLAS's helper threads spin for a tenth of a second, which would be
# charged to the candidate that runs next. Read when JAX is imported: set before.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
