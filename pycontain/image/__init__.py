"""Values of the OCI image specification: immutable, no input or output, one noun per file.

General layout:

    document.py     JSON from strangers: limits, and typed access with clear errors
    digest.py       "sha256:<hex>": parsing, computing, verifying a stream
    reference.py    "registry/repository:tag@digest" with Docker's normalisation
    platform.py     "os/architecture/variant" and what runs on what
    media_types.py  names of formats, OCI and Docker schema 2, and the way from the latter to the former
    descriptor.py   a typed, sized pointer to content
    manifest.py     an image manifest, or an index of them
    config.py       an image's configuration: how to run it, its layers' diff ids, its history

Values are named tuples: they start quickly (no generated code), compare, hash and `_replace`.
"""

from __future__ import annotations

from pycontain.image.config import Healthcheck, History, ImageConfig, RunConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.digest import Verifier, digest_bytes, hasher, parse_digest
from pycontain.image.manifest import Index, Manifest, parse_manifest
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

__all__ = [
    "Descriptor",
    "Healthcheck",
    "History",
    "ImageConfig",
    "Index",
    "Manifest",
    "Platform",
    "Reference",
    "RunConfig",
    "Verifier",
    "digest_bytes",
    "hasher",
    "parse_digest",
    "parse_manifest",
]
