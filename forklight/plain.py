"""Text that may come from strangers, harmless in one line: clients, functions and whoever named a file chose it.

Characters that could move the cursor, set a title, type for the operator or reorder a line are escaped as in Python
(`\\x1b`, `\\u202e`): the control characters C0, DEL and C1, line and paragraph separators, characters that control the
direction of text (Unicode TR 36, §2.1.1 "bidirectional text spoofing"), and lone surrogates, which stand for the bytes
of file names that are not UTF-8.
"""

import re

UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""The inside of a character class: all of them but the tab and the line end."""

_IN_A_LINE = re.compile(rf"[\t\n{UNSAFE}]")


def plain(text: str) -> str:
    """Escape one line, including its tabs and line ends."""
    return text if text.isprintable() else _IN_A_LINE.sub(escape, text)


def escape(match: re.Match[str]) -> str:
    """Return what stands for a character."""
    return match[0].encode("unicode_escape").decode()
