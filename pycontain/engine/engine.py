"""What every verb needs: the root directory, and the store and the kernel where it asks for them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.kernel.control import KernelClient
    from pycontain.store import Store


def default_root() -> str:
    """$PYCONTAIN_ROOT, else $XDG_DATA_HOME/pycontain, else ~/.local/share/pycontain (as Store.open)."""
    root = os.environ.get("PYCONTAIN_ROOT")
    if root:
        return os.path.abspath(root)
    data = os.environ.get("XDG_DATA_HOME")
    if not data or not os.path.isabs(data):
        data = os.path.expanduser("~/.local/share")
    return os.path.join(data, "pycontain")


class Engine:
    """The store and the kernel of one root directory.

    connect(root, start) -> KernelClient or None; the default is KernelClient.connect.
    """

    def __init__(
        self, root: str | None = None, connect: Callable[[str, bool], KernelClient | None] | None = None
    ) -> None:
        self.root = os.path.abspath(root) if root else default_root()
        self._connect = connect
        self._store: Store | None = None
        self._kernel: KernelClient | None = None

    @property
    def store(self) -> Store:
        """The store; opened on first use, since a `run` of a known image does not need it."""
        if self._store is None:
            from pycontain.store import Store  # not on the path of a warm run

            self._store = Store.open(self.root)
        return self._store

    def kernel(self, runtime: str = "") -> KernelClient:
        """The kernel, started where it does not run. runtime "vm" or "uml": the machines' server instead."""
        if runtime:
            from pycontain.vm.client import MachineClient  # containers do without

            return MachineClient.ensure(self.root)
        client = self._reach(True)
        assert client is not None
        return client

    def running_kernel(self) -> KernelClient | None:
        """The kernel where it runs, None otherwise; together with the machines' server where that runs."""
        kernel = self._reach(False)
        if self._connect is None and os.path.isdir(os.path.join(self.root, "vm")):
            from pycontain.vm.client import with_machines  # only where there have been machines

            return with_machines(kernel, self.root)
        return kernel

    def _reach(self, start: bool) -> KernelClient | None:
        if self._kernel is None:
            if self._connect is not None:
                self._kernel = self._connect(self.root, start)
            else:
                # not needed by verbs that only read the store
                from pycontain.kernel.control import KernelClient

                self._kernel = KernelClient.connect(self.root, start=start)
        return self._kernel
