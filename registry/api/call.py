"""One request, taken apart as the endpoints need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pycontain.image.digest import is_digest
from registry.http.body import Body
from registry.http.request import Request
from registry.problem import Problem
from registry.storage.repository import Repository

if TYPE_CHECKING:
    from registry.app import Registry

MAX_PAGE = 10_000  # names in one answer, if the client does not ask for fewer


class Call(NamedTuple):
    """registry, request, body, the repository that the path names, and the path's other parts."""

    registry: Registry
    request: Request
    body: Body
    repository: Repository
    parts: Mapping[str, str]

    def digest(self) -> str:
        """The digest in the path; Problem DIGEST_INVALID if it is none."""
        return checked_digest(self.parts["digest"])


def checked_digest(text: str) -> str:
    """text if it is a digest; Problem DIGEST_INVALID if not."""
    if not is_digest(text):
        raise Problem(400, "DIGEST_INVALID", f"{text[:160]!r} is not a digest (sha256 or sha512)")
    return text


def page(request: Request, names: list[str], path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The names that `n` and `last` ask for, of a sorted list, and the Link header to the next page."""
    last = request.argument("last")
    if last is not None:
        names = [name for name in names if name > last]
    wanted = request.argument("n")
    if wanted is not None and not (wanted.isascii() and wanted.isdigit()):
        raise Problem(400, "PAGINATION_NUMBER_INVALID", f"n={wanted[:40]!r} is not a number")
    limit = min(int(wanted[:9]), MAX_PAGE) if wanted is not None else MAX_PAGE
    if len(names) <= limit or limit == 0:
        return names[:limit], []
    names = names[:limit]
    link = f'<{path}?n={limit}&last={quote(names[-1], safe="")}>; rel="next"'
    return names, [("Link", link)]
