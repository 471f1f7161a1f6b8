"""Dockerfiles that mean harm: only PycontainError may come out, soon, and with the line."""

from __future__ import annotations

import random
import time

import pytest

from pycontain.build.parser import parse
from pycontain.build.planner import plan
from pycontain.errors import BuildError, PycontainError
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference

SEED = 20_240_101
PIECES = [
    "FROM scratch", "FROM a AS b", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "ONBUILD ",
    "HEALTHCHECK ", "CMD ", "SHELL ", "EXPOSE ", "VOLUME ", "LABEL ", "STOPSIGNAL ", "WORKDIR ",
    "USER ", "MAINTAINER ", "# escape=`", "--from=", "--chmod=", "--mount=type=cache", "<<EOF",
    "<<-'A B'", "EOF", "\\\n", "\n", "\n", "\n", " ", "\t", "${", "}", "${x:-", "$x", "'", "\"",
    "\\", "[", "]", "[\"a\"]", "=", "x=1", "#", "\r", "\u2028", "\u00e9", "0/tcp", "9-1", "*",
    "../..", "http://", "CMD", "NONE", "1h", "--", "\u0085", "\u001c",
]  # fmt: skip


def no_image(reference: Reference, platform: Platform) -> object:
    raise BuildError(f"no image {reference}")


def attempt(data: bytes) -> None:
    """Parse and plan; anything but PycontainError fails the test."""
    try:
        plan(parse(data, "Dockerfile"), no_image, build_args={"x": "y"})  # type: ignore[arg-type]
    except PycontainError as error:
        assert str(error)


def test_random_pieces() -> None:
    chance = random.Random(SEED)
    for _ in range(3000):
        body = "".join(chance.choices(PIECES, k=chance.randrange(1, 30)))
        attempt(f"FROM scratch\n{body}".encode())


def test_random_bytes() -> None:
    chance = random.Random(SEED)
    for _ in range(1000):
        attempt(chance.randbytes(chance.randrange(200)))
        attempt(b"FROM scratch\nRUN " + chance.randbytes(50))


def test_a_hundred_thousand_lines() -> None:
    started = time.monotonic()
    assert len(parse(b"FROM scratch\n" + b"RUN x\n" * 100_000).instructions) == 100_001
    parse(b"FROM scratch\nRUN a" + b" \\\n b" * 100_000)
    parse(b"FROM scratch\nRUN <<EOF\n" + b"x\n" * 100_000 + b"EOF\n")
    parse(b"FROM scratch\nRUN a \\\n" + b"# comment\n" * 100_000 + b"b")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"FROM scratch\nRUN " + b"x" * 65536, "Dockerfile:2: dockerfile line greater than max allowed size"),
        (b"FROM scratch\n" * 201, "more than 200 stages"),
        (b"FROM scratch\nRUN a\0b", "Dockerfile:2: a NUL byte"),
        (b"FROM scratch\n\nRUN \xff", "Dockerfile:3: not valid UTF-8"),
        (b"FROM scratch\n" + b"x" * (17 << 20), "over 16 MiB"),
        (b"FROM scratch\nENV a=" + b"${b:-" * 10_000, "Dockerfile:2: ENV: variables are nested too deeply"),
        (b"FROM scratch\nCMD " + b"[" * 60_000, ""),
    ],
)
def test_limits(data: bytes, reason: str) -> None:
    if not reason:
        attempt(data)  # deep JSON is no JSON: the shell's problem
        return
    with pytest.raises(BuildError) as caught:
        plan(parse(data, "Dockerfile"), no_image)  # type: ignore[arg-type]
    assert str(caught.value).startswith(reason) or reason in str(caught.value)


def test_a_line_of_the_longest_size_is_fine() -> None:
    assert len(parse(b"FROM scratch\nRUN " + b"x" * (65535 - 5) + b"\n").instructions) == 2


def test_variables_that_double() -> None:
    text = b"FROM scratch\nENV a=" + b"x" * 1000 + b"\n" + b"ENV a=$a$a\n" * 60
    with pytest.raises(BuildError, match=r"Dockerfile:\d+: ENV: a value grows over"):
        plan(parse(text), no_image)  # type: ignore[arg-type]


def test_ports_without_end() -> None:
    with pytest.raises(BuildError, match="invalid port"):
        plan(parse(b"FROM scratch\nEXPOSE 1-99999999999"), no_image)  # type: ignore[arg-type]


@pytest.mark.parametrize("link", ["FROM scratch AS s{n}\nCOPY --from=s{p} / /\n", "FROM s{p} AS s{n}\n"])
def test_long_chains_of_stages(link: str) -> None:
    text = "FROM scratch AS s0\n" + "".join(link.format(n=n, p=n - 1) for n in range(1, 199))
    assert len(plan(parse(text.encode()), no_image).stages) == 199  # type: ignore[arg-type]
