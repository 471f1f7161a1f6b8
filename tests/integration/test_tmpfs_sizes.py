"""--shm-size and sized tmpfs: df shows the size, and what is more does not fit. The host keeps it, so a host that
allows neither mounts nor user namespaces cannot."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine

FILL = "head -c 3000000 /dev/zero > {0}/file; wc -c < {0}/file"


@pytest.fixture(scope="module", autouse=True)
def kept(pycontain: CommandLine) -> None:
    checked = pycontain("kernel", "check").stdout
    if "no  tmpfs of limited size" in checked:
        pytest.skip("this host allows neither mounts nor user namespaces")


def size_of_shm(pycontain: CommandLine, *options: str) -> int:
    done = pycontain("run", "--rm", *options, "host/base", "df", "-B1", "--output=size", "/dev/shm")
    return int(done.stdout.split()[-1])


def test_size_as_dockers(pycontain: CommandLine) -> None:
    assert size_of_shm(pycontain) == 64 << 20
    assert size_of_shm(pycontain, "--shm-size", "0") == 64 << 20
    assert size_of_shm(pycontain, "--shm-size", "128m") == 128 << 20
    assert size_of_shm(pycontain, "--shm-size=1g") == 1 << 30


def test_what_does_not_fit(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "--shm-size", "2m", "host/base", "sh", "-c", FILL.format("/dev/shm"))
    assert done.stdout == f"{2 << 20}\n"
    assert "No space left on device" in done.stderr
    for option in ("/small:size=1m", "/small:size=1024k,mode=1777"):
        done = pycontain("run", "--rm", "--tmpfs", option, "host/base", "sh", "-c", FILL.format("/small"))
        assert done.stdout == f"{1 << 20}\n"
        assert "No space left on device" in done.stderr
    done = pycontain(
        "run", "--rm", "--mount", "type=tmpfs,target=/small,tmpfs-size=1m", "host/base", "sh", "-c",
        FILL.format("/small"),
    )  # fmt: skip
    assert done.stdout == f"{1 << 20}\n"


SHARED = """
import errno, mmap, os
from multiprocessing import shared_memory
one = shared_memory.SharedMemory("one", create=True, size=1 << 20)
one.buf[:3] = b"abc"
if os.fork() == 0:
    other = shared_memory.SharedMemory("one")
    print(bytes(other.buf[:3]), os.listdir("/dev/shm"), flush=True)
    os._exit(0)
os.wait()
one.close(); one.unlink()
file = os.open("/dev/shm/two", os.O_RDWR | os.O_CREAT)
try:
    os.posix_fallocate(file, 0, 10 << 20)
except OSError as error:
    print(errno.errorcode[error.errno])
print(os.stat("/dev/shm/two").st_size, os.listdir("/dev/shm"))
"""


def test_shared_memory(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "--shm-size", "4m", "host/base", "python3", "-c", SHARED)
    assert done.stdout == "b'abc' ['one']\nENOSPC\n0 ['two']\n"


def test_each_container_has_its_own(pycontain: CommandLine) -> None:
    name = pycontain(
        "run", "-d", "--shm-size", "8m", "host/base", "sh", "-c", "echo mine > /dev/shm/a; sleep inf"
    ).stdout.strip()
    done = pycontain("run", "--rm", "host/base", "ls", "/dev/shm")
    assert done.stdout == ""
    assert pycontain("exec", name, "cat", "/dev/shm/a").stdout == "mine\n"
    assert json.loads(pycontain("inspect", name).stdout)[0]["HostConfig"]["ShmSize"] == 8 << 20
    pycontain("restart", "-t", "0", name)
    assert pycontain("exec", name, "ls", "/dev/shm").stdout == "a\n"  # written again: it was empty
    pycontain("rm", "-f", name)


def test_mounts_tell_the_size(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "host/base", "grep", "/dev/shm", "/proc/mounts")
    assert done.stdout == "shm /dev/shm tmpfs rw,relatime,size=65536k 0 0\n"


def test_in_a_build(pycontain: CommandLine, tmp_path: object) -> None:
    with open(f"{tmp_path}/Dockerfile", "w") as file:
        file.write("FROM host/base\nRUN df -B1 --output=size /dev/shm | tail -1 > /size\n")
    pycontain("build", "-t", "sized", "--shm-size", "96m", str(tmp_path))
    assert int(pycontain("run", "--rm", "sized", "cat", "/size").stdout) == 96 << 20


def test_written_bytes_count_as_memory(pycontain: CommandLine) -> None:
    script = "head -c 20000000 /dev/zero > /dev/shm/x; cat /sys/fs/cgroup/memory.current; grep Shmem: /proc/meminfo"
    done = pycontain("run", "--rm", "-m", "100m", "host/base", "sh", "-c", script).stdout.splitlines()
    assert 20_000_000 <= int(done[0]) < 30_000_000
    assert 19_000 < int(done[1].split()[1]) < 30_000


def test_too_small(pycontain: CommandLine) -> None:
    assert (
        "--shm-size -1m: less than 0" in pycontain("run", "--shm-size", "-1m", "host/base", code=125).stderr
    )
    assert "not a size" in pycontain("run", "--shm-size", "lots", "host/base", code=125).stderr
