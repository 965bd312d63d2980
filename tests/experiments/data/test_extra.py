import sys

import pytest

from experiments.data.cifar10 import load_cifar10
from experiments.data.mnist import load_mnist, open_mnist
from experiments.data.polyphonic import load_polyphonic
from experiments.data.ptb import load_ptb
from experiments.data.source_files import DataError
from experiments.data.stream import BatchStream


@pytest.mark.parametrize(
    ("load", "package"),
    [
        (load_mnist, "tensorflow_datasets"),
        (open_mnist, "tensorflow_datasets"),
        (load_cifar10, "tensorflow_datasets"),
        (lambda: load_ptb("word"), "tensorflow_datasets"),
        (lambda: load_polyphonic("nottingham"), "tensorflow_datasets"),
        (lambda: BatchStream([0], batch=1, seed=0), "grain"),
    ],
)
def test_the_extra_is_named_where_a_package_is_missing(monkeypatch, load, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'need {package}, of the extra `data`: pip install "\.\[data\]"'
    with pytest.raises(DataError, match=message):
        load()
