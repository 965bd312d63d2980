"""Modes of JAX for code that calls optax, no network, and published data sets."""

import os
import socket
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
HERE = {"127.0.0.1", "localhost"}


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    # optax raises a float to an integer power, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def no_other_host(monkeypatch):
    """Lets a test reach no host but this one, by name or by address."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def check(host):
        if host not in HERE:
            raise OSError(f"tests reach no other host, {host}")

    def checked_connect(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            check(address[0])
        return connect(self, address)

    def checked_resolve(host, *arguments, **options):
        check(host)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket, "getaddrinfo", checked_resolve)


@pytest.fixture
def published():
    """The folder that holds mnist/, ptb/, polyphonic/ and cifar10/, if it is here."""
    folder = Path(os.environ.get("GRADSTAB_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no published data sets here; GRADSTAB_DATA names their folder")
    return folder
