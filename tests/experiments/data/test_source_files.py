import hashlib
import re

import pytest

from experiments.data import source_files
from experiments.data.source_files import (
    DataError,
    SourceFile,
    check_local,
    check_reachable,
    describe,
    listed_files,
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
        (CONTENT[::-1], f"not {FILE.sha256}."),
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


def test_reads_and_lists_checksums(tmp_path):
    path = tmp_path / "checksums.tsv"
    path.write_text("https://host.example/a.bin\t1234\tabcd\ta.bin\n")
    (file,) = listed_files(path)
    assert file == SourceFile("a.bin", 1234, "abcd", "https://host.example/a.bin")
    expected = "  a.bin  1,234 bytes  sha256 abcd\n    https://host.example/a.bin"
    assert describe([file]) == expected
