"""Words of a Dockerfile: quotes, escapes and variables, as a shell reads them.

    $x ${x}                     the value, "" when unset
    ${x:-w} ${x-w}              w when x is unset (with the colon: or empty)
    ${x:+w} ${x+w}              w when x is set (with the colon: and not empty)
    ${x:?w} ${x?w}              the error w when x is unset (with the colon: or empty)
    ${x#p} ${x##p}              the value without its shortest / longest prefix that matches p
    ${x%p} ${x%%p}              the same for a suffix
    ${x/p/r} ${x//p/r}          the first match of p / all matches replaced by r

Source: the Dockerfile reference, "Environment replacement"; POSIX.1-2017 XCU 2.6.2 for the patterns, of
which only `*`, `?` and backslash exist here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_WORD = 1 << 20  # characters; ENV a=$a$a doubles with each line
MAX_DEPTH = 100
SPECIAL_PARAMETERS = frozenset("@*#?-$!0")


class WordError(ValueError):
    """A word that cannot be read; the caller knows the file and line."""


class Expander:
    """Reads words with one set of variables.

    escape       the escape character of the file
    raw_quotes   keep quotes in the result
    raw_escapes  keep escape characters in the result
    skip_unset   leave a variable that is not set as it was written
    skip_quotes  quotes are ordinary characters (the body of a heredoc)
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        escape: str = "\\",
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        skip_unset: bool = False,
        skip_quotes: bool = False,
    ) -> None:
        self.variables = variables
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.skip_unset = skip_unset
        self.skip_quotes = skip_quotes

    def word(self, text: str) -> str:
        """The text with quotes removed and variables replaced, not split. Raises WordError."""
        if "$" not in text and self.escape not in text and '"' not in text and "'" not in text:
            return text
        return _Reader(self, text).until("", self.raw_escapes)[0]

    def words(self, text: str) -> list[str]:
        """The text split at spaces outside quotes, after variables are replaced. Raises WordError."""
        return _Reader(self, text).until("", self.raw_escapes)[1]


