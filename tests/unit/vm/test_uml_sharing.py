"""Which processes share their memory."""

from __future__ import annotations

import os
import subprocess
import threading

from pycontain.vm.uml.sharing import distinct


def test_memory_that_processes_share_counts_once() -> None:
    inside, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (inside.set(), over.wait()))
    thread.start()
    inside.wait()
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert thread.native_id is not None
        assert distinct([os.getpid(), thread.native_id, other.pid]) == [os.getpid(), other.pid]
    finally:
        over.set()
        thread.join()
        other.kill()
        other.wait()
