"""Bringing one blob to a registry: mounted from a neighbour, in one piece, or in chunks."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from pycontain.client.connection import FilePayload
from pycontain.client.repository import Repository
from pycontain.client.transport import Failed, Response, resolve
from pycontain.errors import RegistryError

_CHUNK = 32 << 20  # bytes of a chunk, where a registry refuses a blob in one piece
_LEAST_CHUNK = 1 << 20


class Upload:
    """A blob, which is a file of size bytes here, on its way to a repository.

    sent gets the number of bytes that are under way; it may go back to 0 when an attempt fails.
    """

    def __init__(
        self,
        repository: Repository,
        digest: str,
        path: str,
        size: int,
        sent: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._repository = repository
        self._digest = digest
        self._path = path
        self._size = size
        self._sent = sent

    def run(self, origin: str | None = None) -> bool:
        """Mount the blob from the repository `origin` of the same registry, else upload it.

        Returns whether it was mounted. Raises RegistryError.
        """
        transport = self._repository.transport
        for attempt in range(1, transport.patience.attempts + 1):
            location = self._begin(origin)
            if location is None:
                return True
            try:
                self._send_whole(location)
                return False
            except _Broken as broken:
                # Nobody knows the upload's state now. It begins anew, unless it got through after all.
                if attempt == transport.patience.attempts:
                    raise broken.error
                transport.pause(attempt)
                if self._repository.has_blob(self._digest):
                    return False
        raise self._failure("no attempt was allowed")

    def _begin(self, origin: str | None) -> str | None:
        """Start an upload; returns its location, None if the blob was mounted."""
        repository = self._repository
        target, scope = repository.url("blobs", "uploads/"), repository.scope
        if origin:
            target += f"?mount={quote(self._digest)}&from={quote(origin, safe='')}"
            scope = f"{scope} repository:{origin}:pull"
        response = repository.request("POST", target, scope=scope)
        if origin and response.status == 201:
            response.finish()
            return None
        if origin and response.status in (401, 403):
            response.finish()  # we may not read there; so bring the bytes
            return self._begin(None)
        if response.status != 202:
            raise self._error(response)
        response.finish()
        return self._location(response)

    def _send_whole(self, location: str) -> None:
        payload = FilePayload(self._path, 0, self._size, self._sent)
        response = self._send("PUT", self._finishing(location), payload)
        if response.status == 413 and self._size:
            # A proxy in front of the registry has a limit, and chunks may fit under it.
            response.finish()
            fresh = self._begin(None)
            if fresh is not None:
                self._send_chunks(fresh)
            return
        self._check_stored(response)

    def _send_chunks(self, location: str) -> None:
        chunk, offset = _CHUNK, 0
        while offset < self._size:
            count = min(chunk, self._size - offset)

            def sent(done: int, before: int = offset) -> None:
                self._sent(before + done)

            payload = FilePayload(self._path, offset, count, sent)
            response = self._send("PATCH", location, payload, f"{offset}-{offset + count - 1}")
            if response.status == 413 and chunk > _LEAST_CHUNK:
                response.finish()
                chunk //= 4
                continue
            if response.status not in (202, 204):
                raise self._error(response)
            response.finish()
            location = self._location(response)
            offset += count
        self._check_stored(self._send("PUT", self._finishing(location), None))

    def _send(
        self, method: str, url: str, payload: FilePayload | None, content_range: str | None = None
    ) -> Response:
        headers = {"Content-Type": "application/octet-stream"}
        if content_range:
            headers["Content-Range"] = content_range
        try:
            return self._repository.request(method, url, headers=headers, payload=payload, retry=False)
        except Failed as error:
            raise _Broken(error)

    def _check_stored(self, response: Response) -> None:
        if response.status in (201, 204):
            response.finish()
            return
        error = self._error(response)
        if response.status >= 500 or response.status in (404, 408, 429):
            raise _Broken(error)
        raise error

    def _location(self, response: Response) -> str:
        location = response.headers.get("location")
        if not location:
            raise self._failure("the registry did not say where to")
        # Relative to what was asked, which may have been another host after a redirect.
        return resolve(response.url, location)

    def _finishing(self, location: str) -> str:
        return f"{location}{'&' if urlsplit(location).query else '?'}digest={quote(self._digest)}"

    def _error(self, response: Response) -> RegistryError:
        return self._repository.transport.error(f"push blob {self._digest}", response)

    def _failure(self, reason: str) -> RegistryError:
        return RegistryError(f"push blob {self._digest}: {reason}")


class _Broken(Exception):
    """An attempt that did not end; another may."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(str(error))
        self.error = error
