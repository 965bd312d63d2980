"""Where published data sets are, if they are here at all."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def published():
    """The folder that holds mnist/, ptb/, polyphonic/ and cifar10/."""
    folder = Path(os.environ.get("GRADSTAB_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no published data sets here; GRADSTAB_DATA names their folder")
    return folder
