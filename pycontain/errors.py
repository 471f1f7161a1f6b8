"""Every exception that pycontain raises on purpose.

    PycontainError                    one line for the user; exit code 125
    ├── ImageError                    a reference, digest, manifest or config that is not valid
    │   └── DigestMismatch            content that is not what its digest or size promised
    ├── StoreError                    the local store cannot do what was asked
    │   ├── NotFound                  no such image, layer, blob or container
    │   ├── Conflict                  the name is taken, or the object is in use
    │   └── LayerError                a layer that is malformed or hostile
    ├── RegistryError                 a registry refused or failed; carries the specification's code
    ├── BuildError                    a Dockerfile or a step of it failed; carries file and line
    ├── ContainerError                a container cannot be started, stopped or changed
    │   ├── CannotRun                 the program exists but cannot be run; exit code 126
    │   └── ProgramNotFound           the program does not exist in the image; exit code 127
    ├── KernelError                   the emulated kernel is not there, or answered with a failure
    │   └── PlatformError             this host lacks something that the platform needs
    └── MachineError                  a virtual machine cannot be made, started or reached

A message names the action, the object and the reason; `hint` says what to do about it.
"""

from __future__ import annotations

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = "`pycontain image prune` and `pycontain container prune` make room"


class PycontainError(Exception):
    """A failure that ends a command with one line on standard error.

    exit_code is the status that the command line ends with (Docker's: 125 pycontain's own failure,
    126 cannot be run, 127 not found).
    """

    exit_code = 125

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ImageError(PycontainError):
    """A reference, digest, manifest or config that is not valid."""


class DigestMismatch(ImageError):
    """Content that is not what its digest or size promised."""


class StoreError(PycontainError):
    """The local store cannot do what was asked."""


class NotFound(StoreError):
    """No such image, layer, blob or container."""


class Conflict(StoreError):
    """The name is taken, or the object is in use."""


class LayerError(StoreError):
    """A layer that is malformed or hostile."""


class RegistryError(PycontainError):
    """A registry refused or failed.

    code is the distribution-spec error code (for example MANIFEST_UNKNOWN), status the HTTP status;
    either may be None where the registry never answered.
    """

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status


class BuildError(PycontainError):
    """A Dockerfile or a step of it failed. file and line say where (line counts from 1)."""

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, hint=hint)
        self.file = file
        self.line = line


class ContainerError(PycontainError):
    """A container cannot be started, stopped or changed."""


class CannotRun(ContainerError):
    """The program exists but cannot be run (Docker's exit code 126)."""

    exit_code = 126


class ProgramNotFound(ContainerError):
    """The program does not exist in the image (Docker's exit code 127)."""

    exit_code = 127


class KernelError(PycontainError):
    """The emulated kernel is not there, or answered with a failure."""


class PlatformError(KernelError):
    """This host lacks something that the platform needs."""


class MachineError(PycontainError):
    """A virtual machine cannot be made, started or reached."""
