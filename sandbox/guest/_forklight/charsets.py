"""Text from bytes by the charset that a sender named, as the WHATWG Encoding Standard reads it: nothing is refused.

A charset that nobody knows is UTF-8, and what is no character of it becomes U+FFFD: the handler has the bytes as well.
"""

import codecs
import encodings
import encodings.aliases
import os
from functools import lru_cache

UTF_8 = "utf-8"

_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""Codecs that no sender means; some of them are slow on purpose-made input."""

_MEANT = {
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
}
"""Encoding Standard §4.2: what senders mean who say so, a larger charset each."""
_WINDOWS_1252 = frozenset({"ascii", "iso8859-1", "cp1252"})
"""Likewise: who says ASCII or Latin-1 means windows-1252."""
_C1 = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256))
"""windows-1252 by byte; the five bytes it has no character for are control characters (§9.1)."""


_LONGEST_NAME = 40


@lru_cache(maxsize=1)
def _modules() -> "frozenset[str]":
    """Names of codecs that are no aliases.

    Python remembers each name that it was asked for, also unknown ones, for ever: so it is asked for those it has.
    """
    return frozenset(name.removesuffix(".py") for name in os.listdir(os.path.dirname(encodings.__file__)))


def charset_of(name: "str | None") -> "str | None":
    """The codec of that name, or None if there is no such charset."""
    normal = encodings.normalize_encoding((name or "").strip()[:_LONGEST_NAME]).lower()
    if normal not in encodings.aliases.aliases and normal not in _modules():
        return None
    try:
        found = codecs.lookup(normal)
    except LookupError:
        return None
    is_text = getattr(found, "_is_text_encoding", True)
    return _MEANT.get(found.name, found.name) if is_text and found.name not in _NOT_CHARSETS else None


def is_wide(charset: str) -> bool:
    """Whether ASCII is more than one byte a character in it."""
    return charset.startswith(("utf-16", "utf-32"))


def decode_text(body: bytes, charset: "str | None") -> str:
    """UTF-8 if no charset, or none that is known, is named. A byte order mark is no part of the text."""
    codec = UTF_8 if charset is None else charset_of(charset) or UTF_8
    if codec in _WINDOWS_1252:
        return codecs.charmap_decode(body, "strict", _C1)[0]
    try:
        return body.decode(codec, "replace").removeprefix("\ufeff")
    except UnicodeError:  # of a codec that cannot replace
        return body.decode(UTF_8, "replace")
