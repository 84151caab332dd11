"""A registry of one image on 127.0.0.1, from which a daemon on this machine pulls."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@contextmanager
def registry(saved: Iterable[bytes], name: str) -> Iterator[str]:
    """Serve what ``docker save`` gave for an image; yields the name by which it can be pulled."""
    parts = _parts(b"".join(saved))
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(parts)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"localhost:{server.server_port}/{name}"
        finally:
            server.shutdown()
            thread.join()


def _parts(saved: bytes) -> dict[str, tuple[str, bytes]]:
    """Type and content of the manifest and of each blob, by what their paths end with."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as image:

        def read(path: str) -> bytes:
            found = image.extractfile(path)
            assert found is not None
            return found.read()

        (about,) = json.loads(read("manifest.json"))
        config, layers = read(about["Config"]), [gzip.compress(read(path), 1) for path in about["Layers"]]
    blobs = {_digest(config): (CONFIG, config), **{_digest(layer): (LAYER, layer) for layer in layers}}
    first, *others = ({"mediaType": type, "size": len(data), "digest": id} for id, (type, data) in blobs.items())
    told = {"schemaVersion": 2, "mediaType": MANIFEST, "config": first, "layers": others}
    manifest = json.dumps(told).encode()
    return {
        **blobs,
        "": ("application/json", b"{}"),
        "manifest": (MANIFEST, manifest),
        _digest(manifest): (MANIFEST, manifest),
    }


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _handler(parts: dict[str, tuple[str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self.wfile.write(self._answer())

        def _answer(self) -> bytes:
            asked = self.path.rpartition("/")[2]
            type, data = parts["manifest" if "/manifests/" in self.path and ":" not in asked else asked]
            self.send_response(200)
            self.send_header("Content-Type", type)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            return data

        def log_message(self, *_: object) -> None:
            pass

    return Handler
