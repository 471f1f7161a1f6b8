"""A process that a client asked for: a container's first one, or one that joined it. Its streams and its end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pycontain.errors import ContainerError
from pycontain.kernel import setup
from pycontain.kernel.container import Container
from pycontain.kernel.streams import CHUNK, STDERR, STDOUT, Log, Output, open_terminal
from pycontain.kernel.task import Process
from pycontain.platforms.base import Launch

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel

DRAIN_TIMEOUT = 0.2  # seconds that output of left-over writers is waited for after the process has ended


class Session:
    """sink(stream, data) gets the output, done(session) is called once when all is over."""

    def __init__(
        self,
        kernel: Kernel,
        container: Container,
        spec: dict[str, Any],
        stdin: int | None,
        log: Log | None,
        *,
        init: bool,
    ) -> None:
        self.kernel = kernel
        self.container = container
        self.init = init
        self.terminal = bool(spec.get("terminal"))
        self.log = log
        self.sinks: list[Callable[[int, bytes], None]] = []
        self.done: list[Callable[[Session], None]] = []
        self.exit_code: int | None = None
        self.status: int | None = None
        self.master = -1
        self.outputs: list[Output] = []
        self.stdin_writer = -1  # kept open for a detached container with -i
        self.started = time.time_ns()
        task, home = setup.login(container, spec)
        env = setup.environment(spec, home, container.hostname)
        args = [bytes(a) for a in spec["args"]]
        if not args:
            raise ContainerError("run: no command specified", hint="the image has neither CMD nor ENTRYPOINT")
        program = setup.find_program(task, args[0], env)
        self.process: Process = task.process
        self.process.session_root = not init
        fds, inner = self._streams(spec, stdin)
        try:
            limits = container.limits
            launch = Launch(
                program, args, env, *inner, self.terminal, init, limits.counts_tasks, limits.resources()
            )

            def adopt(pid: int) -> Any:
                if init:
                    container.init = task.process
                adopted = kernel.adopt(task, pid)
                limits.start(task.process)
                return adopted

            kernel.platform.launch(launch, adopt)
            if init:
                limits.watch()
        except BaseException:
            for output in self.outputs:
                output.close()
            if self.master >= 0:
                os.close(self.master)
            raise
        finally:
            for fd in fds:
                os.close(fd)

    @property
    def pid(self) -> int:
        return self.process.pid

    def _streams(self, spec: dict[str, Any], stdin: int | None) -> tuple[list[int], tuple[int, int, int]]:
        """Descriptors to close after the launch, and the process's 0, 1 and 2."""
        loop = self.kernel.loop
        if self.terminal:
            rows, columns = spec.get("size") or (0, 0)
            self.master, slave, number = open_terminal(rows, columns)
            self.container.devpts.adopt(number)
            self.outputs = [Output(loop, os.dup(self.master), STDOUT, self._output)]
            return [slave], (slave, slave, slave)
        opened: list[int] = []
        if stdin is None:
            if spec.get("stdin"):
                stdin, self.stdin_writer = os.pipe()
                opened.append(stdin)
            else:
                stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                opened.append(stdin)
        ends = []
        for stream in (STDOUT, STDERR):
            reader, writer = os.pipe()
            opened.append(writer)
            ends.append(writer)
            self.outputs.append(Output(loop, reader, stream, self._output))
        return opened, (stdin, ends[0], ends[1])

    def _output(self, stream: int, data: bytes) -> None:
        if self.log is not None:
            self.log.write(stream, data)
        for sink in self.sinks:
            sink(stream, data)

    def feed(self, source: int) -> None:
        """Copy what a client sends into the process's standard input, where that is a pipe of ours. Closes source."""
        if self.stdin_writer < 0:
            os.close(source)
            return
        os.set_blocking(source, False)
        os.set_blocking(self.stdin_writer, False)
        loop = self.kernel.loop
        pending = bytearray()

        def stop() -> None:
            loop.unregister(source)
            os.close(source)

        def ready(events: int) -> None:
            try:
                data = os.read(source, CHUNK)
            except BlockingIOError:
                return
            pending.extend(data)
            if not data:
                stop()
                if not pending and self.stdin_writer >= 0:
                    os.close(self.stdin_writer)
                    self.stdin_writer = -1
                return
            push()

        def push(events: int = 0) -> None:
            while pending and self.stdin_writer >= 0:
                try:
                    del pending[: os.write(self.stdin_writer, pending)]
                except BlockingIOError:
                    loop.poll.modify(source, 0)  # not read until the process has taken what there is
                    loop.later(0.01, push_later)
                    return
                except OSError:
                    pending.clear()

        def push_later() -> None:
            push()
            if not pending and source in loop.handlers:
                loop.poll.modify(source, select.EPOLLIN)

        loop.register(source, ready)

    def pause(self, paused: bool) -> None:
        for output in self.outputs:
            output.pause(paused)

    def ended(self, status: int) -> None:
        """The process has gone; what it wrote is still read."""
        self.status = status
        self.exit_code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        for output in self.outputs:
            output.pause(False)
            output.drain()
        if self.init and self.container.processes:
            return  # the others are being killed; their ends finish the session
        self.finish()

    def finish(self) -> None:
        for output in self.outputs:
            output.drain()
            output.close()
        for fd in (self.master, self.stdin_writer):
            if fd >= 0:
                os.close(fd)
        self.master = self.stdin_writer = -1
        done, self.done = self.done, []
        for function in done:
            function(self)

    def signal(self, signum: int) -> None:
        """From outside: delivered as it is, also to the first process."""
        if self.exit_code is None:
            self.kernel.platform.kill(self.process.pid, None, signum)
            if signum == signal.SIGKILL and self.init:
                self.kernel.kill_all(self.container)
