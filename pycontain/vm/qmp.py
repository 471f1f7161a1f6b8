"""A client of QEMU's machine protocol (QMP): one command at a time, every wait with a deadline.

QEMU, docs/interop/qmp-spec.rst: lines of JSON; a greeting first, then qmp_capabilities.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

from pycontain.errors import MachineError

LIMIT = 1 << 20


class Qmp:
    """sock: our end of a connected socket. Raises MachineError for every failure, also for a deadline."""

    def __init__(self, sock: socket.socket, timeout: float = 10.0, *, version: str = "") -> None:
        """version: of a QEMU that has greeted already, before it was forked."""
        self._sock = sock
        self._timeout = timeout
        self._buffer = bytearray()
        self.events: list[dict[str, Any]] = []
        self.version = version
        if version:
            return
        greeting = self._read(time.monotonic() + timeout, "greet")
        if "QMP" not in greeting:
            raise MachineError("talk to QEMU: it did not greet as QMP does")
        told = greeting["QMP"].get("version", {}).get("qemu", {})
        self.version = ".".join(str(told.get(part, "?")) for part in ("major", "minor", "micro"))
        self.execute("qmp_capabilities")

    def fileno(self) -> int:
        """Readable at an event, and at QEMU's end."""
        return self._sock.fileno()

    def execute(self, command: str, timeout: float | None = None, /, **arguments: Any) -> Any:
        """A command's result."""
        return self._execute(command, arguments, [], timeout)

    def give(self, name: str, fd: int) -> None:
        """QEMU gets a descriptor, which it knows by this name ("fd:NAME") until it has used it."""
        self._execute("getfd", {"fdname": name}, [fd], None)

    def _execute(self, command: str, arguments: dict[str, Any], fds: list[int], timeout: float | None) -> Any:
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        data = json.dumps(message).encode() + b"\n"
        try:
            if fds:
                data = data[socket.send_fds(self._sock, [data], fds) :]
            self._sock.sendall(data)
        except OSError as error:
            raise MachineError(f"tell QEMU {command}: {error.strerror}") from None
        while True:
            answer = self._read(deadline, command)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise MachineError(f"tell QEMU {command}: {answer['error'].get('desc', answer['error'])}")

    def wait_migrated(self, timeout: float) -> None:
        """Until a migration, saving or loading, is complete. MachineError where it failed."""
        deadline = time.monotonic() + timeout
        while True:
            info = self.execute("query-migrate")
            status = info.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise MachineError(f"migrate: QEMU says {status}: {info.get('error-desc', 'no reason')}")
            if time.monotonic() > deadline:
                raise MachineError(f"migrate: not complete after {timeout:g} s (status {status})")
            self._pause(0.002)

    def monitor(self, command: str) -> str:
        """A command of the human monitor; what it printed."""
        return str(self.execute("human-monitor-command", command_line=command))

    def close(self) -> None:
        self._sock.close()

    def _pause(self, seconds: float) -> None:
        select.select([self._sock], [], [], seconds)
        # events that have come are taken in with the next answer

    def _read(self, deadline: float, what: str) -> dict[str, Any]:
        """The next message that is no event."""
        while True:
            newline = self._buffer.find(b"\n")
            if newline >= 0:
                line = bytes(self._buffer[:newline])
                del self._buffer[: newline + 1]
                try:
                    message = json.loads(line)
                except ValueError:
                    raise MachineError(f"tell QEMU {what}: the answer is no JSON: {line[:80]!r}") from None
                if not isinstance(message, dict):
                    raise MachineError(f"tell QEMU {what}: the answer is no object")
                if "event" in message:
                    self.events.append(message)
                    continue
                return message
            if len(self._buffer) > LIMIT:
                raise MachineError(f"tell QEMU {what}: the answer has no end")
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._sock], [], [], left)[0]:
                raise MachineError(f"tell QEMU {what}: no answer in time")
            try:
                data = self._sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                raise MachineError(f"tell QEMU {what}: QEMU has gone")
            self._buffer += data