class _Words:
    """Collects words: `char` splits at spaces, `raw` does not."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._word: list[str] = []

    def char(self, text: str) -> None:
        for part in re.split(r"(\s+)", text):
            if part and part.isspace():
                self.end()
            elif part:
                self._word.append(part)

    def raw(self, text: str) -> None:
        self._word.append(text)

    def end(self) -> None:
        word = "".join(self._word)
        if word:
            self.words.append(word)
        self._word.clear()


class _Reader:
    """One pass over one text."""

    def __init__(self, rules: Expander, text: str) -> None:
        self.rules = rules
        self.text = text
        self.at = 0
        self.depth = 0
        self.raw_escapes = rules.raw_escapes

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def next(self) -> str:
        char = self.peek()
        self.at += 1
        return char

    def until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Read up to the character `stop` ("" for the end): the text as one, and split into words."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise WordError("variables are nested too deeply")
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        out: list[str] = []
        words = _Words()
        length = 0
        special = "$" + self.rules.escape + stop + ("" if self.rules.skip_quotes else "'\"")
        ordinary = re.compile(f"[^{re.escape(special)}]+")
        while (char := self.peek()) != "":
            if char == stop:
                self.at += 1
                break
            if char == "$":
                piece = self.dollar()
                words.char(piece)
            elif char == "'" and not self.rules.skip_quotes:
                piece = self.single_quoted()
                words.raw(piece)
            elif char == '"' and not self.rules.skip_quotes:
                piece = self.double_quoted()
                words.raw(piece)
            elif char == self.rules.escape:
                piece = self.escaped()
                words.raw(piece)
            else:
                run = ordinary.match(self.text, self.at)
                piece = run[0] if run else char
                self.at += len(piece)
                words.char(piece)
            out.append(piece)
            length += len(piece)
            if length > MAX_WORD:
                raise WordError(f"a value grows over {MAX_WORD} characters")
        else:
            if stop:
                raise WordError(f"syntax error: missing '{stop}' in ${{}}")
        self.raw_escapes = outer
        self.depth -= 1
        words.end()
        return "".join(out), words.words

    def escaped(self) -> str:
        """The escape character and what follows; at the end of the text the escape character vanishes."""
        mark = self.next()
        char = self.next()
        return mark + char if self.raw_escapes else char

    def single_quoted(self) -> str:
        start = self.at
        end = self.text.find("'", start + 1)
        if end < 0:
            raise WordError("unexpected end of statement while looking for matching single-quote")
        self.at = end + 1
        return self.text[start : end + 1] if self.rules.raw_quotes else self.text[start + 1 : end]

    def double_quoted(self) -> str:
        quote = self.next()
        out = [quote] if self.rules.raw_quotes else []
        while True:
            char = self.peek()
            if char == "":
                raise WordError("unexpected end of statement while looking for matching double-quote")
            if char == quote:
                self.at += 1
                if self.rules.raw_quotes:
                    out.append(quote)
                return "".join(out)
            if char == "$":
                out.append(self.dollar())
                continue
            self.at += 1
            if char == self.rules.escape:
                following = self.peek()
                if following and following in f'"${self.rules.escape}':
                    if self.raw_escapes:
                        out.append(char)
                    char = self.next()
            out.append(char)

    def dollar(self) -> str:
        start = self.at
        self.at += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.rules.variables.get(name)
            if value is None:
                return "$" + name if self.rules.skip_unset else ""
            return value
        self.at += 1
        if self.peek() == "":
            raise WordError("syntax error: missing '}'")
        if self.peek() in "{}:":
            raise WordError("syntax error: bad substitution")
        name = self.name()
        value = self.rules.variables.get(name)
        result = self.modified(name, value)
        if value is None and self.rules.skip_unset:
            return self.text[start : self.at]
        if len(result) > MAX_WORD:
            raise WordError(f"a value grows over {MAX_WORD} characters")
        return result

    def modified(self, name: str, value: str | None) -> str:
        """The rest of `${name...}` after the name."""
        modifier = self.next()
        if modifier == "":
            raise WordError("syntax error: missing '}'")
        if modifier == "}":
            return value or ""
        if modifier == "/":
            return self.replaced(value or "")
        colon = modifier == ":"
        if colon:
            modifier = self.next()
        written = ":" + modifier if colon else modifier
        if modifier in ("#", "%") and not colon:
            pattern = self.until("}", True)[0]
            longest = pattern[:1] == modifier
            return trim(value or "", pattern[longest:], modifier == "%", longest)
        if not modifier or modifier not in "+-?":
            raise WordError(f"unsupported modifier ({written}) in substitution")
        word = self.until("}", False)[0]
        missing = value is None or (colon and value == "")
        if modifier == "+":
            return "" if missing else word
        if not missing:
            return value or ""
        if modifier == "-" or (self.rules.skip_unset and value is None):
            return word
        lack = "unset" if value is None else "empty"
        raise WordError(f"{name}: {word or f'is not allowed to be {lack}'}")

    def replaced(self, value: str) -> str:
        everywhere = self.peek() == "/"
        if everywhere:
            self.at += 1
        pattern = self.until("/", True)[0]
        replacement = self.until("}", True)[0]
        compiled = shell_pattern(pattern, greedy=True)
        return compiled.sub(lambda _: replacement, value, count=0 if everywhere else 1)

    def name(self) -> str:
        """A variable's name, a positional number, a special parameter, or ""."""
        start = self.at
        if self.peek().isdigit():
            while self.peek().isdigit():
                self.at += 1
        elif self.peek() in SPECIAL_PARAMETERS:
            self.at += 1
        else:
            while (char := self.peek()) and (char.isalnum() or char == "_"):
                self.at += 1
        return self.text[start : self.at]


def shell_pattern(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    """A shell pattern of `*`, `?` and backslash escapes as a regular expression. Raises WordError."""
    out: list[str] = []
    star = ".*" if greedy else ".*?"
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not out or out[-1] != star:  # ** is *, and would make the match slow
                out.append(star)
        elif char == "?":
            out.append(".")
        elif char == "\\":
            escaped = pattern[at : at + 1]
            at += 1
            if not escaped or escaped not in "*?\\}/":
                raise WordError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
            out.append(re.escape(escaped))
        else:
            out.append(re.escape(char))
    return re.compile("".join(out))


def trim(value: str, pattern: str, suffix: bool, longest: bool) -> str:
    """The value without what matches the pattern at its beginning, or with suffix at its end."""
    if not suffix:
        found = shell_pattern(pattern, greedy=longest).match(value)
        return value[found.end() :] if found else value
    compiled = shell_pattern(pattern, greedy=True)
    starts = range(len(value) + 1) if longest else range(len(value), -1, -1)
    for start in starts:
        if compiled.fullmatch(value, start):
            return value[:start]
    return value
