import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data import cifar10
from experiments.data.cifar10_binary import builder
from experiments.data.source_files import DataError
from tests.experiments.data.test_cifar10 import write_archive


class Server(HTTPServer):
    """Answers with `status` and the first `sent` bytes of `content`."""

    content, sent, status = b"", 0, 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.sent])

    def log_message(self, format, *args):
        """Says nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch, expect):
    """A server of an archive of six images, which `load_cifar10` downloads from."""
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", range(6))
    with Server(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(builder, "URL", f"{address}/{path.name}")
        expect(cifar10, builder.Cifar10Binary, tmp_path, address)
        server.content = path.read_bytes()
        server.sent = len(server.content)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def break_off(server):
    server.sent //= 2


def refuse(server):
    server.status = 404


def spoil(server):
    server.content = server.content[::-1]


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (break_off, "bytes read"),
        (refuse, "HTTP code: 404"),
        (spoil, "has wrong checksum"),
    ],
)
def test_a_download_that_fails_is_named_and_leaves_nothing(
    tmp_path, server, fail, reason
):
    cache, content = tmp_path / "cache", server.content
    fail(server)
    with pytest.raises(DataError, match=reason) as caught:
        cifar10.load_cifar10(cache=cache)
    assert caught.value.__cause__ is not None
    message, kept = str(caught.value), cache / "cifar10_binary" / "1.0.0"
    (file,) = cifar10.FILES
    for part in (file.name, file.url, file.sha256, str(kept), "--data-dir"):
        assert str(part) in message
    if fail is spoil:
        assert hashlib.sha256(server.content).hexdigest() in message
    assert not kept.exists()
    left = [path.relative_to(cache) for path in cache.rglob("*") if path.is_file()]
    assert all(".tmp." in path.parent.name for path in left)

    server.content, server.sent, server.status = content, len(content), 200
    splits = cifar10.load_cifar10(cache=cache)
    np.testing.assert_array_equal(splits.validation.labels, range(5))
    np.testing.assert_array_equal(splits.test.labels, [5])
