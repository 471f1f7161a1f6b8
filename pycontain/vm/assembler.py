"""As much of an assembler as the agent needs: x86-64 instructions by name, with labels.

Registers are rax rcx rdx rbx rsp rbp rsi rdi r8 … r15. Jumps are always the 32-bit form.
Intel, Software Developer's Manual, volume 2.
"""

from __future__ import annotations

import struct

REGISTERS = {
    name: number
    for number, name in enumerate(
        [
            "rax",
            "rcx",
            "rdx",
            "rbx",
            "rsp",
            "rbp",
            "rsi",
            "rdi",
            "r8",
            "r9",
            "r10",
            "r11",
            "r12",
            "r13",
            "r14",
            "r15",
        ]
    )
}
JUMPS = {
    "jmp": b"\xe9",
    "je": b"\x0f\x84",
    "jne": b"\x0f\x85",
    "js": b"\x0f\x88",
    "jns": b"\x0f\x89",
    "jle": b"\x0f\x8e",
}


class Assembler:
    """Instructions are appended by its methods; code() resolves the labels."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._fixups: list[tuple[int, str]] = []

    def label(self, name: str) -> None:
        """This is where jumps to `name` go."""
        self._labels[name] = len(self._code)

    def jump(self, kind: str, label: str) -> None:
        """jmp, je, jne, js, jns, jle."""
        self._code += JUMPS[kind] + bytes(4)
        self._fixups.append((len(self._code), label))

    def load_immediate(self, register: str, value: int) -> None:
        """mov register, imm64"""
        number = REGISTERS[register]
        self._code += bytes((0x48 | number >> 3, 0xB8 | number & 7)) + struct.pack(
            "<Q", value & (1 << 64) - 1
        )

    def load(self, register: str, base: str, offset: int = 0) -> None:
        """mov register, [base + offset]"""
        self._memory(0x8B, register, base, offset)

    def load32(self, register: str, base: str, offset: int = 0) -> None:
        """mov register (low half; the high half becomes 0), dword [base + offset]"""
        self._memory(0x8B, register, base, offset, wide=False)

    def store(self, base: str, register: str, offset: int = 0) -> None:
        """mov [base + offset], register"""
        self._memory(0x89, register, base, offset)

    def add_to_memory(self, base: str, register: str, offset: int = 0) -> None:
        """add [base + offset], register"""
        self._memory(0x01, register, base, offset)

    def move(self, target: str, source: str) -> None:
        """mov target, source"""
        self._registers(0x89, target, source)

    def add(self, target: str, source: str) -> None:
        """add target, source"""
        self._registers(0x01, target, source)

    def subtract(self, target: str, source: str) -> None:
        """sub target, source"""
        self._registers(0x29, target, source)

    def test(self, register: str) -> None:
        """test register, register"""
        self._registers(0x85, register, register)

    def add_immediate(self, register: str, value: int) -> None:
        """add register, imm32 (sign-extended)"""
        number = REGISTERS[register]
        self._code += bytes((0x48 | number >> 3, 0x81, 0xC0 | number & 7)) + struct.pack("<i", value)

    def compare_immediate(self, register: str, value: int) -> None:
        """cmp register, imm32 (sign-extended)"""
        number = REGISTERS[register]
        self._code += bytes((0x48 | number >> 3, 0x81, 0xF8 | number & 7)) + struct.pack("<i", value)

    def load_address(self, register: str, label: str) -> None:
        """lea register, [rip + label]"""
        number = REGISTERS[register]
        self._code += bytes((0x48 | (number >> 3) << 2, 0x8D, 0x05 | (number & 7) << 3)) + bytes(4)
        self._fixups.append((len(self._code), label))

    def call_register(self, register: str) -> None:
        """call register (rax … rdi)"""
        self._code += bytes((0xFF, 0xD0 | REGISTERS[register]))

    def jump_register(self, register: str) -> None:
        """jmp register (rax … rdi)"""
        self._code += bytes((0xFF, 0xE0 | REGISTERS[register]))

    def copy_bytes(self) -> None:
        """rep movsb: rcx bytes from [rsi] to [rdi]"""
        self._code += b"\xf3\xa4"

    def ret(self) -> None:
        """ret"""
        self._code += b"\xc3"

    def fill(self, size: int) -> None:
        """Nothing but room up to this offset."""
        self._code += bytes(size - len(self._code))

    def syscall(self) -> None:
        """syscall"""
        self._code += b"\x0f\x05"

    def code(self) -> bytes:
        """The instructions' bytes; they run at any address."""
        for end, label in self._fixups:
            struct.pack_into("<i", self._code, end - 4, self._labels[label] - end)
        self._fixups.clear()
        return bytes(self._code)

    def _memory(self, opcode: int, register: str, base: str, offset: int, *, wide: bool = True) -> None:
        reg, rm = REGISTERS[register], REGISTERS[base]
        prefix = (0x48 if wide else 0x40) | (reg >> 3) << 2 | rm >> 3
        self._code += bytes((prefix, opcode, 0x80 | (reg & 7) << 3 | rm & 7))
        if rm & 7 == 4:  # rsp and r12 need a second byte
            self._code += b"\x24"
        self._code += struct.pack("<i", offset)

    def _registers(self, opcode: int, target: str, source: str) -> None:
        rm, reg = REGISTERS[target], REGISTERS[source]
        self._code += bytes((0x48 | (reg >> 3) << 2 | rm >> 3, opcode, 0xC0 | (reg & 7) << 3 | rm & 7))
