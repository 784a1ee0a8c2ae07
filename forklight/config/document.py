"""A TOML file as a tree of nodes, each of which knows its line and its full key."""

import re
import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct

from forklight.config import lines
from forklight.config.problem import ConfigError, Problem

FILE_NAME = "forklight.toml"

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ADVICE = {
    "Invalid value": "if it is a string, it needs quotes",
    "Expected newline or end of document after a statement": "if it is a string, it needs quotes",
    "Illegal character '\\n'": "a string ends on its line",
    "Cannot overwrite a value": "the key is defined twice",
    "Cannot declare": "the table is written twice; put its keys together",
    "Unclosed array": "items need commas between them, and a ] at the end",
    "Unclosed inline table": "its keys need commas between them, and a } at the end",
    "Expected '\"'": "a string ends with the quote it began with",
    'Expected "\'"': "a string ends with the quote it began with",
}
"""The likely remedy, by the beginning of tomllib's message."""
_TYPESET = "\u201c\u201d\u201e\u2018\u2019"
"""Quotes of word processors."""
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Node(Struct, frozen=True):
    """One value. `value` is a dict or a list of nodes, or a plain TOML value exactly as written."""

    value: Any
    file: str
    key: str = ""
    line: int = 0

    def at(self, name: str) -> "Node":
        """Return the node of a key of this table, or this table itself if it has no such key: for a message's place."""
        child = self.value.get(name) if isinstance(self.value, dict) else None
        return child if isinstance(child, Node) else self

    def problem(self, message: str) -> Problem:
        """Return a problem at this node."""
        return Problem(self.file, self.line, self.key, message)


def read_document(path: Path) -> Node:
    """Return the root of the tree; raises ConfigError if the file cannot be read or is not valid TOML."""
    file = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(file, 0, "", f"cannot be read: {error.strerror}")]) from error
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError([Problem(file, 1, "", "begins with a byte order mark: save it as UTF-8 without one")])
    try:
        text = data.decode().replace("\r\n", "\n")
        return _node(tomllib.loads(text), Node({}, file), (), lines.key_lines(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", f"is not valid UTF-8: byte 0x{data[error.start]:02x}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), file, text)]) from error
    except RecursionError:
        raise ConfigError([Problem(file, 0, "", "has values in values in values: flatten them")]) from None


def merge(defaults: Node, own: Node) -> Node:
    """Return `own` with what only `defaults` has; tables (`env`, `secrets`, `hooks`) are merged key by key."""
    if not (isinstance(defaults.value, dict) and isinstance(own.value, dict)):
        return own
    merged = dict(defaults.value)
    for name, node in own.value.items():
        merged[name] = merge(merged[name], node) if name in merged else node
    return Node(merged, own.file, own.key, own.line)


def _node(value: Any, parent: Node, path: lines.Path, index: dict[lines.Path, int]) -> Node:
    line = index.get(path, parent.line)
    node = Node(value, parent.file, _dotted(path), line)
    if isinstance(value, dict):
        return Node({k: _node(v, node, (*path, k), index) for k, v in value.items()}, node.file, node.key, line)
    if isinstance(value, list):
        return Node([_node(v, node, (*path, i), index) for i, v in enumerate(value)], node.file, node.key, line)
    return node


def _dotted(path: lines.Path) -> str:
    key = ""
    for part in path:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            key += "." * bool(key) + (part if _BARE.fullmatch(part) else f'"{part}"')
    return key


def _syntax_problem(message: str, file: str, text: str) -> Problem:
    place = _PLACE.search(message)
    what = _PLACE.sub("", message)
    advice = next((f": {advice}" for said, advice in _ADVICE.items() if what.startswith(said)), "")
    lines = text.splitlines()
    if place is None or place[1] is None:
        return Problem(
            file,
            len(lines),
            "",
            f"is not valid TOML: {what} at the end of the file{advice * what.startswith('Expected ')}",
        )
    if any(quote in lines[int(place[1]) - 1] for quote in _TYPESET):
        advice = ": write straight quotes, \" or '"
    return Problem(file, int(place[1]), "", f"is not valid TOML: {what} in column {place[2]}{advice}")
