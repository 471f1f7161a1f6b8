"""Counts words."""

from __future__ import annotations

import re
from collections import Counter


def count(text: str) -> Counter[str]:
    """How often each word occurs, whatever its case."""
    return Counter(re.findall(r"[\w']+", text.lower()))
