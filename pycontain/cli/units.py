"""Sizes and ages as Docker words them."""

from __future__ import annotations


def size(count: int) -> str:
    """ "1.23MB": powers of 1000, at most three significant digits after the point (go-units HumanSize)."""
    value = float(count)
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    for unit in units:
        if value < 999.5 or unit == units[-1]:
            return f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError


def binary_size(count: int) -> str:
    """ "1.234MiB": powers of 1024, four significant digits (go-units BytesSize)."""
    value = float(count)
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            return f"{value:.4g}{unit}"
        value /= 1024
    raise AssertionError


def age(seconds: float) -> str:
    """ "5 seconds", "About a minute", "3 hours", "2 weeks" (go-units HumanDuration)."""
    count = int(seconds)
    if count < 1:
        return "Less than a second"
    if count < 60:
        return _of(count, "second")
    minutes = count // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = round(seconds / 3600)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = hours // 24
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 365 * 2:
        return f"{days // 30} months"
    return f"{days // 365} years"


def _of(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
