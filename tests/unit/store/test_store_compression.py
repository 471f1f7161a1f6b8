from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib

import pytest
import zstandard
from store_world import pieces

from pycontain.errors import LayerError
from pycontain.store.compression import Limits, compressor, decompress, sniff
from pycontain.store.zstdframes import ZstdFrames

DATA = random.Random(1).randbytes(50_000) + b"text " * 50_000
ANY = {"none", "gzip", "zstd", "xz", "bzip2"}
PACKED = gzip.compress(DATA)
SKIPPABLE = b"\x53\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"ignored"


def _zstd(data: bytes, **more: bool) -> bytes:
    return zstandard.ZstdCompressor(**more).compress(data)  # type: ignore[arg-type]


def _out(data: bytes, limits: Limits | None = None, size: int = 1000) -> bytes:
    return b"".join(decompress(pieces(data, size), limits or Limits(), ANY)[1])


STREAMS = {
    "plain": (DATA, "none"),
    "empty": (b"", "none"),
    "gzip": (gzip.compress(DATA), "gzip"),
    "gzip members": (gzip.compress(DATA[:100]) + gzip.compress(b"") + gzip.compress(DATA[100:]), "gzip"),
    "gzip with zeros after it": (gzip.compress(DATA) + bytes(3000), "gzip"),
    "gzip with a name": (
        gzip.compress(DATA)[:3] + b"\x08" + gzip.compress(DATA)[4:10] + b"n\0" + gzip.compress(DATA)[10:],
        "gzip",
    ),
    "zstd": (_zstd(DATA), "zstd"),
    "zstd checksum, no size": (_zstd(DATA, write_checksum=True, write_content_size=False), "zstd"),
    "zstd frames": (_zstd(DATA[:5]) + SKIPPABLE + _zstd(b"") + _zstd(DATA[5:]) + SKIPPABLE, "zstd"),
    "zstd, skippable first": (SKIPPABLE + _zstd(DATA), "zstd"),
    "xz": (lzma.compress(DATA), "xz"),
    "xz streams": (lzma.compress(DATA[:9]) + bytes(8) + lzma.compress(DATA[9:]), "xz"),
    "bzip2": (bz2.compress(DATA), "bzip2"),
    "bzip2 streams": (bz2.compress(DATA[:9]) + bz2.compress(DATA[9:]), "bzip2"),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
def test_streams(name: str, size: int) -> None:
    data, method = STREAMS[name]
    if size == 1:
        data = data[:200] if method == "none" else data
        if len(data) > 60_000:
            size = 100
    found, parts = decompress(pieces(data, size), Limits(), ANY)
    assert found == method
    assert b"".join(parts) == (data if method == "none" else DATA)


@pytest.mark.parametrize("name", [name for name, (_, method) in STREAMS.items() if method != "none"])
def test_truncated_streams(name: str) -> None:
    data, method = STREAMS[name]
    if "zeros" in name:
        data = data.rstrip(b"\0")
    whole = {len(data)}
    if name == "gzip members":
        whole |= {len(gzip.compress(DATA[:100])), len(gzip.compress(DATA[:100]) + gzip.compress(b""))}
    cuts = [12, 40, len(data) // 2, len(data) - 9, len(data) - 4, len(data) - 1]
    for cut in cuts:
        if cut in whole:
            continue
        if method in ("xz", "bzip2") and cut < 20:
            continue
        with pytest.raises(LayerError, match=r"truncated|decompress"):
            _out(data[:cut])


@pytest.mark.parametrize("name", [name for name, (_, method) in STREAMS.items() if method != "none"])
def test_flipped_bits_give_the_data_or_an_error_of_ours(name: str) -> None:
    chance = random.Random(name)
    data, _ = STREAMS[name]
    for _ in range(60):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            _out(bytes(damaged), size=1 << 16)
        except LayerError as error:
            assert "\n" not in str(error)


def test_something_after_the_end() -> None:
    for data in (gzip.compress(DATA) + b"rubbish", _zstd(DATA) + b"rubbish", gzip.compress(DATA) + b"\0\0x"):
        with pytest.raises(LayerError):
            _out(data)
    with pytest.raises(LayerError):
        _out(gzip.compress(DATA) + b"\0" * 9 + gzip.compress(DATA))


def test_only_what_is_allowed() -> None:
    with pytest.raises(LayerError, match="xz is not"):
        decompress([lzma.compress(DATA)], Limits(), {"gzip"})


def test_the_size_is_limited() -> None:
    limits = Limits(size=100_000)
    for name in ("plain", "gzip", "zstd", "xz", "bzip2"):
        with pytest.raises(LayerError, match="more than 100000 bytes"):
            _out(STREAMS[name][0], limits)


@pytest.mark.parametrize("method", ["gzip", "zstd", "xz", "bzip2"])
def test_the_ratio_is_limited(method: str) -> None:
    zeros = bytes(3 << 20)
    packed = {"gzip": gzip.compress, "zstd": _zstd, "xz": lzma.compress, "bzip2": bz2.compress}[method](zeros)
    limits = Limits(ratio=100, grace=1 << 20)
    with pytest.raises(LayerError, match=r"over 100 times.*bomb"):
        _out(packed, limits)
    assert _out(packed, Limits(ratio=100)) == zeros


def test_limits_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_LAYER_LIMIT", "5")
    monkeypatch.setenv("PYCONTAIN_LAYER_RATIO", "7")
    assert Limits.from_environment()[:2] == (5, 7)
    monkeypatch.setenv("PYCONTAIN_LAYER_LIMIT", "many")
    with pytest.raises(LayerError, match="PYCONTAIN_LAYER_LIMIT"):
        Limits.from_environment()
    monkeypatch.delenv("PYCONTAIN_LAYER_LIMIT")
    monkeypatch.delenv("PYCONTAIN_LAYER_RATIO")
    assert Limits.from_environment() == Limits()


@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_compressing_gives_the_same_bytes_each_time(method: str) -> None:
    def once(size: int) -> bytes:
        packer = compressor(method)
        return b"".join([*(packer.compress(piece) for piece in pieces(DATA, size)), packer.flush()])

    assert once(1000) == once(1000) == once(77_777)
    assert _out(once(1000)) == DATA
    assert sniff(once(1000)) == method


def test_frames_are_followed_exactly() -> None:
    data = STREAMS["zstd frames"][0]
    ends = [len(_zstd(DATA[:5]))]
    ends += [ends[-1] + len(SKIPPABLE), ends[-1] + len(SKIPPABLE) + len(_zstd(b""))]
    frames = ZstdFrames()
    assert frames.whole
    seen = []
    for at in range(ends[-1]):
        frames.feed(data[at : at + 1])
        if frames.whole:
            seen.append(at + 1)
    assert seen == ends
    with pytest.raises(LayerError):
        frames.feed(b"????")


def test_zlib_without_gzip_s_frame_is_not_taken_for_gzip() -> None:
    assert sniff(zlib.compress(DATA)) == "none"
