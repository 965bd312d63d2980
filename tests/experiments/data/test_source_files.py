import hashlib
import re
import socket

import numpy as np
import pytest

from experiments.data import source_files
from experiments.data.source_files import (
    DataError,
    SourceFile,
    check_local,
    check_reachable,
    describe,
    listed_files,
    read_arrays,
)

CONTENT = b"some bytes"
FILE = SourceFile("a.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_accepts_the_file_itself(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    check_local([FILE], tmp_path, "advice")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "a.bin is missing."),
        (CONTENT[:4], "a.bin has 4 bytes, not 10: a partial download?"),
        (
            CONTENT[::-1],
            f"a.bin has the sha256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}, "
            f"not {FILE.sha256}.",
        ),
    ],
)
def test_names_the_file_what_is_wrong_and_what_to_do(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(problem)) as caught:
        check_local([FILE], tmp_path, "advice")
    assert str(tmp_path / "a.bin") in str(caught.value)
    assert str(caught.value).endswith("advice")


def test_names_every_file_at_once(tmp_path):
    other = SourceFile("b.bin", 1, "0")
    with pytest.raises(DataError, match=r"a.bin is missing.\n.*b.bin is missing."):
        check_local([FILE, other], tmp_path, "advice")


def test_says_so_if_a_file_cannot_be_downloaded_at_all():
    with pytest.raises(DataError, match="a.bin: to be had from no public address"):
        check_reachable([FILE], "advice")


def test_says_so_at_once_if_the_host_does_not_answer(monkeypatch):
    def refuse(address, timeout):
        assert address == ("host.example", 443)
        assert timeout == source_files.PATIENCE
        raise OSError("no route")

    monkeypatch.setattr(source_files.socket, "create_connection", refuse)
    far = SourceFile("a.bin", 1, "0", "https://host.example/a.bin")
    with pytest.raises(DataError, match=r"host\.example does not answer \(no route\)"):
        check_reachable([far], "advice")


def test_no_test_reaches_another_host():
    with pytest.raises(OSError, match=r"tests reach no other host, host\.example"):
        socket.create_connection(("host.example", 443), timeout=1)
    with socket.socket() as unconnected:
        unconnected.settimeout(1)
        with pytest.raises(OSError, match=r"tests reach no other host, 192\.0\.2\.1"):
            unconnected.connect(("192.0.2.1", 443))


def test_reads_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(3), two=np.ones((2, 2)))
    arrays = read_arrays(path)
    assert set(arrays) == {"one", "two"}
    np.testing.assert_array_equal(arrays["one"], np.arange(3))
    np.testing.assert_array_equal(arrays["two"], np.ones((2, 2)))


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\x03\x04"])
def test_names_what_is_no_file_of_arrays(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.npz is damaged"):
        read_arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_of_arrays_is_named_whatever_is_wrong(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, one=np.arange(3, dtype=np.uint8))
    content, messages = path.read_bytes(), []
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_arrays(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > len(content) / 2
    assert all(message.startswith(str(path)) for message in messages)


def test_reads_and_lists_checksums(tmp_path):
    path = tmp_path / "checksums.tsv"
    path.write_text("https://host.example/a.bin\t1234\tabcd\ta.bin\n")
    (file,) = listed_files(path)
    assert file == SourceFile("a.bin", 1234, "abcd", "https://host.example/a.bin")
    expected = "  a.bin  1,234 bytes  sha256 abcd\n    https://host.example/a.bin"
    assert describe([file]) == expected
