"""TOML files as trees of nodes."""

from pathlib import Path

import pytest

from forklight.config.document import Node, merge, read_document
from forklight.config.problem import ConfigError

NO_QUOTES = "Expected newline or end of document after a statement"


def _error(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_node_knows_its_line_and_its_whole_key(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b'[functions."a b"]\r\nlist = [\r\n {k = 1}]\r\nlast = 2\r\n')
    function = read_document(file).at("functions").at("a b")
    inner = function.at("list").value[0].at("k")
    assert (function.key, function.line) == ('functions."a b"', 1)
    assert (inner.key, inner.line, inner.value) == ('functions."a b".list[0].k', 2, 1)
    assert function.at("last").line == 4
    assert function.at("absent") is function
    assert function.at("last").at("absent") is function.at("last")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a = 10s\n",
            f"a.toml:1: is not valid TOML: {NO_QUOTES} in column 7: if it is a string, it needs quotes",
        ),
        (
            b"a = 1\n\na = 2\n",
            "a.toml:3: is not valid TOML: Cannot overwrite a value in column 6: the key is defined twice",
        ),
        (b"a = 1\nb = [1,\n", "a.toml:2: is not valid TOML: Invalid value at the end of the file"),
        (b"\xef\xbb\xbfa = 1\n", "a.toml:1: begins with a byte order mark: save it as UTF-8 without one"),
        (b"a = " + b"[" * 100_000, "a.toml: has values in values in values: flatten them"),
        (b"a = 1\nb = '\xe4'\n", "a.toml:2: is not valid UTF-8: byte 0xe4"),
        (
            b"a = 1\rb = 2",
            f"a.toml:1: is not valid TOML: {NO_QUOTES} in column 6: if it is a string, it needs quotes",
        ),
    ],
)
def test_what_is_no_toml(tmp_path: Path, content: bytes, message: str) -> None:
    assert _error(tmp_path / "a.toml", content) == message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_merging_keeps_the_place_of_each_value() -> None:
    def node(value: object, line: int) -> Node:
        return Node(value, "f", "", line)

    defaults = node({"timeout": node("1s", 1), "env": node({"A": node("1", 2), "B": node("1", 3)}, 2)}, 1)
    own = node({"env": node({"B": node("2", 8)}, 7), "handler": node("a:b", 9)}, 6)
    merged = merge(defaults, own)
    assert merged.line == 6
    assert merged.at("timeout").line == 1
    assert {k: (v.value, v.line) for k, v in merged.at("env").value.items()} == {"A": ("1", 2), "B": ("2", 8)}
