"""The kernel in a bzImage, LZ4, and modules made lean."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pycontain.errors import MachineError
from pycontain.vm import lz4, module, vmlinux


def elf(*, pvh: bool = True) -> bytes:
    """A 64-bit ELF file of one PT_NOTE segment, and something to compress."""
    note = struct.pack("<III4sI", 4, 4, 18 if pvh else 6, b"Xen\0", 0x1000000)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), len(note), 4)
    return header + segment + note + b"text of a kernel " * 5000 + random.Random(1).randbytes(3000)


def stored(data: bytes) -> bytes:
    """A legacy LZ4 frame whose block is nothing but literals."""
    rest = len(data) - 15
    block = b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + data
    return lz4.MAGIC + struct.pack("<I", len(block)) + block


def bzimage(payload: bytes, size: int, version: int = 0x20F) -> bytes:
    """As Linux makes one: the payload begins somewhere behind the setup code, and ends with its size."""
    image = bytearray(1024 * 3)
    image[0x1F1] = 3
    image[0x202:0x208] = b"HdrS" + struct.pack("<H", version)
    whole = payload + struct.pack("<I", size)
    struct.pack_into("<II", image, 0x248, 500, len(whole))
    return bytes(image[:2048]) + bytes(500) + whole + b"signature"


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "lz4": stored,
}


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_a_kernel_comes_out_as_it_went_in(kind: str) -> None:
    kernel = elf()
    assert vmlinux.extract(bzimage(COMPRESSORS[kind](kernel), len(kernel))) == kernel


def test_what_is_not_known_is_left_alone() -> None:
    kernel = elf()
    assert vmlinux.extract(b"no kernel" * 1000) is None
    assert vmlinux.extract(bzimage(b"\x89LZO" + kernel, len(kernel))) is None
    assert vmlinux.extract(bzimage(gzip.compress(kernel), len(kernel), version=0x207)) is None
    assert vmlinux.extract(bzimage(gzip.compress(kernel), 1 << 31)) is None
    assert not vmlinux.has_pvh_entry(elf(pvh=False)) and not vmlinux.has_pvh_entry(b"\x7fELF\x01\x01")


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_a_damaged_kernel_is_an_error(kind: str) -> None:
    kernel = elf()
    whole = COMPRESSORS[kind](kernel)
    for payload in (whole[: len(whole) // 2], whole[:60] + bytes(60) + whole[120:]):
        if kind == "lz4" and len(payload) == len(whole):
            continue  # literals have no checksum; the kernel's own is not ours to know
        with pytest.raises(MachineError, match=r"guest kernel|LZ4"):
            vmlinux.extract(bzimage(payload, len(kernel)))
    with pytest.raises(MachineError, match="instead of"):
        vmlinux.extract(bzimage(whole, len(kernel) + 1))


def test_a_kernel_is_kept_by_its_images_digest(tmp_path: Path) -> None:
    kernel = elf()
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(kernel), len(kernel)))
    kept = Path(vmlinux.ensure(str(image), str(tmp_path / "kept")))
    assert kept.read_bytes() == kernel
    before = kept.stat().st_ino
    assert vmlinux.ensure(str(image), str(tmp_path / "kept")) == str(kept) and kept.stat().st_ino == before
    kept.write_bytes(kernel[:-1])  # cut off: it is made again
    assert Path(vmlinux.ensure(str(image), str(tmp_path / "kept"))).read_bytes() == kernel
    assert os.listdir(tmp_path / "kept") == [kept.name]
    image.write_bytes(bzimage(gzip.compress(elf(pvh=False)), len(kernel)))
    assert vmlinux.ensure(str(image), str(tmp_path / "kept")) == str(image)
    image.write_bytes(kernel)
    assert vmlinux.ensure(str(image), str(tmp_path / "kept")) == str(image)


@pytest.mark.skipif(shutil.which("lz4") is None, reason="lz4 is not installed")
@pytest.mark.parametrize("level", ["-1", "-9"])
def test_lz4_is_what_the_tool_makes(level: str) -> None:
    chance = random.Random(2)
    words = [chance.randbytes(chance.randrange(1, 12)) for _ in range(500)]
    data = b"".join(chance.choice(words) for _ in range(30_000)) + bytes(300_000) + b"ab" * 5000
    data += chance.randbytes(lz4.BLOCK)  # more than one block
    done = subprocess.run(["lz4", level, "-l", "-c"], input=data, capture_output=True, check=True)
    assert lz4.decompress(done.stdout) == data


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"\x00", b""),
        (b"\x50hello", b"hello"),
        (b"\x10a\x01\x00\x10b", b"aaaaab"),  # a copy of what it makes itself
        (b"\x30abc\x03\x00\x10d", b"abcabcad"),
        (b"\x1fa\x01\x00\xff\x00\x10b", b"a" + b"a" * 274 + b"b"),
    ],
)
def test_lz4_blocks(block: bytes, data: bytes) -> None:
    assert lz4.decode_block(block) == data


@pytest.mark.parametrize(
    "block", [b"", b"\xf0", b"\x50hell", b"\x10a\x02\x00\x10b", b"\x10a\x00\x00\x10b", b"\x10a\x01"]
)
def test_damaged_lz4_blocks(block: bytes) -> None:
    with pytest.raises(MachineError, match="damaged"):
        lz4.decode_block(block)
    with pytest.raises(MachineError, match="no legacy frame"):
        lz4.decompress(b"\x04\x22\x4d\x18" + block)


def module_file(tail: bytes = b"") -> bytes:
    """An ELF file with a section for names only."""
    names = b"\0.text\0.BTF\0.BTF_ids\0"
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 2, 1
    )
    sections = bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 192, len(names), 0, 0, 1, 0)
    return header + sections + names + b"\0.BTF\0 elsewhere" + tail


def test_a_module_without_signature_and_type_information() -> None:
    signature = b"s" * 400 + struct.pack(">8xI", 400) + b"~Module signature appended~\n"
    for data in (module_file(), module_file(signature)):
        lean = module.lean(data)
        assert len(lean) == len(module_file())
        assert lean.count(b"\0.BTF\0") == 1 and lean.endswith(b"\0.BTF\0 elsewhere")
        assert b"\0.text\0.btf\0.BTF_ids\0" in lean


@pytest.mark.parametrize("kind", ["", ".gz", ".xz", ".zst"])
def test_modules_are_read_however_they_are_compressed(kind: str, tmp_path: Path) -> None:
    compress = {"": bytes, ".gz": COMPRESSORS["gzip"], ".xz": COMPRESSORS["xz"], ".zst": COMPRESSORS["zstd"]}[
        kind
    ]
    path = tmp_path / f"m.ko{kind}"
    path.write_bytes(compress(module_file()))
    assert module.read(str(path)) == module_file()
