import hashlib
import threading
from dataclasses import astuple, dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data import cifar10
from experiments.data.cifar10_binary import builder
from experiments.data.source_files import DataError
from tests.experiments.data.test_cifar10 import write_archive


@dataclass
class Answer:
    """What a server sends: the first `sent` bytes of `content`."""

    content: bytes
    sent: int
    status: int = 200


@pytest.fixture
def answer(tmp_path, monkeypatch, expect):
    """The answer of a server, an archive of six images, to `load_cifar10`."""
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", range(6))
    answer = Answer(path.read_bytes(), path.stat().st_size)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content[: answer.sent])

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(builder, "URL", f"{address}/{path.name}")
        expect(cifar10, builder.Cifar10Binary, tmp_path, address)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answer
        server.shutdown()
        thread.join()


def break_off(answer):
    answer.sent //= 2


def refuse(answer):
    answer.status = 404


def spoil(answer):
    answer.content = answer.content[::-1]


@pytest.mark.parametrize(
    ("fail", "reason", "cause"),
    [
        (break_off, "bytes read", "ChunkedEncodingError"),
        (refuse, "HTTP code: 404", "DownloadError"),
        (spoil, "has wrong checksum", "NonMatchingChecksumError"),
    ],
)
def test_a_download_that_fails_is_named_and_leaves_nothing(
    tmp_path, answer, fail, reason, cause
):
    cache, whole = tmp_path / "cache", replace(answer)
    fail(answer)
    with pytest.raises(DataError, match=reason) as caught:
        cifar10.load_cifar10(cache=cache)
    assert type(caught.value.__cause__).__name__ == cause
    message, kept = str(caught.value), cache / "cifar10_binary" / "1.0.0"
    (file,) = cifar10.FILES
    for part in (file.name, file.url, file.sha256, str(kept), "--data-dir"):
        assert str(part) in message
    if fail is spoil:
        assert hashlib.sha256(answer.content).hexdigest() in message
    assert not kept.exists()
    left = [path.relative_to(cache) for path in cache.rglob("*") if path.is_file()]
    assert all(".tmp." in path.parent.name for path in left)

    answer.content, answer.sent, answer.status = astuple(whole)
    splits = cifar10.load_cifar10(cache=cache)
    np.testing.assert_array_equal(splits.validation.labels, range(5))
    np.testing.assert_array_equal(splits.test.labels, [5])
