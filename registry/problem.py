"""An error as the distribution specification wants it on the wire (section "Error Codes")."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pycontain.errors import RegistryError

Header = tuple[str, str]


class Problem(RegistryError):
    """Ends a request with an error response.

    status is the HTTP status, code the specification's (BLOB_UNKNOWN, NAME_INVALID, …), headers are
    added to the response. close tells that the connection cannot be used for another request, because
    nobody knows where the next one would begin.
    """

    status: int
    code: str

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Sequence[Header] = (),
        close: bool = False,
    ) -> None:
        super().__init__(message, code=code, status=status)
        self.headers = tuple(headers)
        self.close = close

    def body(self) -> bytes:
        """The JSON document {"errors": [{"code", "message"}]}."""
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode() + b"\n"


def bad_request(message: str, *, status: int = 400) -> Problem:
    """A request that is not HTTP as we accept it; the connection ends with the answer."""
    return Problem(status, "UNSUPPORTED", message, close=True)
