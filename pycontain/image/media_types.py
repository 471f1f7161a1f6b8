"""Names of formats (image-spec media-types.md; Docker's "Image Manifest Version 2, Schema 2")."""

from __future__ import annotations

from pycontain.errors import ImageError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPT = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""What a client asks a registry for."""

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"

_LAYERS = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    OCI_FOREIGN: "none",
    OCI_FOREIGN + "+gzip": "gzip",
    OCI_FOREIGN + "+zstd": "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_FOREIGN_GZIP: "gzip",
}

_TO_OCI = {
    DOCKER_LIST: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_FOREIGN_GZIP: OCI_FOREIGN + "+gzip",
}


def is_layer(media_type: str) -> bool:
    """Whether this is a file system layer (a tar, perhaps compressed) that we can read."""
    return media_type in _LAYERS


def compression_of(media_type: str) -> str:
    """ "gzip", "zstd" or "none"; ImageError for what is no layer (an encrypted one, or an artifact's)."""
    try:
        return _LAYERS[media_type]
    except KeyError:
        raise ImageError(
            f"read layer: the media type {media_type[:200]!r} is not a file system layer"
        ) from None


def layer_type(compression: str) -> str:
    """The OCI media type of a layer with this compression ("gzip", "zstd" or "none")."""
    types = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
    if compression not in types:
        raise ImageError(
            f"write layer: the compression {compression[:40]!r} is not known", hint="zstd, gzip or none"
        )
    return types[compression]


def to_oci(media_type: str) -> str:
    """The OCI name of a Docker format; every other name stays as it is. The bytes are the same in both."""
    return _TO_OCI.get(media_type, media_type)
