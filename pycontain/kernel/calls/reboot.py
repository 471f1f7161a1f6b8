"""reboot(2) as it is in a pid namespace: whoever may, ends the container.

Its status then says how: killed by SIGHUP is a restart (exit code 129), by SIGINT a halt (130).
"""

from __future__ import annotations

import errno
import signal

from pycontain.kernel.credentials import CAP_SYS_BOOT
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail

MAGIC = 0xFEE1DEAD
MAGICS = (672274793, 85072278, 369367448, 537993216)
RESTART, RESTART2, HALT, POWER_OFF = 0x01234567, 0xA1B2C3D4, 0xCDEF0123, 0x4321FEDC
SIGNALS = {
    RESTART: signal.SIGHUP,
    RESTART2: signal.SIGHUP,
    HALT: signal.SIGINT,
    POWER_OFF: signal.SIGINT,
}


def sys_reboot(task: Task, a: tuple[int, ...]) -> int:
    first, second, command = (word & 0xFFFFFFFF for word in a[:3])
    container = task.process.container
    if not task.credentials.has(CAP_SYS_BOOT):
        fail(errno.EPERM)
    if first != MAGIC or second not in MAGICS or command not in SIGNALS:
        fail(errno.EINVAL)
    container.rebooted = SIGNALS[command]
    container.kernel.kill_all(container)  # the caller, too: it never comes back from this call
    return 0
