"""Wording: names and sentences as the page shows them. The JSON beside the page holds them as they are."""

from __future__ import annotations

import re
import unicodedata

NAME_LENGTH = 120  # characters


def visible(text: str) -> str:
    r"""Return the text with every invisible control written out, so that no name can pretend to be another.

    >>> visible("photo\u202egpj.exe\n")
    'photo\\u202egpj.exe\\n'
    """
    return "".join(_written_out(letter) if unicodedata.category(letter) in _INVISIBLE else letter for letter in text)


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """Cut the middle out of a name that is longer than `length`.

    >>> shorten("a long name of a class", 12)
    'a long…class'
    """
    if len(name) <= length:
        return name
    return f"{name[: length // 2]}…{name[len(name) - (length - length // 2 - 1) :]}"


def prose(text: str) -> str:
    """Return a text with long words cut: the names of files in it, which may be of any length.

    >>> len(prose("see " + "x" * 500))
    124
    """
    return " ".join(shorten(word) for word in text.split(" "))


def sentence(text: str) -> str:
    r"""Return a sentence with its first letter large and its full stop; no line breaks before a % sign.

    A command at its start stays as it has to be typed.

    >>> sentence("one class is missing"), sentence("50 % are"), sentence("`fieldmark audit DIR` asks it")
    ('One class is missing.', '50\xa0% are.', 'fieldmark audit DIR asks it.')
    """
    text = text.strip()
    if text.startswith("`"):
        return sentence("_" + text.replace("`", ""))[1:]
    stop = "" if text.endswith((".", "!", "?", "…")) else "."
    return f"{text[:1].upper()}{text[1:]}{stop}".replace(" %", "\N{NO-BREAK SPACE}%")


# Control characters, halves of surrogate pairs, line and paragraph separators; of the format characters only
# those that turn the direction of reading: a joiner inside an emoji is part of it.
_INVISIBLE = {"Cc", "Cs", "Zl", "Zp", "Cf"}
_HARMLESS_FORMAT = re.compile("[\u00ad\u200c\u200d\U000e0020-\U000e007f]")


def _written_out(letter: str) -> str:
    return letter if _HARMLESS_FORMAT.match(letter) else letter.encode("unicode_escape").decode()
