"""An `env_file`: NAME=value lines. Pure. No error repeats a value, which may be a password.

- Empty lines and lines that begin with # are ignored; `export` before a name is allowed. Lines end in LF or CRLF.
- An unquoted value ends with its line, or at ` #`. Nothing in it is special, not even a backslash.
- A quoted value may span lines. In single quotes nothing is special. In double quotes `\\n`, `\\t` and `\\r` are
  control characters, and any other character after a backslash stands for itself.
- A value does not refer to other variables.

What other programs would read in another way, or what looks like a forgotten quote, is a problem, not a guess.
"""

import re
from typing import NamedTuple

from forklight.config.expand import NAME
from forklight.config.problem import Problem

_START = re.compile(r"[ \t]*(?:export[ \t]+)?([^=\s]+)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_AFTER = re.compile(r"[ \t]*(?:#.*)?$", re.MULTILINE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_COMMENT = re.compile(r"(?:^|[ \t])#.*")


class _Value(NamedTuple):
    text: str
    end: int
    """Where its last line ends."""


def parse_env_file(text: str, file: str) -> tuple[dict[str, str], list[Problem]]:
    """Return the variables and the problems, each with its line. If a name is given twice, the last value counts."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    text = text.replace("\r\n", "\n")
    number, at = 1, 0
    while at < len(text):
        end = _end_of_line(text, at)
        line = text[at:end].strip(" \t")
        if line and not line.startswith("#"):
            start = _START.match(text, at, end)
            if start is None or not NAME.fullmatch(start[1]):
                problems.append(
                    Problem(file, number, "", "is not a variable: write NAME=value, NAME in letters, digits and _")
                )
            else:
                try:
                    values[start[1]], end = _value(text, start.end(), number)
                except ValueError as error:
                    problems.append(Problem(file, number, start[1], str(error)))
        number += text.count("\n", at, end) + 1
        at = end + 1
    return values, problems


def _value(text: str, at: int, number: int) -> _Value:
    """Return the value that begins `at`, on line `number`. Raises ValueError, which says what is wrong with it."""
    if text[at : at + 1] == "'":
        quoted = _SINGLE.match(text, at)
    elif text[at : at + 1] == '"':
        quoted = _DOUBLE.match(text, at)
    else:
        return _unquoted(text, at)
    if quoted is None:
        raise ValueError("has a quote that is never closed")
    _refuse_forgotten_quote(quoted, number)
    if _AFTER.match(text, quoted.end()) is None:
        raise ValueError(f"has text after the quote that closes it{_on_line(quoted, number)}: close it at its end")
    value = quoted[1] if quoted.re is _SINGLE else _unescaped(quoted[1])
    return _Value(value, _end_of_line(text, quoted.end()))


def _unquoted(text: str, at: int) -> _Value:
    end = _end_of_line(text, at)
    value = _COMMENT.sub("", text[at:end]).rstrip(" \t")
    if "\r" in value:
        raise ValueError("has a carriage return in it: end lines with LF or CRLF, or write \\r in double quotes")
    return _Value(value, end)


def _unescaped(written: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*\\\n", written):
        raise ValueError("has a backslash at the end of a line: write \\n for a line end, or join the lines")
    return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), written)


def _refuse_forgotten_quote(quoted: re.Match[str], number: int) -> None:
    """Raise ValueError if what closes the value looks like what opens the next one: `A="1` above `B="2"`."""
    above, line_end, last = quoted[1].rpartition("\n")
    name = _START.fullmatch(last) if line_end else None
    if name is not None and NAME.fullmatch(name[1]):
        line = number + above.count("\n") + 1
        raise ValueError(f"is not closed before {name[1]} on line {line}: close it, or write its line ends as \\n")


def _on_line(quoted: re.Match[str], number: int) -> str:
    lines = quoted[1].count("\n")
    return f" on line {number + lines}" if lines else ""


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
