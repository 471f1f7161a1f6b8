"""Programs of their own that talk by unix datagrams: asyncio, and readiness as sd_notify(3) tells it."""

from __future__ import annotations

from command_line import CommandLine

BASE = "host/base"

ENDPOINTS = """
import asyncio, socket

class Server(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, address): self.transport.sendto(data.upper(), address)

class Client(asyncio.DatagramProtocol):
    def __init__(self): self.got = asyncio.Queue()
    def datagram_received(self, data, address): self.got.put_nowait((data, address))
    def error_received(self, error): self.got.put_nowait(type(error).__name__)

async def main():
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Server, local_addr='/tmp/server', family=socket.AF_UNIX)
    for kind in ('connected', 'not connected'):
        remote = '/tmp/server' if kind == 'connected' else None
        transport, client = await loop.create_datagram_endpoint(
            Client, local_addr=f'/tmp/{kind}', remote_addr=remote, family=socket.AF_UNIX)
        for n in range(200):
            transport.sendto(b'question %d' % n, None if remote else '/tmp/server')
        answers = [await asyncio.wait_for(client.got.get(), 20) for _ in range(200)]
        print(kind, answers == [(b'QUESTION %d' % n, '/tmp/server') for n in range(200)])
        if remote:
            kept = transport, client
    idle, client = await loop.create_datagram_endpoint(Client, family=socket.AF_UNIX)
    await asyncio.sleep(0.05)
    print('idle', client.got.empty())
    server.abort()
    await asyncio.sleep(0.05)
    transport, client = kept
    transport.sendto(b'anybody?')
    print(await asyncio.wait_for(client.got.get(), 20))

asyncio.run(main())
"""

SUPERVISOR = """
import os, socket, struct, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = sys.argv[1]
s.bind(address.replace('@', chr(0)))
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
child = subprocess.Popen([sys.executable, '/tmp/service.py'], env={'NOTIFY_SOCKET': address})
for _ in range(3):
    data, control, _, _ = s.recvmsg(4096, 1000)
    for level, kind, content in control:
        if kind == 2:
            pid, uid, gid = struct.unpack('3i', content)
            print('from the service' if pid == child.pid else pid, uid, gid)
        else:
            print('descriptor', os.read(struct.unpack('i', content)[0], 10))
    print(data)
print(child.wait())
"""

SERVICE = """
import array, os, socket, struct
os.setgid(1000); os.setuid(1000)
address = os.environ['NOTIFY_SOCKET'].replace('@', chr(0))

def notify(state, fds=(), pid=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    if pid:
        control.append((socket.SOL_SOCKET, 2, struct.pack('3i', pid, os.getuid(), os.getgid())))
    s.sendmsg([state.encode()], control, socket.MSG_NOSIGNAL, address)

notify('READY=1')
r, w = os.pipe()
os.write(w, b'kept')
notify('FDSTORE=1', [r], os.getpid())
try:
    notify('READY=1', pid=os.getppid())
except PermissionError:
    notify('STOPPING=1')
"""


def test_asyncio_endpoints(pycontain: CommandLine) -> None:
    out = pycontain("run", "--rm", BASE, "python3", "-c", ENDPOINTS).stdout
    assert out.splitlines() == ["connected True", "not connected True", "idle True", "ConnectionRefusedError"]


def test_readiness_of_a_service(pycontain: CommandLine) -> None:
    """Other user, descriptors, credentials of its own and of somebody else's; by path and by abstract name."""
    for address in ("/tmp/notify", "@notify"):
        script = 'printf %s "$1" > /tmp/service.py; umask 0; exec python3 -c "$2" "$3"'
        words = ("run", "--rm", BASE, "sh", "-c", script, "sh", SERVICE, SUPERVISOR, address)
        assert pycontain(*words).stdout.splitlines() == [
            *("from the service 1000 1000", "b'READY=1'"),
            *("from the service 1000 1000", "descriptor b'kept'", "b'FDSTORE=1'"),
            *("from the service 1000 1000", "b'STOPPING=1'", "0"),
        ]
