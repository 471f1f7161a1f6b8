"""Which function answers which request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from registry.api import blobs, manifests, referrers, tags, uploads
from registry.api.call import Call
from registry.http.response import Response

Endpoint = Callable[[Call], Response]

# The name is greedy, for a repository may be called a/manifests/b; whether it is a name at all is
# checked afterwards, so that the answer can say so.
ROUTES: tuple[tuple[re.Pattern[str], Mapping[str, Endpoint]], ...] = (
    (
        re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?"),
        {"POST": uploads.post_upload},
    ),
    (
        re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<upload>[^/]+)"),
        {
            "GET": uploads.get_upload,
            "PATCH": uploads.patch_upload,
            "PUT": uploads.put_upload,
            "DELETE": uploads.delete_upload,
        },
    ),
    (
        re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)"),
        {"GET": blobs.get_blob, "HEAD": blobs.get_blob, "DELETE": blobs.delete_blob},
    ),
    (
        re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)"),
        {
            "GET": manifests.get_manifest,
            "HEAD": manifests.get_manifest,
            "PUT": manifests.put_manifest,
            "DELETE": manifests.delete_manifest,
        },
    ),
    (re.compile(r"/v2/(?P<name>.+)/tags/list"), {"GET": tags.list_tags}),
    (re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)"), {"GET": referrers.list_referrers}),
)
