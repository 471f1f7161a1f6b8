"""What a registry keeps on disk.

    ROOT/oci-layout                            the image-spec's marker, with its version
    ROOT/blobs/sha256/<hex>                    every blob and manifest once, under its digest
    ROOT/repositories/<name>/_blobs/<digest>       empty: this repository has the blob
    ROOT/repositories/<name>/_manifests/<digest>   JSON: mediaType, size
    ROOT/repositories/<name>/_tags/<tag>           the digest of a manifest
    ROOT/repositories/<name>/_referrers/<subject>/<digest>  descriptor of a manifest with that subject
    ROOT/repositories/<name>/_uploads/<id>         what has come of an upload; its size is its offset
    ROOT/lock                                  shared by servers, exclusive for garbage collection

A component of a repository's name never begins with an underscore, so the names above are free. A digest
is "sha256:<hex>" as a file name too. Every change is one rename or one link, made in an order that
leaves nothing dangling: content first, then what points to it.
"""
