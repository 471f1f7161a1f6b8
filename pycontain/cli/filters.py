"""--filter KEY=VALUE: the same key again is one more possibility, another key one more condition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pycontain.cli.options import UsageError


class Filters:
    """The filters of one command line; known: the keys that the verb understands."""

    def __init__(self, texts: Sequence[str], known: Collection[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"filter {text!r}: not KEY=VALUE")
            if key not in known:
                raise UsageError(f"filter {key}: not there", hint=f"there are {', '.join(sorted(known))}")
            self._values.setdefault(key, []).append(value)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def values(self, key: str) -> list[str]:
        """What was given for the key."""
        return self._values.get(key, [])

    def any(self, key: str, test: Callable[[str], bool]) -> bool:
        """Whether one of the key's values passes; also where the key was not given."""
        values = self._values.get(key)
        return values is None or any(test(value) for value in values)

    def labels(self, labels: Mapping[str, str]) -> bool:
        """Whether every `label=KEY` and `label=KEY=VALUE` holds."""
        for text in self.values("label"):
            key, equals, value = text.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True
