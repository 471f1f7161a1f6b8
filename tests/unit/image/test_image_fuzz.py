"""Whatever the bytes are, a parser gives a value or ImageError."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from pycontain.errors import ImageError
from pycontain.image import ImageConfig, Index, Manifest, Platform, Reference, parse_manifest

DIGEST = "sha256:" + "a" * 64
DESCRIPTOR = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 5}
MANIFEST = {
    "schemaVersion": 2,
    "config": {
        **DESCRIPTOR,
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "annotations": {"a": "b"},
    },
    "layers": [DESCRIPTOR, {**DESCRIPTOR, "urls": ["x"]}],
    "annotations": {"k": "v"},
}
INDEX = {
    "schemaVersion": 2,
    "manifests": [{**DESCRIPTOR, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}],
}
CONFIG = {
    "architecture": "amd64",
    "config": {
        "Env": ["A=b"],
        "Cmd": ["x"],
        "Healthcheck": {"Test": ["NONE"], "Retries": 2},
        "Labels": {"a": "b"},
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created_by": "x", "empty_layer": True}],
}
VALUES = (None, 0, -1, 1 << 70, 1.5, "", "x", "\ud800", "\0", [], {}, [None], {"a": None}, True, [[]], [{}])


def _mutations(document: object, seed: int, count: int) -> list[bytes]:
    """Documents with a value exchanged, and with bytes flipped or cut off."""
    chance = random.Random(seed)
    plain = json.dumps(document).encode()
    found = []
    for number in range(count):
        if number % 2:
            copy = json.loads(plain)
            place = copy
            while True:
                keys = list(place.keys()) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = chance.choice(keys)
                if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
                    place = place[key]
                    continue
                place[key] = chance.choice(VALUES)
                break
            found.append(json.dumps(copy).encode("utf-8", "surrogatepass"))
            continue
        data = bytearray(plain)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        found.append(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]))
    return found


@pytest.mark.parametrize(
    ("document", "parse"),
    [(MANIFEST, parse_manifest), (INDEX, parse_manifest), (CONFIG, ImageConfig.from_bytes)],
    ids=["manifest", "index", "config"],
)
def test_documents(document: object, parse: Callable[[bytes], Manifest | Index | ImageConfig]) -> None:
    good = 0
    for data in _mutations(document, 1, 4000):
        try:
            value = parse(data)
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        good += 1
        assert parse(value.to_bytes()) == value
    assert 0 < good < 4000


def test_names() -> None:
    chance = random.Random(2)
    alphabet = "aZ09._-/:@[]%\n \u00e9sha256"
    for _ in range(20000):
        text = "".join(chance.choice(alphabet) for _ in range(chance.randint(0, 24)))
        for parse in (Reference.parse, Platform.parse):
            try:
                value = parse(text)
            except ImageError:
                continue
            assert parse(str(value)) == value
