"""Hostile programs: whatever is executed, only the process that does it may come to harm.

elves SEED COUNT
"""

import os
import random
import resource
import struct
import sys

from attempts import attempt, syscall

chance = random.Random(int(sys.argv[1]))
count = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
WORDS = (0, 1, 2, 4, 7, 8, 64, 0xFF, 0xFFF, 0x1000, 0x400000, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, 1 << 46, (1 << 46) - 4096, 1 << 47,
         (1 << 47) - 4096, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096, 0x555500000000, 0x555500002000, 0x7F0000000000)  # fmt: skip
with open("/bin/true", "rb") as file:
    true = file.read()


def word():
    return (
        chance.choice(WORDS)
        if chance.random() < 0.7
        else chance.getrandbits(chance.choice((8, 16, 24, 32, 48, 64)))
    )


def header(machine=62, kind=2, phoff=64, phnum=1, phentsize=56, entry=0x400080):
    return struct.pack(
        "<4s4B8xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,
        1,
        1,
        0,
        kind,
        machine,
        1,
        entry,
        phoff,
        0,
        0,
        64,
        phentsize,
        phnum,
        64,
        0,
        0,
    )


def program_header(kind=1, flags=5, offset=0, address=0x400000, size=4096, memory=4096):
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, 0, size, memory, 4096)


def invented():
    number = chance.choice((1, 1, 2, 3, 10, 60, 128, 129, 0, 65535))
    parts = [header(chance.choice((62, 62, 62, 3, 183)), chance.choice((2, 3, 2, 3, 1, 4)), chance.choice((64, 64, 64, word())),
                    number, chance.choice((56, 56, 56, 32)), word())]  # fmt: skip
    for _ in range(min(number, 130)):
        values = [word() for _ in range(4)]
        if chance.random() < 0.6:
            values = [
                0x1000 * chance.randrange(4),
                0x1000 * chance.randrange(1 << 20),
                chance.randrange(8192),
                8192 * chance.randrange(10),
            ]
        parts.append(
            program_header(chance.choice((1, 1, 1, 3, 6, 0x6474E551, 2)), chance.randrange(8), *values)
        )
    return b"".join(b"".join(parts)[:20000].ljust(20000, b"\xcc") for _ in (0,))


def broken():
    """A real program with some of its head's bytes changed."""
    data = bytearray(true)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(chance.choice((64, 64 + 56 * 13, 4096)))
        size = chance.choice((1, 2, 4, 8))
        data[at : at + size] = (word() & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(data)


def script():
    return b"#!" + chance.choice((b"", b" ", b"/bin/sh", b"/tmp/hostile", b"x" * 300, b"\0", b"/proc/self/exe", b"/etc", b"/bin/sh " + b"a" * 300)) + chance.choice((b"\n", b"", b"\0"))  # fmt: skip


def run(data, by_descriptor):
    child = os.fork()
    if child == 0:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
            if by_descriptor:
                fd = os.memfd_create("hostile", 0 if chance.random() < 0.5 else os.MFD_CLOEXEC)
                os.write(fd, data)
                os.execve(fd, ["hostile"], {})
            with open("/tmp/hostile", "wb") as file:
                file.write(data)
            os.chmod("/tmp/hostile", 0o755)
            os.execve("/tmp/hostile", ["hostile"], {})
        finally:
            os._exit(126)
    return os.waitpid(child, 0)[1]


statuses = {}
for number in range(count):
    data = (invented, broken, broken, script)[number % 4]()
    status = run(data, number % 3 == 0)
    statuses[status] = statuses.get(status, 0) + 1
print("statuses", statuses)
# as many segments as there may be, each with something to fill with zeros, under a long name
for count in (20, 60, 128):
    parts = [header(phnum=count)] + [
        program_header(flags=6, offset=0, address=0x400000 + i * 0x10000, size=100, memory=0x3000)
        for i in range(count)
    ]
    print(count, "segments:", run(b"".join(parts).ljust(20000, b"\0"), False))


def fit(size):
    """Arguments of this many bytes, or the error."""
    child = os.fork()
    if child == 0:
        try:
            os.execve("/bin/true", ["true", *["x" * 100_000] * (size // 100_000)], {})
        except OSError as error:
            os._exit(error.errno)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


for size in (100_000, 1_000_000, 10_000_000, 100_000_000):
    print(size, "bytes of arguments:", fit(size))
attempt("too many arguments", lambda: os.execve("/bin/true", ["x"] * 1_000_000, {}))
attempt("a long argument", lambda: os.execve("/bin/true", ["x" * (1 << 20)], {}))
attempt("a long environment", lambda: os.execve("/bin/true", ["x"], {"A": "x" * (1 << 20)}))
with open("/tmp/long", "w") as file:
    file.write("#!/bin/true\n")
os.chmod("/tmp/long", 0o755)
for what, arguments in (("many", ["x"] * 1_000_000), ("long", ["x" * (1 << 20)])):
    child = os.fork()
    if child == 0:
        try:
            os.execve("/tmp/long", arguments, {})
        except OSError as error:
            os._exit(error.errno)
    print("script with", what, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
# bad pointers
for argv in (8, 0x7FFFFFFFF000, -1):
    child = os.fork()
    if child == 0:
        try:
            syscall(59, b"/bin/true", argv, 0)
        except OSError as error:
            os._exit(error.errno)
    print("argument vector at", argv, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
# many refused executions: nothing may be left open in the kernel
memory = os.memfd_create("text")
os.write(memory, b"no program")
for _ in range(3000):
    try:
        os.execve(memory, ["x"], {})
    except OSError:
        pass
print("end")
