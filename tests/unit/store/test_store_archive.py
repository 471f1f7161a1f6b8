from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from store_world import put_image, tar_of

from pycontain.errors import DigestMismatch, ImageError, LayerError, NotFound, PycontainError
from pycontain.image import ImageConfig, Platform, Reference, RunConfig, digest_bytes
from pycontain.store import Store
from pycontain.store.archive import import_rootfs, load, save
from pycontain.unionfs.tarwriter import TarWriter

PACKERS = (gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress)


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "other"))


def _save(store: Store, *names: str) -> bytes:
    out = bytearray()
    save(store, names, out.extend)
    return bytes(out)


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def _rewrite(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """The archive with each file changed; None leaves it out."""
    out = bytearray()
    writer = TarWriter(out.extend)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                continue
            content = change(member.name, file.read())
            if content is not None:
                name = member.name.encode()
                writer.add(name, mode=stat.S_IFREG | 0o644, size=len(content), content=[content])
    writer.close()
    return bytes(out)


def test_save_and_load_keep_digests_and_names(store: Store, other: Store) -> None:
    image = put_image(store, "a", b"1", b"2")
    store.tags.set(Reference.parse("user/b:v1"), image.descriptor)
    put_image(store, "c", b"1", b"3")
    data = _save(store, "a", "user/b:v1", "c")
    assert data == _save(store, "a", "user/b:v1", "c")
    found = load(other, io.BytesIO(data))
    assert [str(x.reference) for x in found] == [
        "docker.io/library/a:latest",
        "docker.io/user/b:v1",
        "docker.io/library/c:latest",
    ]
    assert found[0].descriptor.digest == found[1].descriptor.digest == image.descriptor.digest
    assert [layer.read(0) for layer in other.image("c").layers] == [b"1", b"3"]
    docker = json.loads(_file(data, "manifest.json"))
    assert [row["RepoTags"] for row in docker] == [["a:latest", "user/b:v1"], ["c:latest"]]
    assert len(_names(data)) == len(set(_names(data)))


def _file(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_an_image_without_a_name(store: Store, other: Store) -> None:
    image = put_image(store, None, b"1")
    found = load(other, io.BytesIO(_save(store, image.id)))
    assert [(x.id, x.reference) for x in found] == [(image.id, None)]


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_compressed_archives(store: Store, other: Store, pack: Callable[[bytes], bytes]) -> None:
    image = put_image(store, "a", b"1")
    assert load(other, io.BytesIO(pack(_save(store, "a"))))[0].id == image.id
    assert os.listdir(other.tmp) == []


def test_from_a_file_and_from_a_pipe(store: Store, other: Store, tmp_path: Path) -> None:
    image = put_image(store, "a", b"1")
    data = _save(store, "a")
    (tmp_path / "a.tar").write_bytes(data)
    with (tmp_path / "a.tar").open("rb") as file:
        assert load(other, file)[0].id == image.id
    other.remove("a")
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert load(other, pipe)[0].id == image.id


def test_docker_s_older_archives(store: Store, other: Store) -> None:
    """Uncompressed layers in directories of their own; an equal layer is a symbolic link."""
    first, second = tar_of([("f", b"1")]), tar_of([("f", b"2")])
    config = ImageConfig(
        "amd64", diff_ids=tuple(map(digest_bytes, (first, second, first))), config=RunConfig(cmd=("/f",))
    ).to_bytes()
    manifest = [
        {
            "Config": f"{digest_bytes(config)[7:]}.json",
            "RepoTags": ["old:v1", "old:v2"],
            "Layers": ["aaa/layer.tar", "bbb/layer.tar", "ccc/layer.tar"],
        }
    ]
    out = bytearray()
    tar = TarWriter(out.extend)
    link = stat.S_IFLNK | 0o777
    tar.add(b"ccc/layer.tar", mode=link, link=b"../aaa/layer.tar")
    for name, content in (
        ("aaa/layer.tar", first),
        ("bbb/layer.tar", gzip.compress(second)),
        (f"{digest_bytes(config)[7:]}.json", config),
        ("manifest.json", json.dumps(manifest).encode()),
        ("repositories", b"{}"),
    ):
        tar.add(name.encode(), mode=stat.S_IFREG | 0o644, size=len(content), content=[content])
    tar.close()
    found = load(store, io.BytesIO(out))
    assert [x.reference.familiar for x in found if x.reference] == ["old:v1", "old:v2"]
    assert found[0].id == digest_bytes(config)
    assert [layer.read(0) for layer in found[0].layers] == [b"1", b"2", b"1"]


def test_an_archive_without_images(store: Store) -> None:
    with pytest.raises(ImageError, match=r"neither index\.json nor manifest\.json.*pycontain import"):
        load(store, io.BytesIO(tar_of([("etc/passwd", b"")])))
    for name, content in (("index.json", b'{"manifests":[]}'), ("manifest.json", b"[]")):
        with pytest.raises(ImageError, match="names no images"):
            load(store, io.BytesIO(tar_of([(name, content)])))


def test_damaged_archives(store: Store, other: Store) -> None:
    image = put_image(store, "a", b"1")
    data = _save(store, "a")
    layer = image.manifest.layers[0].digest[7:]
    manifest = image.descriptor.digest[7:]

    def attempt(
        change: Callable[[str, bytes], bytes | None], error: type[PycontainError], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            load(other, io.BytesIO(_rewrite(data, change)))
        assert other.images() == []
        assert other.layers.list() == []
        assert os.listdir(other.tmp) == []

    attempt(lambda n, c: None if image.id[7:] in n else c, ImageError, "is not in it")
    attempt(lambda n, c: None if layer in n else c, ImageError, "is not in it")
    attempt(lambda n, c: c[:-1] if layer in n else c, DigestMismatch, "bytes came")
    attempt(lambda n, c: c + b"x" if layer in n else c, DigestMismatch, "more bytes came")
    attempt(lambda n, c: c[:-9] + b"?" + c[-8:] if layer in n else c, PycontainError, "layer")
    attempt(lambda n, c: c.replace(b"sha256", b"sha257") if manifest in n else c, DigestMismatch, "damaged")
    attempt(lambda n, c: b"{}" if n == "index.json" else c, ImageError, "names no images")
    attempt(lambda n, c: b"[" if n == "index.json" else c, ImageError, "not valid JSON")
    for length in (0, 700, len(data) // 2, len(data) - 1024, len(data) - 600):
        with pytest.raises(LayerError, match="truncated"):
            load(other, io.BytesIO(data[:length]))
    assert load(other, io.BytesIO(data))[0].id == image.id


def test_only_what_is_there_is_saved(store: Store) -> None:
    with pytest.raises(NotFound):
        _save(store, "none")
    image = put_image(store, "a", b"1")
    os.truncate(store.blobs.path(image.manifest.layers[0].digest), 5)
    with pytest.raises(DigestMismatch, match="store is damaged"):
        _save(store, "a")


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_import(store: Store, pack: Callable[[bytes], bytes]) -> None:
    rootfs = tar_of([("./bin/sh", b"#!"), ("./etc/passwd", b"root")])
    image = import_rootfs(
        store,
        iter([pack(rootfs)[:7], pack(rootfs)[7:]]),
        Reference.parse("r"),
        config=RunConfig(cmd=("/bin/sh",)),
        platform=Platform.parse("linux/arm64"),
        message="note",
        created="2024-01-01T00:00:00Z",
    )
    assert store.image("r").id == image.id
    assert image.config.diff_ids == (digest_bytes(rootfs),)
    assert image.config.config.cmd == ("/bin/sh",)
    assert image.config.history[0].comment == "note"
    assert (image.config.created, str(image.config.platform)) == ("2024-01-01T00:00:00Z", "linux/arm64")
    assert image.layers[0].read(1) == b"root"


def test_import_of_what_is_no_root(store: Store) -> None:
    rootfs = tar_of([("f", b"x" * 5000)])
    for data in (b"rubbish" * 200, rootfs[:-1024], gzip.compress(rootfs)[:-3], gzip.compress(rootfs[:-1024])):
        with pytest.raises(LayerError):
            import_rootfs(store, [data])
    assert store.images() == []
    assert store.layers.list() == []
    assert list(store.blobs.list()) == []
