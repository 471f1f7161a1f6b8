"""What the client's tests need: a store with images, and a registry that can be made to misbehave."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from pycontain.client.connection import Patience
from pycontain.client.credentials import DockerConfig
from pycontain.client.transport import Transport
from pycontain.image.config import ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.reference import Reference
from pycontain.store import Image, Store
from registry.app import Registry
from registry.http.body import Body
from registry.http.request import Request
from registry.http.response import Response
from registry.http.server import Server

Intercept = Callable[[Request, Body], Response | None]
QUICK = Patience(connect=2, read=2, head=3, store=3, attempts=3, backoff=0.001, longest=0.01)


def make_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def make_image(store: Store, name: str, *layers: dict[str, bytes], compression: str = "gzip") -> Image:
    descriptors: list[Descriptor] = []
    diff_ids: list[str] = []
    for files in layers:
        with store.layers.sink(compression) as sink:
            sink.write(make_tar(files))
            descriptor, layer = sink.finish()
        descriptors.append(descriptor)
        diff_ids.append(layer.diff_id)
    config = ImageConfig("amd64", "linux", diff_ids=tuple(diff_ids))
    return store.add_image(config, descriptors, Reference.parse(name))


class World:
    """A registry whose requests are noted, and may be intercepted before it sees them."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(str(root), durable=False)
        self.requests: list[str] = []
        self.intercept: Intercept = lambda request, body: None
        self.server = Server(self._handle, "127.0.0.1", 0)
        self.address = self.server.address
        self.pauses: list[float] = []
        self._transports: list[Transport] = []

    def _handle(self, request: Request, body: Body) -> Response:
        self.requests.append(f"{request.method} {request.target.partition('?')[0]}")
        return self.intercept(request, body) or self.registry.handle(request, body)

    def transport(self, config: DockerConfig | None = None, patience: Patience = QUICK) -> Transport:
        """A transport that notes its pauses in place of making them, and reads no configuration of ours."""
        transport = Transport(
            self.address,
            config=config or DockerConfig("/nonexistent/config.json"),
            patience=patience,
            environment={},
            sleep=self.pauses.append,
        )
        self._transports.append(transport)
        return transport

    def close(self) -> None:
        for transport in self._transports:
            transport.close()
        self.server.close()
        self.registry.close()

    def methods(self) -> set[str]:
        return {line.partition(" ")[0] for line in self.requests}


class Recorder:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int, int]] = []

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        self.seen.append((digest, status, done, total))

    def words(self, digest: str) -> list[str]:
        """The statuses of one layer, repetitions left out."""
        words = [status for each, status, _, _ in self.seen if each == digest]
        return [word for n, word in enumerate(words) if n == 0 or words[n - 1] != word]
