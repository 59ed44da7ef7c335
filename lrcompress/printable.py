"""The one place where text of strangers becomes text that any terminal, page or figure can show."""

from __future__ import annotations

import unicodedata

# Controls, format characters (those that change the direction of text among them), surrogates,
# private and unassigned characters, and separators of lines and paragraphs.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: object) -> str:
    r"""Return text on one line in which nothing drives a terminal: what would is spelt out.

    >>> print(printable("\x1b[31mred\n"))
    \x1b[31mred\n
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSEEN else c
        for c in text
    )
