"""A raw way to talk to a registry, and images to push to it."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass
from typing import Any

from registry.app import RegistryServer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


class Caller:
    """Requests over one kept connection."""

    def __init__(self, server: RegistryServer) -> None:
        self.server = server
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, names)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def push_blob(self, name: str, data: bytes) -> str:
        digest = sha256(data)
        assert self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data).status == 201
        return digest

    def push_image(self, name: str, tag: str, layer: bytes = b"layer", **extra: Any) -> tuple[str, bytes]:
        manifest = image_manifest(self, name, layer, **extra)
        answer = self("PUT", f"/v2/{name}/manifests/{tag}", manifest, Content_Type=OCI_MANIFEST)
        assert answer.status == 201, answer.body
        return sha256(manifest), manifest


def image_manifest(call: Caller, name: str, layer: bytes = b"layer", **extra: Any) -> bytes:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": call.push_blob(name, config),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": call.push_blob(name, layer),
                "size": len(layer),
            }
        ],
        **extra,
    }
    return json.dumps(value).encode()
