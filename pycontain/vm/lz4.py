"""LZ4 as Linux compresses its own image: legacy frames of independent blocks.

    u32 magic 0x184C2102, then per block u32 size and as many compressed bytes; a block gives at most 8 MiB.

LZ4, doc/lz4_Frame_format.md ("Legacy frame") and doc/lz4_Block_format.md. A kernel takes about a second.
"""

from __future__ import annotations

from pycontain.errors import MachineError

MAGIC = b"\x02\x21\x4c\x18"
BLOCK = 8 << 20
"""Bytes that a block gives at most; every block but the last gives exactly as many."""


def decompress(data: bytes) -> bytes:
    """All blocks of one legacy frame; what follows the last whole block is ignored. MachineError."""
    if data[:4] != MAGIC:
        raise MachineError("decompress LZ4: it is no legacy frame")
    out = []
    at = 4
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if size == 0 or size > len(data) - at - 4:
            break  # Linux writes the size of the whole behind the frame
        out.append(decode_block(data[at + 4 : at + 4 + size]))
        at += 4 + size
        if len(out[-1]) < BLOCK:
            break
    return b"".join(out)


def decode_block(block: bytes) -> bytes:
    """A block's bytes. Each sequence is a token, literals, and a copy from at most 64 KiB before. MachineError."""
    out = bytearray()
    at, end = 0, len(block)
    try:
        while True:
            token = block[at]
            at += 1
            length = token >> 4
            if length == 15:
                while True:
                    more = block[at]
                    at += 1
                    length += more
                    if more != 255:
                        break
            if length:
                out += block[at : at + length]
                at += length
            if at >= end:  # the last sequence has no copy
                break
            distance = block[at] | block[at + 1] << 8
            at += 2
            length = token & 15
            if length == 15:
                while True:
                    more = block[at]
                    at += 1
                    length += more
                    if more != 255:
                        break
            length += 4
            start = len(out) - distance
            if not distance or start < 0:
                raise MachineError("decompress LZ4: a block is damaged")
            if distance >= length:
                out += out[start : start + length]
            else:  # it repeats itself
                piece = out[start:]
                out += (piece * (length // distance + 1))[:length]
            if len(out) > BLOCK:
                break
    except IndexError:
        at = end + 1
    if at != end or len(out) > BLOCK:
        raise MachineError("decompress LZ4: a block is damaged")
    return bytes(out)
