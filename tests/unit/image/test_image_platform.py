from __future__ import annotations

import os

import pytest

from pycontain.errors import ImageError
from pycontain.image import Platform
from pycontain.image.platform import best


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("Linux/AArch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/amd64/v1", Platform("linux", "amd64")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("arm64", Platform("linux", "arm64")),
        ("windows/amd64", Platform("windows", "amd64")),
    ],
)
def test_parse(text: str, expected: Platform) -> None:
    assert Platform.parse(text) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/am d", "linux/\u00e9", "linux//v8"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="parse platform"):
        Platform.parse(text)


def test_the_host_is_linux_with_go_s_name_of_its_processor() -> None:
    host = Platform.host()
    assert host.os == "linux"
    if os.uname().machine == "x86_64":
        assert str(host) == "linux/amd64"
    assert Platform.parse("linux").architecture == host.architecture


def test_what_runs_on_what() -> None:
    parse = Platform.parse
    assert parse("linux/arm/v6").matches(parse("linux/arm/v7"))
    assert not parse("linux/arm/v7").matches(parse("linux/arm/v6"))
    assert parse("linux/arm").matches(parse("linux/arm/v7"))
    assert parse("linux/amd64").matches(parse("linux/amd64/v3"))
    assert not parse("linux/amd64/v3").matches(parse("linux/amd64"))
    assert not parse("linux/amd64").matches(parse("linux/arm64"))
    assert not parse("windows/amd64").matches(parse("linux/amd64"))
    assert not Platform("linux", "arm", "weird").matches(parse("linux/arm/v7"))


def test_the_best_of_several_wins() -> None:
    rows = [None, *map(Platform.parse, ("linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64"))]
    assert best(rows, Platform.parse("linux/arm/v7")) == 2
    assert best(rows, Platform.parse("linux/arm/v6")) == 3
    assert best(rows, Platform.parse("linux/amd64")) is None


def test_json() -> None:
    platform = Platform("linux", "arm", "v7", "10.0.1", ("feature",))
    assert Platform.from_json(platform.to_json()) == platform
    with pytest.raises(ImageError):
        Platform.from_json({"os": 1})
