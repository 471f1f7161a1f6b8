"""The WWW-Authenticate header."""

from __future__ import annotations

import random

import pytest

from pycontain.client.challenge import parse_challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a"', [("basic", {"realm": "a"})]),
        (
            'Bearer realm="https://x/token",service="s",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://x/token", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        ('BEARER Realm = "q\\"u\\\\o" , x=y', [("bearer", {"realm": 'q"u\\o', "x": "y"})]),
        (
            'Basic realm="a", Bearer realm="b",service=c',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="never ends', [("bearer", {})]),
        ("Bearer realm=a, realm=b", [("bearer", {"realm": "a"})]),
        ('="', []),
    ],
)  # fmt: skip
def test_parse(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = parse_challenges(header)
    assert [tuple(each) for each in found][: len(expected)] == expected


def test_any_text_is_read_quickly_and_without_failing() -> None:
    random_ = random.Random(1)
    pieces = [
        "Bearer",
        "Basic",
        " ",
        ",",
        "=",
        '"',
        "\\",
        "realm",
        "a",
        "\t",
        "\r",
        "\0",
        "é",
        "x" * 50,
        "==",
    ]
    for _ in range(5000):
        for challenge in parse_challenges("".join(random_.choices(pieces, k=random_.randrange(40)))):
            assert challenge.scheme == challenge.scheme.lower()
    for hostile in (
        'Bearer a="' + "\\" * 200_000,
        "a " * 100_000,
        "," * 200_000,
        "a=" * 100_000,
        "Bearer " + "a" * 200_000,
    ):
        parse_challenges(hostile)
