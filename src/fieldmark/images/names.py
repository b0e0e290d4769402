"""Names: how paths and classes are ordered, and how these, numbers and times are written for people."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_DIGITS = re.compile("[0-9]+")


def natural_key(name: str) -> str:
    """Sort key that orders 1, 2, 10 as numbers; ties fall back to the characters.

    >>> sorted(["10", "2", "1", "b", "A"], key=natural_key)
    ['1', '2', '10', 'A', 'b']
    """
    # One string: a tuple of parts would take five times the memory and twice the time, for every name of a folder.
    return f"{_DIGITS.sub(_number_key, name.casefold())}\0{name}"


def _number_key(digits: re.Match[str]) -> str:
    """The digits behind their count, as a character: longer numbers are greater, and all come before letters."""
    number = digits[0].lstrip("0")
    return f"\1{chr(min(len(number), 0xD7FF))}{number}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 image", "2 images"; `plural` where that takes more than an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"


def some(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are.

    >>> some(["a", "b", "c"]), some(["a", "b", "c", "d"], 2)
    ('a, b, c', 'a, b and 2 more')
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def rounded_percent(share: float) -> str:
    """A share in whole percent; below two with one decimal, where a whole number would say nothing.

    >>> rounded_percent(0.5), rounded_percent(1 / 200), rounded_percent(0)
    ('50 %', '0.5 %', '0 %')
    """
    return f"{100 * share:.1f} %" if 0 < share < 0.02 else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.42), duration(75), duration(4000)
    ('0.4 s', '1 min 15 s', '1 h 7 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return "{} h {} min".format(*divmod(round(seconds / 60), 60))


def printable(path: str) -> str:
    r"""A path that every UTF-8 file can hold: bytes that are not UTF-8 are written as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
