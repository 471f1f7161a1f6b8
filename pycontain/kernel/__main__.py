"""The kernel process: `python -m pycontain.kernel --root STORE --directory RUNTIME`. Clients start it on demand."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
import time
from functools import partial

from pycontain.errors import PycontainError
from pycontain.kernel import cgroup, libc, log, table
from pycontain.kernel.kernel import Kernel
from pycontain.kernel.server import Server
from pycontain.platforms.base import Platform
from pycontain.platforms.trap import policy
from pycontain.platforms.trap.check import unprivileged_identity
from pycontain.platforms.trap.platform import TrapPlatform
from pycontain.store import Store

IDLE_SECONDS = 60.0


def make_platform(kernel: Kernel) -> Platform:
    functions = {row.name: row.function for row in kernel.rows.values() if row.function is not None}
    return TrapPlatform(
        kernel,
        functions,
        policy.rules(kernel.rows, table.SCHEDULING),
        policy.rules(kernel.rows, table.SCHEDULING, count_tasks=True),
        kernel.loop.poll,
        kernel.loop.handlers,
        unprivileged_identity(),
    )


def take_lock(directory: str) -> bool:
    """Become the kernel of this directory. False if another one is, and answers."""
    lock = os.open(os.path.join(directory, "kernel.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with probe:
                try:
                    probe.connect(os.path.join(directory, "kernel.sock"))
                    return False
                except OSError:
                    time.sleep(0.005)  # its predecessor is about to end


def main(arguments: list[str]) -> int:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    directory = options["--directory"]
    if not take_lock(directory):
        return 0  # another kernel was quicker
    log.tell_of_faults()
    os.chdir("/")
    os.umask(0o022)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()
    store = Store.open(options["--root"])
    try:
        kernel = Kernel(directory, store.layers.get, make_platform, unprivileged_identity())
    except PycontainError as error:
        log.write(f"start the kernel: {error}")
        return error.exit_code
    try:
        kernel.delegation = cgroup.take(cgroup.find())
    except cgroup.Undelegated as reason:
        kernel.undelegated = str(reason)
    server = Server(
        kernel,
        os.path.join(directory, "kernel.sock"),
        float(os.environ.get("PYCONTAIN_KERNEL_IDLE", IDLE_SECONDS)),
    )
    platform = kernel.platform
    assert isinstance(platform, TrapPlatform)

    def asked(number: signal.Signals) -> None:
        log.write(f"{number.name}: the kernel ends, and {len(server.running)} containers with it")
        server.shut_down()

    kernel.loop.on_signals(
        {
            signal.SIGCHLD: platform.reap_some,
            signal.SIGTERM: partial(asked, signal.SIGTERM),
            signal.SIGINT: partial(asked, signal.SIGINT),
        }
    )
    gc.freeze()
    try:
        kernel.loop.run()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
