"""Lists of tags and of repositories (end-8; Docker's _catalog)."""

from __future__ import annotations

import json

from registry.api.call import Call, page
from registry.http.request import Request
from registry.http.response import Response
from registry.problem import Problem
from registry.storage.content import Content
from registry.storage.repository import repositories

_JSON = ("Content-Type", "application/json")


def list_tags(call: Call) -> Response:
    """The repository's tags in ASCII order, a page at a time."""
    name = call.repository.name
    if not call.repository.exists():
        raise Problem(404, "NAME_UNKNOWN", f"there is no repository {name}")
    tags, link = page(call.request, call.repository.tags(), f"/v2/{name}/tags/list")
    return Response(200, [_JSON, *link], json.dumps({"name": name, "tags": tags}).encode())


def list_repositories(content: Content, request: Request) -> Response:
    """The names of all repositories that have had a manifest."""
    every = sorted(repository.name for repository in repositories(content) if repository.exists())
    names, link = page(request, every, "/v2/_catalog")
    return Response(200, [_JSON, *link], json.dumps({"repositories": names}).encode())
