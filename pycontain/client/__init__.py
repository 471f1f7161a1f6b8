"""The client of container registries (OCI distribution specification 1.1).

General layout:

    pull.py         an image from a registry into the store, in one pass over its bytes
    push.py         an image from the store to a registry, which gets only what it lacks
    progress.py     what both tell of how far they are
    repository.py   the specification's operations on one repository: manifests, blobs, uploads, tags
    transport.py    one request: authorised, retried, redirected
    connection.py   sockets to registries: TLS, proxies, timeouts, a pool that keeps them alive
    authorizer.py   bearer tokens and basic authentication, from a registry's challenge
    challenge.py    the WWW-Authenticate header
    credentials.py  ~/.docker/config.json

Common use:

    image = pull(store, Reference.parse("localhost:5000/hello"), None, Silent())
    push(store, Reference.parse("localhost:5000/hello"), Silent())

Nothing here is imported by the path of `pycontain run`, unless an image has to be pulled.
"""

from __future__ import annotations

from pycontain.client.progress import Progress, Silent
from pycontain.client.pull import pull
from pycontain.client.push import push

__all__ = ["Progress", "Silent", "pull", "push"]
