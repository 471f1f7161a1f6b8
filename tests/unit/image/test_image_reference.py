from __future__ import annotations

import pytest

from pycontain.errors import ImageError
from pycontain.image import Reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("hello", "docker.io/library/hello:latest", "hello:latest"),
        ("hello:v1", "docker.io/library/hello:v1", "hello:v1"),
        ("docker.io/hello", "docker.io/library/hello:latest", "hello:latest"),
        ("index.docker.io/library/hello", "docker.io/library/hello:latest", "hello:latest"),
        ("user/hello", "docker.io/user/hello:latest", "user/hello:latest"),
        ("host/base", "docker.io/host/base:latest", "host/base:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("host:5000/a/b:v1", "host:5000/a/b:v1", "host:5000/a/b:v1"),
        ("reg.example/a/b/c", "reg.example/a/b/c:latest", "reg.example/a/b/c:latest"),
        ("Host/x", "Host/x:latest", "Host/x:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest", "a__b/c-d.e---f:latest"),
        (f"x@sha256:{HEX}", f"docker.io/library/x@sha256:{HEX}", f"x@sha256:{HEX}"),
        (f"x:v@sha256:{HEX}", f"docker.io/library/x:v@sha256:{HEX}", f"x:v@sha256:{HEX}"),
    ],
)
def test_names_are_normalised_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert Reference.parse(full) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a:",
        "a//b",
        "x:y:z",
        HEX,
        "-a",
        "a-",
        "a_-b",
        "a..b",
        "a/B",
        "a@b",
        ":x",
        "a/",
        "/a",
        "a b",
        "x@sha256:abc",
        "x@md5:" + HEX,
        f"x@sha256:{HEX.upper()}",
        "x:" + "t" * 129,
        "reg.example:x/y",
        "x:é",
        "reg.example/" + "a" * 256,
        "a\n",
        "a:b\n",
        "-bad.example/x",
        "١٢",
        "x@",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="parse"):
        Reference.parse(text)


def test_parts() -> None:
    reference = Reference.parse("localhost:5000/a/b:v1")
    assert (reference.registry, reference.path, reference.tag) == ("localhost:5000", "a/b", "v1")
    assert reference.name == "localhost:5000/a/b"
    assert reference.familiar_name == "localhost:5000/a/b"
    assert reference.with_tag("v2") == Reference("localhost:5000", "a/b", "v2")
    pinned = reference.with_digest(f"sha256:{HEX}")
    assert pinned.target == f"sha256:{HEX}"
    assert reference.target == "v1"
    with pytest.raises(ImageError):
        reference.with_tag("not valid")
