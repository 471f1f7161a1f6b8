"""registry: a container registry after the OCI distribution specification 1.1, runnable alone.

General layout:

    http/       HTTP/1.1 on sockets: channel request body ranges response server
    storage/    what is on disk: content (blobs) repository (links, tags, referrers) upload sweep (garbage)
    api/        one file per kind of endpoint: blobs uploads manifests tags referrers; routes finds them
    problem.py  an error as the specification wants it on the wire
    htpasswd.py who may enter
    commands.py serve, gc and htpasswd as click commands; `python -m registry` runs them

Common use, in a test or a program:

    with registry.serve("/srv/registry") as server:      # port 0: any free one
        print(server.url)                                # http://127.0.0.1:38211

The package imports nothing of pycontain but image and errors.
"""

from __future__ import annotations

from registry.app import Registry, serve
from registry.http.server import Server

__all__ = ["Registry", "Server", "serve"]
