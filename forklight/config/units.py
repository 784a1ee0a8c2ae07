"""Durations and sizes as strings with units, so that the meaning of a bare 10 is never a guess.

An error says what is wrong with the text but does not repeat it: the caller knows the text and its place.
"""

import re
from decimal import Decimal

DURATION_FORM = 'write a number and a unit (ms, s, m, h, d), such as "500ms", "10s" or "1h30m"'
SIZE_FORM = 'write a number and a unit (B, KB, MB, GB or KiB, MiB, GiB), such as "512MiB" or "10MB"'

LONGEST_S = 366 * 86400
LARGEST_BYTES = 2**60

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in _UNITS_MS))
_SIZE = re.compile(_NUMBER + r" ?([KMGT]i?B|kB|B)")

_WORDS = {"m": "m", "min": "m", "minute": "m", "sec": "s", "second": "s", "hr": "h", "hour": "h", "day": "d"}
_WORDS |= {"ms": "ms", "msec": "ms", "millisecond": "ms", "s": "s", "h": "h", "d": "d"}
_PHRASE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+?)s?", re.IGNORECASE)
_ISO = re.compile(r"PT(?=[0-9])((?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+S)?)", re.IGNORECASE)
_SHORT_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Return the seconds in `text`: units from large to small, each at most once. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"is not a duration: {_likely_duration(text) or DURATION_FORM}")
    counts = zip(match.groups(), _UNITS_MS.values(), strict=True)
    seconds = float(sum(Decimal(count) * unit_ms for count, unit_ms in counts if count) / 1000)
    if seconds > LONGEST_S:
        raise ValueError("is too long: the longest duration is 366d")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes in `text`: MB is 1000 x 1000 bytes, MiB is 1024 x 1024. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"is not a size: {_likely_size(text) or SIZE_FORM}")
    number, unit = match.groups()
    base = 1024 if "i" in unit else 1000
    size = Decimal(number) * base ** "BKMGT".index(unit[0].upper())
    if size > LARGEST_BYTES:
        raise ValueError("is too large: the largest size is 1048576TiB")
    return int(size)


def _likely_duration(text: str) -> str:
    """Return how to write what `5 minutes`, `30` or `PT5M` most likely mean, or nothing."""
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return f'it has no unit: write "{text}s" if it is in seconds'
    if found := _ISO.fullmatch(text):
        return f'write "{found[1].lower()}"'
    found = _PHRASE.fullmatch(text)
    unit = _WORDS.get(found[2].lower()) if found else None
    return f'write "{found[1]}{unit}"' if found and unit else ""


def _likely_size(text: str) -> str:
    """Return how to write what `512M` or `1gb` most likely mean, or nothing. A short unit is binary, as in ps."""
    text = text.strip()
    found = _SHORT_SIZE.fullmatch(text)
    if found is None:
        return ""
    number, unit, binary = found.groups()
    is_short = not text.lower().endswith("b")
    return f'write "{number}{unit.upper()}{"i" * bool(binary or is_short)}B"'
