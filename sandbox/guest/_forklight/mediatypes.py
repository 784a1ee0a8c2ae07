"""Parses header values with parameters, such as `text/plain; charset=utf-8` (RFC 9110 §5.6.6)."""

import re

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"\s]+)', re.DOTALL)
_QUOTED_PAIR = re.compile(r'\\(["\\])')


def parse(value: str) -> tuple[str, dict[str, str]]:
    """The value and its parameters. The value and the names are lower-case; the first of repeated parameters counts."""
    if ";" not in value:
        return value.strip().lower(), {}
    parameters: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        parameters.setdefault(name.lower(), _QUOTED_PAIR.sub(r"\1", text[1:-1]) if text[0] == '"' else text)
    return value.partition(";")[0].strip().lower(), parameters
