"""Decodes text in the charset that its sender names, by the WHATWG Encoding Standard. No text is refused.

An unknown charset counts as UTF-8, and invalid bytes become U+FFFD; the handler also has the bytes.
"""

import codecs
import encodings
import encodings.aliases
import os
from functools import lru_cache

UTF_8 = "utf-8"

_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""Codecs that no sender means. Some of them are slow on crafted input."""

_MEANT = {
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
}
"""Encoding Standard §4.2: a charset that senders name → the larger charset that they mean."""
_WINDOWS_1252 = frozenset({"ascii", "iso8859-1", "cp1252"})
"""Likewise, ASCII and Latin-1 mean windows-1252."""
_C1 = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256))
"""The characters of windows-1252 by byte. The five undefined bytes are control characters (§9.1)."""


_LONGEST_NAME = 40


@lru_cache(maxsize=1)
def _modules() -> "frozenset[str]":
    """The names of codecs, without aliases.

    Python caches every name that is looked up, even unknown ones, for ever, so only existing names are looked up.
    """
    return frozenset(name.removesuffix(".py") for name in os.listdir(os.path.dirname(encodings.__file__)))


def charset_of(name: "str | None") -> "str | None":
    """The name of the codec for a charset, or None if it is unknown."""
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
    """Whether it encodes ASCII in more than one byte per character."""
    return charset.startswith(("utf-16", "utf-32"))


def decode_text(body: bytes, charset: "str | None") -> str:
    """The text of `body`, read as UTF-8 if `charset` is None or unknown, without a byte order mark."""
    codec = UTF_8 if charset is None else charset_of(charset) or UTF_8
    if codec in _WINDOWS_1252:
        return codecs.charmap_decode(body, "strict", _C1)[0]
    try:
        return body.decode(codec, "replace").removeprefix("\ufeff")
    except UnicodeError:  # the codec does not support "replace"
        return body.decode(UTF_8, "replace")
