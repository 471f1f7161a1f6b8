"""The emulated kernel: one process, all containers of a user and store.

It owns the tables of containers, processes and open handles, and answers the platform's events.
"""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence

from pycontain.kernel import log, table
from pycontain.kernel.calls import passcred
from pycontain.kernel.cgroup import Delegation
from pycontain.kernel.container import Container
from pycontain.kernel.credentials import Credentials
from pycontain.kernel.fastpath import Teacher
from pycontain.kernel.fifo import FifoOpens
from pycontain.kernel.loader import Loader
from pycontain.kernel.loop import Loop
from pycontain.kernel.task import DescriptorTables, FileContext, Process, Task
from pycontain.kernel.vfs import handles
from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.wait import Waits
from pycontain.platforms.base import Missing, Platform, Shown
from pycontain.unionfs.image import ImageTree, Layer

MAX_IMAGES = 8  # merged trees kept for images of which no container runs
FAILURES_LOGGED = 1000

MakePlatform = Callable[["Kernel"], Platform]


class Kernel:
    """See the module. open_layer gives a layer of the store by its diff id.

    host_uid: the host identity of programs, None where it is our own.
    """

    def __init__(
        self,
        run_directory: str,
        open_layer: Callable[[str], Layer],
        make_platform: MakePlatform,
        host_uid: int | None = None,
    ) -> None:
        self.processors = frozenset(os.sched_getaffinity(0))  # of the host, that we may use
        self.loop = Loop(lambda error: self.failed(None, "event", error))
        self.rows = table.build()
        self.handle_directory = handles.directory(run_directory)
        self.loader = Loader()
        self.waits = Waits(self)
        self.fifos = FifoOpens(self)
        self.tables = DescriptorTables(lambda task: self.platform.hide(task))
        self.containers: dict[str, Container] = {}
        self.tasks: dict[int, Task] = {}
        self.executing: dict[int, tuple[Credentials, Node | None, bytes]] = {}
        self.unknown_calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.started = time.time_ns()
        self.made = 0
        self.host_uid = host_uid
        self.delegation: Delegation | None = None  # where containers get cgroups of the host
        self.undelegated = ""  # why they do not
        self.on_exit: Callable[[Process, int], None] = lambda process, status: None
        self._open_layer = open_layer
        self._images: dict[tuple[str, ...], ImageTree] = {}
        self.platform = make_platform(self)
        self.teacher: Teacher | None = None
        if self.platform.fast is not None:
            self.teacher = Teacher(self.platform.fast, lambda error: self.failed(None, "fast path", error))
            self.loop.wait = self.platform.fast.wait
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    # -- images

    def image(self, diff_ids: tuple[str, ...]) -> ImageTree:
        """The merged tree of these layers, bottom first; shared by all who ask."""
        found = self._images.pop(diff_ids, None)
        if found is None:
            found = ImageTree.merge([self._open_layer(d) for d in diff_ids])
        self._images[diff_ids] = found  # most recently used last
        while len(self._images) > MAX_IMAGES:
            self._images.pop(next(iter(self._images)))
        return found

    # -- life-cycle, told by the platform

    def adopt(self, task: Task, pid: int) -> Task:
        """A launched process has its number; from here on it can call."""
        process = task.process
        process.pid = task.tid = pid
        process.threads[pid] = task
        process.container.processes[pid] = process
        process.container.usage.births += 1
        self.tasks[pid] = task
        return task

    def forked(self, parent: Task, tid: int, thread: bool) -> Task:
        process = parent.process
        process.container.usage.births += 1
        if not thread:
            files = parent.files if parent.uncommon else parent.files.copy()
            process = Process(tid, process.container, process, parent.credentials, files)
            process.executable, process.name = parent.process.executable, parent.process.name
            process.dumpable = parent.process.dumpable
            process.container.processes[tid] = process
        task = Task(tid, process)
        if thread:
            task.credentials, task.files = parent.credentials, parent.files
            if parent.uncommon:
                task.part()
        parent.uncommon = False
        process.threads[tid] = task
        self.tasks[tid] = task
        return task

    def execed(self, task: Task, old_tid: int) -> None:
        process = task.process
        found = self.executing.pop(old_tid, None)
        self.executing.pop(process.pid, None)  # the leader's own, if another thread was quicker
        caller = self.tasks.get(old_tid, task)
        process.files = task.files = caller.files
        if found is not None:
            process.credentials, process.executable, process.name = found
            task.credentials = process.credentials
        process.dumpable = 1
        for tid in [t for t in process.threads if t != process.pid]:
            self.tasks.pop(tid, None)
            self.tables.close(process.threads.pop(tid))
        process.threads[process.pid] = task
        self.tasks[process.pid] = task
        self.tables.expect(task)

    def exited(self, tid: int, status: int, usage: resource.struct_rusage | None = None) -> None:
        task = self.tasks.pop(tid, None)
        self.executing.pop(tid, None)
        if task is None:
            return
        self.waits.gone(task)
        self.tables.close(task)
        process = task.process
        process.threads.pop(tid, None)
        if tid != process.pid:
            return
        process.container.usage.died(process, usage)
        process.container.bury(process)
        if process is process.container.init:
            self.kill_all(process.container)
            status = process.container.rebooted or status
        self.on_exit(process, status)

    def kill_all(self, container: Container) -> None:
        for pid in list(container.processes):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # -- what goes wrong

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.loop.later(seconds, function)

    def unknown(self, name: str) -> None:
        self.unknown_calls[name] += 1

    def failed(self, task: Task | None, name: str, error: BaseException) -> None:
        """A bug: the call gets EIO, the log gets the story, the kernel lives on."""
        self.failures[name] += 1
        if sum(self.failures.values()) <= FAILURES_LOGGED:
            text = "".join(traceback.format_exception(error))
            whose = "" if task is None else f" of process {task.process.pid} ({task.process.name!r})"
            log.write(f"{name}{whose}: {text}")

    def show(self, task: Task) -> Shown | None:
        """See platforms.base.Listener."""
        return None if self.teacher is None else self.teacher.show(task)

    def teach(self, task: Task, missing: Missing | None) -> None:
        if self.teacher is not None:
            try:
                self.teacher.teach(task, missing)
            except OSError:
                pass  # the file has gone meanwhile
            except Exception as error:  # a bug: without the fast path everything works
                self.failed(task, "fast path", error)

    def message(self, task: Task, name: str, args: Sequence[int]) -> int | Callable[[int], int | None] | None:
        """See platforms.base.Listener."""
        return passcred.message(task, name, args)

    def sender(self, task: Task, pid: int) -> tuple[int, int]:
        """See platforms.base.Listener."""
        return task.process.container.sender(pid)

    def new_process(self, container: Container, credentials: Credentials) -> Task:
        """A task without a number yet, for looking things up before it is launched."""
        process = Process(0, container, None, credentials, FileContext(container.root, container.root, 0o022))
        return Task(0, process)
