"""Quotes, escapes and variables, against what the Dockerfile reference and a shell say."""

from __future__ import annotations

import pytest

from pycontain.build.words import MAX_WORD, Expander, WordError

VARIABLES = {
    "x": "value",
    "empty": "",
    "path": "/usr/lib/python3/site.py",
    "two": "one two",
    "star": "a*b*c",
    "PWD": "/home",
    "1": "first",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$x", "value"),
        ("${x}", "value"),
        ("$x$x", "valuevalue"),
        ("$unset", ""),
        ("a${unset}b", "ab"),
        ("$x.y", "value.y"),
        ("$xy", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$,", "$,"),
        ("$1", "first"),
        ("$12", ""),
        ("$1a", "firsta"),
        ("$@$*$#$?$-$!$0", ""),
        ("$$x", "x"),  # $$ is a special parameter, and not set
        # escapes and quotes
        (r"\$x", "$x"),
        (r"\\$x", r"\value"),
        (r"a\b", "ab"),
        ("a\\", "a"),
        ("'$x'", "$x"),
        ('"$x"', "value"),
        (r'"\$x"', "$x"),
        (r'"a\b\"c\\"', r'a\b"c' + "\\"),
        ("'a\\'", "a\\"),
        ("""'it'"'"'s'""", "it's"),
        ('""', ""),
        # defaults
        ("${x:-w}", "value"),
        ("${unset:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset-w}", "w"),
        ("${unset:-}", ""),
        ("${unset:-${x}}", "value"),
        ("${unset:-${nope:-deep}}", "deep"),
        ("${unset:-'a b'}", "a b"),
        (r"${unset:-a\}b}", "a}b"),
        ("${unset:-$x/y}", "value/y"),
        ("${x:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${x:?bad}", "value"),
        ("${empty?bad}", ""),
        # prefixes and suffixes
        ("${path#*/}", "usr/lib/python3/site.py"),
        ("${path##*/}", "site.py"),
        ("${path%/*}", "/usr/lib/python3"),
        ("${path%%/*}", ""),
        ("${path%.py}", "/usr/lib/python3/site"),
        ("${path#nothing}", "/usr/lib/python3/site.py"),
        ("${path#/us?}", "/lib/python3/site.py"),
        (r"${star#a\*}", "b*c"),
        (r"${star%\*c}", "a*b"),
        ("${star##*b}", "*c"),
        ("${unset#a}", ""),
        ("${empty%a}", ""),
        ("${path#}", "/usr/lib/python3/site.py"),
        ("${x#[v]}", "value"),  # there are no character sets
        # replacements
        ("${x/a/A}", "vAlue"),
        ("${path//\\//_}", "_usr_lib_python3_site.py"),
        ("${path/\\//_}", "_usr/lib/python3/site.py"),
        ("${x/l*/X}", "vaX"),
        ("${x/nothing/X}", "value"),
        ("${x/e/}", "valu"),
        ("${x/u/$PWD}", "val/homee"),
        ("${x//?/y}", "yyyyy"),
        ("${unset/a/b}", ""),
    ],
)
def test_word(text: str, expected: str) -> None:
    assert Expander(VARIABLES).word(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${", "missing '}'"),
        ("${x", "missing '}'"),
        ("${x:-a", "missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{x}}", "bad substitution"),
        ("${x=w}", "unsupported modifier (=)"),
        ("${x:=w}", "unsupported modifier (:=)"),
        ("${x:#w}", "unsupported modifier (:#)"),
        ("${x:}", "unsupported modifier"),
        ("${x!}", "unsupported modifier"),
        ("${unset:?must be set}", "unset: must be set"),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${x/a}", "missing '/'"),
        ("${x/a/b", "missing '}'"),
        (r"${x#\q}", "invalid escape"),
        ("'open", "single-quote"),
        ('"open', "double-quote"),
        ('"$x', "double-quote"),
        ("${a:-" * 5000, "too deeply"),
        ("${a:-" * 50, "missing"),
    ],
)
def test_word_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(WordError) as caught:
        Expander(VARIABLES).word(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("$two", ["one", "two"]),
        ('"$two"', ["one two"]),
        ("x$two y", ["xone", "two", "y"]),
        (r"a\ b", ["a b"]),
        ("$unset", []),
        ("", []),
        ("'a b'c d", ["a bc", "d"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert Expander(VARIABLES).words(text) == expected


def test_another_escape_character() -> None:
    expander = Expander(VARIABLES, "`")
    assert expander.word(r"C:\dir\$x") == r"C:\dir\value"
    assert expander.word("`$x") == "$x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$unset ${unset:-a} ${unset}", "$unset ${unset:-a} ${unset}"), ("$x ${unset?}", "value ${unset?}")],
)
def test_unset_variables_can_stay(text: str, expected: str) -> None:
    assert Expander(VARIABLES, skip_unset=True).word(text) == expected


def test_raw_keeps_quotes_and_escapes() -> None:
    expander = Expander(VARIABLES, raw_quotes=True, raw_escapes=True)
    assert expander.words(r"""'a b' "c" d\ e""") == ["'a b'", '"c"', r"d\ e"]


def test_the_body_of_a_heredoc_has_no_quotes() -> None:
    assert Expander(VARIABLES, skip_quotes=True).word('it\'s "$x"') == 'it\'s "value"'


def test_doubling_ends_at_a_limit() -> None:
    variables = {"a": "a" * (MAX_WORD // 2)}
    with pytest.raises(WordError, match="grows"):
        Expander(variables).word("$a$a$a")
    with pytest.raises(WordError, match="grows"):
        Expander({"a": "b" * 100_000, "c": "d" * 1000}).word("${a//b/$c}")
