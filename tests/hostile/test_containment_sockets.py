"""Unix sockets: those of the host, and descriptors that come through one's own."""

from __future__ import annotations

import os
import subprocess

import pytest
from test_containment_races import Listeners
from worlds import World


def test_sockets_of_the_host(world: World) -> None:
    with Listeners(world) as host:
        world.attack("sockets", host.path, host.abstract, str(world.outside))
        assert host.heard == []
        with open("/proc/net/unix") as file:
            assert f"{host.abstract}-planted" not in file.read()


PEERS = """
import array, os, socket, threading
U, D = socket.AF_UNIX, socket.SOCK_DGRAM
server = socket.socket(U); server.bind('/tmp/stream'); server.listen()
client = socket.socket(U); client.connect('/tmp/stream')
print(repr(server.accept()[1]), repr(client.getsockname()), [repr(end.getsockname()) for end in socket.socketpair()])
receiver, sender = socket.socket(U, D), socket.socket(U, D)
receiver.bind('/tmp/receiver'); sender.bind('/tmp/sender')
r, w = os.pipe()
sender.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r, w]))], 0, '/tmp/receiver')
data, fds, _, address = socket.recv_fds(receiver, 10, 10)
os.write(fds[1], b'through'); print(data, len(fds), address, os.read(r, 10))
try: sender.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [77]))], 0, '/tmp/receiver')
except OSError as error: print(error)
good = []
def bind():
    for _ in range(50):
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); good.append(s.getsockname()[1] > 0)
threads = [threading.Thread(target=bind) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(good), len(os.listdir('/proc/self/fd')))
"""


def test_peers_and_descriptors(world: World) -> None:
    """The same where the host lets the kernel take descriptors and where it does not."""
    assert world.run("python3", "-c", PEERS).splitlines() == [
        "'' '' [\"''\", \"''\"]",
        "b'x' 2 /tmp/sender b'through'",
        "[Errno 9] Bad file descriptor",
        "200 12",
    ]


def test_datagrams(world: World) -> None:
    """To the host and to another container, with addresses that change, and more than the kernel shall hold."""
    with Listeners(world) as host:
        words = ("run", "--rm", "-v", f"{world.directory}/attack:/attack:ro", "host/base", "python3", "/attack/datagrams.py")
        other = world.cli.spawn(*words, "unused", host.abstract, "listen", stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        text = world.attack("datagrams", host.path, host.abstract)
        other.kill()
        assert b"ESCAPED" not in other.communicate()[0]
        assert text.endswith("end\n")
        assert "changing addresses True True" in text
        assert host.heard == []
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"


@pytest.mark.usefixtures("compiler")
def test_filter_that_the_kernel_has_installed(world: World) -> None:
    """Who might share the memory is stopped while it is installed."""
    program = world.compiled("watched")
    for kind in ("threads", "processes"):
        text = world.run(program, kind, "40")
        assert text.endswith("end\n")
        assert int(text.split("installed ")[1].split()[0]) > 20, text
    assert world.failures() == "none", f"{world.failures()}\n{world.log()}"


def test_descriptors_from_another_container(world: World) -> None:
    """A directory of one container's, received by another through a socket in a shared directory, names nothing."""
    os.chmod(world.shared, 0o777)  # other attacks have had it
    (world.shared / "meeting").unlink(missing_ok=True)
    words = [
        "run",
        "--rm",
        "-v",
        f"{world.shared}:/shared",
        "-v",
        f"{world.directory}/attack:/attack:ro",
        "host/base",
    ]
    with world.cli.spawn(
        *words, "python3", "/attack/neighbour.py", "send", world.secret, stdout=subprocess.DEVNULL
    ):
        text = world.attack("neighbour", "receive", "unused")
    assert text.count("listing") == 9
    assert text.endswith("end\n")
    (world.shared / "meeting").unlink()


def test_calls_of_the_kernels_own(world: World) -> None:
    """A task makes them itself; nothing that others do meanwhile leads it astray."""
    text = world.attack("injected")
    assert text.endswith("end\n")


def test_in_flight_and_in_tables_of_threads(world: World) -> None:
    """Directories that no process's /proc/PID/fd shows, while many others are opened."""
    text = world.attack("hidden")
    assert text.endswith("end\n")
