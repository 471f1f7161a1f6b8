"""Hostile layers, blobs and manifests: each ends in one clear line, and the store is unharmed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from rawtar import END, long_name, member, pax, record

from pycontain.errors import DigestMismatch, ImageError, LayerError, PycontainError
from pycontain.image import Descriptor, ImageConfig, Manifest, Reference, digest_bytes, media_types
from pycontain.store import Store
from pycontain.store.archive import import_rootfs, load
from pycontain.unionfs.image import ImageTree

PLAIN = media_types.OCI_LAYER


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def _unharmed(store: Store) -> None:
    assert list(store.blobs.list()) == []
    assert os.listdir(f"{store.root}/blobs/sha256") == []
    assert store.layers.list() == []
    assert os.listdir(store.tmp) == []
    assert store.images() == []


def _refused(store: Store, data: bytes, message: str, media_type: str = PLAIN) -> None:
    """The layer is refused, in one line and with exit code 125, on each way into the store."""
    ways: list[Callable[[], object]] = [
        lambda: store.layers.ingest([data], media_type),
        lambda: store.layers.ingest(
            [data], media_type, Descriptor(media_type, digest_bytes(data), len(data))
        ),
        lambda: import_rootfs(store, [data]),
    ]
    for way in ways:
        with pytest.raises(PycontainError, match=message) as caught:
            way()
        assert isinstance(caught.value, LayerError)
        assert caught.value.exit_code == 125
        line = str(caught.value)
        assert "\n" not in line and line.isprintable() and len(line) < 400
        _unharmed(store)


NAMES = {
    "..": (b"../evil", "leads out of the root"),
    ".. within": (b"a/b/../../../evil", "leads out of the root"),
    ".. at the end": (b"a/..", "leads out of the root"),
    "absolute": (b"/etc/passwd", "is absolute"),
    "twice absolute": (b"//etc/passwd", "is absolute"),
    "no name": (b"", "without a name"),
    "long part": (b"a/" + b"x" * 256, "more than 255 bytes"),
    "long path": (b"/".join([b"x" * 200] * 21)[:4200], "more than 4095"),
    "100,000 directories": (b"d/" * 100_000 + b"f", "directories deep"),
    "escape sequences": (b"../\x1b[2J\n", "leads out of the root"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(store: Store, case: str) -> None:
    name, message = NAMES[case]
    if len(name) <= 100:
        _refused(store, member(name) + END, message)
    if name:
        _refused(store, pax((b"path", name)) + member(b"good") + END, message)
        _refused(store, long_name(name) + member(b"good") + END, message)
        _refused(store, long_name(name) + member(b"good", b"5") + END, message)
    else:
        _refused(store, long_name(b"") + member(b"good") + END, message)


def test_a_name_with_nul(store: Store) -> None:
    _refused(store, pax((b"path", b"good\0/../evil")) + member(b"x") + END, "NUL")
    _refused(store, pax((b"linkpath", b"a\0b")) + member(b"x", b"2") + END, "NUL")


def test_a_prefix_that_leads_out(store: Store) -> None:
    _refused(store, member(b"evil", prefix=b"a/../..") + END, "leads out of the root")
    _refused(store, member(b"evil", prefix=b"/etc") + END, "is absolute")


def test_names_through_symbolic_links(store: Store) -> None:
    link = member(b"dir", b"2", link=b"/etc")
    for first, second in ((link, member(b"dir/passwd")), (member(b"dir/passwd"), link)):
        _refused(store, first + second + END, "lies beneath 'dir', which is a symbolic link")
    _refused(store, link + member(b"dir/.wh.passwd") + END, "beneath 'dir'")
    _refused(store, link + member(b"dir/.wh..wh..opq") + END, "beneath 'dir'|symbolic link")
    _refused(store, link + member(b"dir/a/b", b"1", link=b"x") + END, "beneath 'dir'")
    _refused(store, member(b"file") + member(b"file/x") + END, "beneath 'file', which is no directory")


def test_a_symbolic_link_of_a_lower_layer_stays_within_the_root(store: Store) -> None:
    """Here the name is allowed: the tree resolves it inside the image, never on the host."""
    lower = store.layers.ingest([member(b"dir", b"2", link=b"../../../../../tmp") + END], PLAIN)[1]
    upper = store.layers.ingest([member(b"dir/evil", content=b"x") + END], PLAIN)[1]
    tree = ImageTree.merge([lower, upper])
    found = tree.walk(b"/dir/evil")
    assert found is not None
    assert not os.path.exists("/tmp/evil")


WHITEOUTS = {
    "of the root": b".wh.",
    "of a directory by its own name": b"dir/.wh.",
    "of .": b".wh..",
    "of ..": b"dir/.wh...",
    "as a directory": b".wh.dir/file",
}


@pytest.mark.parametrize("case", WHITEOUTS)
def test_whiteouts(store: Store, case: str) -> None:
    _refused(store, member(WHITEOUTS[case]) + END, "whiteout of the directory it lies in|lies in a whiteout")


def test_the_root_is_a_directory(store: Store) -> None:
    for kind in (b"0", b"2", b"3", b"6"):
        _refused(store, member(b"./", kind, link=b"x") + END, "root something else")
    _refused(store, member(b"./", b"1", link=b"x") + END, "root something else")


def test_hard_links(store: Store) -> None:
    _refused(store, member(b"a", b"1", link=b"../../etc/passwd") + END, "leads out of the root")
    _refused(store, member(b"a", b"1", link=b"./a") + END, "hard link to itself")
    _refused(store, member(b"a", b"1", link=b"/") + END, "hard link to itself or to nothing")
    _refused(store, member(b"a", b"1") + END, "without a target")
    _refused(store, member(b"a", b"2") + END, "without a target")


@pytest.mark.parametrize("target", [b"nothing", b"dir", b"dir/nothing"])
def test_hard_links_to_nothing(store: Store, target: bytes) -> None:
    """The target may be in a layer below, so the merge finds out."""
    data = member(b"dir", b"5") + member(b"a", b"1", link=target) + END
    layer = store.layers.ingest([data], PLAIN)[1]
    with pytest.raises(LayerError, match="hard link"):
        ImageTree.merge([layer])


SIZES = {
    "negative, base 256": (b"\xff" * 12, "size is negative"),
    "huge, base 256": (b"\x80" + b"\x7f" * 11, "negative or over 64 bits"),
    "negative, octal": (b"-0000000001\0", "not an octal number"),
    "no number": (b"0x123456789\0", "not an octal number"),
    "underscores": (b"0_0_0_0_0_1\0", "not an octal number"),
    "not octal": (b"00000000009\0", "not an octal number"),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes(store: Store, case: str) -> None:
    field, message = SIZES[case]
    _refused(store, member(b"a", size=field) + END, message)


@pytest.mark.parametrize("value", [b"-1", b"1e3", b"0x10", b"9" * 30, b" 1", b"\xd9\xa1"])
def test_sizes_in_pax_headers(store: Store, value: bytes) -> None:
    _refused(store, pax((b"size", value)) + member(b"a") + END, "size .* is not a number")


def test_a_size_beyond_the_end(store: Store) -> None:
    for data in (member(b"a", size=b"77777777777\0"), pax((b"size", b"%d" % (1 << 62))) + member(b"a")):
        _refused(store, data + END, "truncated")


def test_sparse_members(store: Store) -> None:
    _refused(store, member(b"a", b"S") + END, "sparse members are not supported.*without --sparse")
    _refused(store, pax((b"GNU.sparse.major", b"1")) + member(b"a") + END, "sparse members are not supported")


@pytest.mark.parametrize("kind", [b"M", b"V", b"D", b"N", b"?", b"\xff", b"8"])
def test_unknown_types(store: Store, kind: bytes) -> None:
    _refused(store, member(b"a", kind) + END, "type .* not supported")


def test_owners_and_devices_that_cannot_be(store: Store) -> None:
    _refused(store, pax((b"uid", b"4294967296")) + member(b"a") + END, "no user and group")
    _refused(store, member(b"a", uid=b"\xff" * 8) + END, "uid is negative")
    _refused(store, member(b"a", b"3", device=b"7777777\0") + END, "device numbered")


@pytest.mark.parametrize(
    "payload",
    [
        *(
            b"5",
            b"x",
            b"0 a=b\n",
            b"-5 a=b\n",
            b"99 a=b\n",
            b"6 a=b\n\n",
            b"6 ab=\n"[:-1],
            b"5 =b\n",
            b"6 abc\n",
        ),
        *(b" a=b\n", b"6 a=b\n7", b"\0" * 600, b"9" * 700),
        *(record(b"mtime", value) for value in (b"now", b"1.x", b"--1")),
        *(record(b"SCHILY.xattr." + name, b"x") for name in (b"", b"n" * 300)),
        record(b"SCHILY.xattr.user.a", b"x" * 70_000),
        record(b"LIBARCHIVE.xattr.user.a", b"!"),
    ],
)
def test_malformed_pax_headers(store: Store, payload: bytes) -> None:
    _refused(
        store, member(b"p", b"x", payload) + member(b"a") + END, "pax header|extended attribute|not base64"
    )


def test_headers_that_are_too_large(store: Store) -> None:
    for kind in (b"x", b"g", b"L", b"K"):
        _refused(store, member(b"a", kind, size=b"00010000000\0") + END, "header of 2097152 bytes")


def test_a_wrong_checksum(store: Store) -> None:
    _refused(store, member(b"a", checksum=False) + END, "checksum.*truncated or damaged")
    _refused(store, bytes(512) + member(b"a") + END, "single block of zeros")
    _refused(store, b"this is no tar at all" * 100, "checksum")


@pytest.mark.parametrize("tail", [b"", END])
def test_headers_without_their_member(store: Store, tail: bytes) -> None:
    for head in (pax((b"path", b"x")), long_name(b"x"), long_name(b"x", b"K")):
        with pytest.raises(LayerError, match="truncated"):
            data = head + tail
            store.layers.ingest([data], PLAIN, Descriptor(PLAIN, digest_bytes(data), len(data)))
    _unharmed(store)


def test_endless_entries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pycontain.unionfs import tarstream

    monkeypatch.setattr(tarstream.Limits.__new__, "__defaults__", (100, 10_000))
    _refused(store, b"".join(member(b"f%d" % n) for n in range(101)) + END, "more than 100 entries")
    _refused(
        store, pax((b"SCHILY.xattr.user.a", b"x" * 11_000)) + member(b"a") + END, "more than 10000 bytes"
    )


# -- compression


def _bomb(method: str, size: int) -> bytes:
    """A tar of one file of zeros."""
    tar = member(b"zeros", size=b"%011o\0" % size)
    if method == "gzip":
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
            file.write(tar)
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
            file.write(END)
        return out.getvalue()
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [packer.compress(tar)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(END), packer.flush()])


def test_a_zstd_bomb(store: Store) -> None:
    bomb = _bomb("zstd", 200 << 20)
    assert len(bomb) < 50_000
    _refused(store, bomb, r"over 1000 times as many.*bomb", media_types.OCI_LAYER_ZSTD)


def test_a_bomb_by_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_LAYER_LIMIT", str(10 << 20))
    for method in ("gzip", "zstd"):
        _refused(
            store,
            _bomb(method, 20 << 20),
            "more than 10485760 bytes come out",
            media_types.layer_type(method),
        )


def test_a_gzip_bomb_of_members(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """deflate makes 1032 of 1 at most; the limit by ratio is reached nevertheless."""
    monkeypatch.setenv("PYCONTAIN_LAYER_RATIO", "900")
    _refused(store, _bomb("gzip", 100 << 20), "over 900 times", media_types.OCI_LAYER_GZIP)


def test_a_frame_that_wants_much_memory(store: Store) -> None:
    """A window of 3.75 TiB, which a decoder would allocate."""
    frame = b"\x28\xb5\x2f\xfd\x00\xff" + b"\x01\x00\x00"
    _refused(store, frame, "decompress layer", media_types.OCI_LAYER_ZSTD)


HONEST = (
    member(b"dir", b"5")
    + member(b"dir/f", content=bytes(range(256)) * 300)
    + pax((b"mtime", b"1.5"))
    + member(b"z")
    + END
)


@pytest.mark.parametrize("method", ["none", "gzip", "zstd"])
def test_truncated_and_bit_flipped_blobs(store: Store, method: str) -> None:
    """With the digest known, whatever is not the blob is refused as such."""
    chance = random.Random(method)
    pack = {
        "none": bytes,
        "gzip": gzip.compress,
        "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    }
    blob = pack[method](HONEST)
    media_type = media_types.layer_type(method)
    expected = Descriptor(media_type, digest_bytes(blob), len(blob))
    for _ in range(150):
        damaged = bytearray(blob)
        damaged[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
        length = chance.choice((len(blob), chance.randrange(len(blob))))
        data = bytes(damaged[:length])
        with pytest.raises((DigestMismatch, LayerError)) as caught:
            store.layers.ingest([data[at : at + 999] for at in range(0, length, 999)], media_type, expected)
        assert "\n" not in str(caught.value)
        if length < len(blob):
            assert isinstance(caught.value, DigestMismatch | LayerError)
    _unharmed(store)
    store.layers.ingest([blob], media_type, expected, digest_bytes(HONEST))


def test_wrong_digests_and_sizes(store: Store) -> None:
    right = Descriptor(PLAIN, digest_bytes(HONEST), len(HONEST))
    wrong = "sha256:" + "0" * 64
    for expected, diff_id, message in (
        (right._replace(digest=wrong), None, "the content's digest is"),
        (right._replace(size=len(HONEST) - 1), None, "more bytes came"),
        (right._replace(size=len(HONEST) + 1), None, "bytes came, .* were promised"),
        (right, wrong, "its tar has the digest"),
        (right._replace(digest=digest_bytes(b"", "sha512")), None, "the content's digest is"),
    ):
        with pytest.raises(DigestMismatch, match=message):
            store.layers.ingest([HONEST], PLAIN, expected, diff_id)
        _unharmed(store)


def test_a_stream_longer_than_promised_is_not_read_to_its_end(store: Store) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield HONEST

    with pytest.raises(DigestMismatch, match="more bytes came"):
        store.layers.ingest(endless(), PLAIN, Descriptor(PLAIN, digest_bytes(HONEST), len(HONEST)))  # type: ignore[arg-type]
    assert taken < 4
    _unharmed(store)


@pytest.mark.parametrize(
    "media_type", ["text/html", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "", "x" * 5000]
)
def test_unknown_media_types(store: Store, media_type: str) -> None:
    with pytest.raises(ImageError, match="is not a file system layer") as caught:
        store.layers.ingest([HONEST], media_type)
    assert len(str(caught.value)) < 400
    _unharmed(store)


# -- manifests and configs


def _tag(store: Store, manifest: bytes, media_type: str = media_types.OCI_MANIFEST) -> None:
    digest = store.blobs.write_bytes(manifest)
    store.tags.set(Reference.parse("hostile"), Descriptor(media_type, digest, len(manifest)))


def test_a_manifest_over_4_mib(store: Store) -> None:
    manifest = Manifest(Descriptor(media_types.OCI_CONFIG, digest_bytes(b""), 0), (), {"a": "x" * (4 << 20)})
    with pytest.raises(PycontainError, match="more than the limit of 4194304"):
        _tag(store, manifest.to_bytes())
    assert store.images() == []


def test_a_config_that_disagrees_with_its_manifest(store: Store) -> None:
    descriptor, layer = store.layers.ingest([HONEST], PLAIN)
    for diff_ids in ((), (layer.diff_id,) * 2):
        raw = ImageConfig("amd64", diff_ids=diff_ids).to_bytes()
        config = Descriptor(media_types.OCI_CONFIG, store.blobs.write_bytes(raw), len(raw))
        _tag(store, Manifest(config, (descriptor,)).to_bytes())
        with pytest.raises(ImageError, match="1 layers, but"):
            store.image("hostile")
    raw = ImageConfig("amd64", diff_ids=("sha256:" + "0" * 64,)).to_bytes()
    config = Descriptor(media_types.OCI_CONFIG, store.blobs.write_bytes(raw), len(raw))
    _tag(store, Manifest(config, (descriptor,)).to_bytes())
    with pytest.raises(DigestMismatch, match="its tar has the digest"):
        _ = store.image("hostile").layers


def test_an_index_that_names_itself_for_ever(store: Store) -> None:
    """No digest can contain itself, but a file that was exchanged in the store can."""
    digest = "sha256:" + "1" * 64
    row = {
        "mediaType": media_types.OCI_INDEX,
        "digest": digest,
        "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    raw = json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()
    Path(store.blobs.path(digest)).write_bytes(raw)
    with pytest.raises(PycontainError):
        store.tags.set(Reference.parse("loop"), Descriptor(media_types.OCI_INDEX, digest, len(raw)))
    assert store.images() == []


# -- archives


def _archive(**files: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(member(name.encode(), content=data) for name, data in files.items()) + END)


def test_archives_whose_names_lead_elsewhere(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for name in (str(secret), "../../secret", "a/../../secret", "/dev/zero", "\u0000", ""):
        rows = [{"Config": name, "RepoTags": ["x"], "Layers": []}]
        with pytest.raises(PycontainError):
            load(store, _archive(**{"manifest.json": json.dumps(rows).encode()}))
    link = member(b"config", b"2", link=str(secret).encode())
    loop = member(b"loop", b"2", link=b"loop")
    for name in ("config", "loop"):
        rows = [{"Config": name, "RepoTags": ["x"], "Layers": []}]
        data = link + loop + member(b"manifest.json", content=json.dumps(rows).encode()) + END
        with pytest.raises(ImageError, match="is not in it"):
            load(store, io.BytesIO(data))
    _unharmed(store)


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{}", b"[1]", b'[{"Config":1}]', b"[" * 9000, b"[{}]", b" " * (5 << 20)),
        b'[{"Config":"manifest.json","Layers":"x"}]',
        b'[{"Config":"manifest.json","Layers":[1]}]',
    ],
)
def test_malformed_docker_archives(store: Store, document: bytes) -> None:
    with pytest.raises(PycontainError) as caught:
        load(store, _archive(**{"manifest.json": document}))
    assert "\n" not in str(caught.value)
    _unharmed(store)


def test_hostile_tags_in_archives(store: Store) -> None:
    config = ImageConfig("amd64").to_bytes()
    for tag in ("../../etc", "A B", "", "x:y:z", "\u202e"):
        rows = [{"Config": "c", "RepoTags": [tag], "Layers": []}]
        with pytest.raises(ImageError, match="parse reference"):
            load(store, _archive(**{"c": config, "manifest.json": json.dumps(rows).encode()}))
    assert store.images() == []


def test_a_compressed_bomb_of_an_archive(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_LAYER_LIMIT", str(1 << 20))
    with pytest.raises(LayerError, match="come out"):
        load(store, io.BytesIO(gzip.compress(bytes(2 << 20))))
    _unharmed(store)
