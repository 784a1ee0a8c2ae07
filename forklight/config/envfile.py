"""An `env_file`: KEY=value lines. Pure. No error repeats a value, which may be a password.

- Empty lines and lines that begin with # are ignored; `export` before a name is allowed.
- An unquoted value ends at ` #`. In single quotes nothing is special. In double quotes `\\n`, `\\t` and `\\r` are
  control characters, and any other character after a backslash stands for itself.
- A value cannot span lines or refer to other variables.
"""

import re

from forklight.config.expand import NAME
from forklight.config.problem import Problem

_LINE = re.compile(r"(?:export\s+)?([^=\s]+)\s*=\s*(.*)")
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_COMMENT = re.compile(r"(?:^|\s)#.*")


def parse_env_file(text: str, file: str) -> tuple[dict[str, str], list[Problem]]:
    """Return the variables and the problems, each with its line. If a name is given twice, the last value counts."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None or not NAME.fullmatch(match[1]):
            problems.append(
                Problem(file, number, "", "is not a variable: write NAME=value, NAME in letters, digits and _")
            )
            continue
        try:
            values[match[1]] = _value(match[2])
        except ValueError as error:
            problems.append(Problem(file, number, match[1], str(error)))
    return values, problems


def _value(written: str) -> str:
    if written.startswith("'"):
        if single := _SINGLE.fullmatch(written):
            return single[1]
    elif written.startswith('"'):
        if double := _DOUBLE.fullmatch(written):
            return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), double[1])
    else:
        return _COMMENT.sub("", written).rstrip()
    raise ValueError("has a quote that does not close the value on this line")
