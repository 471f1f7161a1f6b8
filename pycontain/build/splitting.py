"""An instruction's text in its parts: keyword, flags, arguments, name=value pairs, JSON lists."""

from __future__ import annotations

import re

from pycontain.build.lines import json_list

SPACE = re.compile(r"[\t\v\f\r ]+")


def split_instruction(text: str, escape: str) -> tuple[str, list[str], str]:
    """The keyword in capitals, the flags (`--name` or `--name=value`, quotes removed), and the rest."""
    parts = SPACE.split(text.strip(), maxsplit=1)
    rest = parts[1].strip() if len(parts) > 1 else ""
    flags, rest = split_flags(rest, escape)
    return parts[0].upper(), flags, rest


def split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """The leading `--flag` words, up to the first other word or a lone `--`."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        word, at = _word(text, at, escape, raw=False)
        if word == "--":
            return flags, text[at:].lstrip()
        flags.append(word)


def split_words(text: str, escape: str) -> list[str]:
    """Words with their quotes and escapes kept, for ENV, LABEL and ARG."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return words
        word, at = _word(text, at, escape, raw=True)
        words.append(word)


def _word(text: str, at: int, escape: str, *, raw: bool) -> tuple[str, int]:
    """One word from `at`, and the index behind it; raw keeps quotes and escapes."""
    out: list[str] = []
    quote = ""
    while at < len(text):
        char = text[at]
        at += 1
        if not quote and char.isspace():
            break
        if char == escape and quote != "'":
            if at == len(text):
                break  # a lone escape character at the end is dropped
            out.append(char + text[at] if raw else text[at])
            at += 1
        elif char == quote or (not quote and char in "\"'"):
            quote = "" if quote else char
            if raw:
                out.append(char)
        else:
            out.append(char)
    return "".join(out), at


def split_pairs(text: str, escape: str, keyword: str) -> list[tuple[str, str]]:
    """name=value pairs, or the old form `name the whole rest`. Raises ValueError."""
    words = split_words(text, escape)
    if not words:
        raise ValueError(f"{keyword} requires at least one argument")
    if "=" not in words[0]:
        parts = SPACE.split(text, maxsplit=1)
        if len(parts) < 2:
            raise ValueError(f"{keyword} must have two arguments")
        return [(parts[0], parts[1])]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"can't find = in {word!r}: must be of the form name=value")
        if not name:
            raise ValueError(f"{keyword} names can not be blank")
        pairs.append((name, value))
    return pairs


def split_json(text: str) -> list[str] | None:
    """The strings of a JSON list, None where the text is no JSON list. Raises ValueError for other items."""
    items = json_list(text)
    if items is None:
        return None
    strings = [item for item in items if isinstance(item, str)]
    if len(strings) != len(items):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return strings
