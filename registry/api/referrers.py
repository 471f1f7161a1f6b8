"""The manifests whose subject is a given one (end-12)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from pycontain.image.media_types import OCI_INDEX
from registry.api.call import Call
from registry.api.manifests import MAX_MANIFEST
from registry.http.response import Response
from registry.problem import Header


def list_referrers(call: Call) -> Response:
    """An image index of referrers; never 404, for what has no referrers has an empty list.

    A client takes at most a manifest's size, so a longer list comes in pages (Link).
    """
    subject = call.digest()
    wanted = call.request.argument("artifactType")
    last = call.request.argument("last") or ""
    headers: list[Header] = [("Content-Type", OCI_INDEX)]
    if wanted:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    found: list[dict[str, Any]] = []
    size = 200
    for descriptor in call.repository.referrers(subject):
        if descriptor["digest"] <= last or (wanted and descriptor.get("artifactType") != wanted):
            continue
        size += len(json.dumps(descriptor)) + 2
        if size > MAX_MANIFEST and found:
            more = {"last": found[-1]["digest"]} | ({"artifactType": wanted} if wanted else {})
            path = f"/v2/{call.repository.name}/referrers/{subject}?{urlencode(more)}"
            headers.append(("Link", f'<{path}>; rel="next"'))
            break
        found.append(descriptor)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    return Response(200, headers, json.dumps(index).encode())
