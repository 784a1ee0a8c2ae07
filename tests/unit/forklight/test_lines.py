"""The lines of a TOML text's keys."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.config.lines import Path, key_lines

VALUES = st.sampled_from(
    [
        "1",
        '"a = 1 # [no]"',
        "'[x]'",
        '"""\na = 1\n[b]\n\\""" ""\\\n"""',
        "'''\n[a]\n''quoted'''''",
        "[\n  1,  # ] one\n  2,\n]",
        '[["]"], [\n"[", {a = "}"}]]',
        '{ a = 1, b = { c = "=" } }',
        "1979-05-27T07:32:00Z",
        "true # [c] = 3",
    ]
)
KEYS = st.sampled_from(["plain", "with-dash", "a b", "dot.ted", 'quo"te', "[x]", "=", "#", "é", ""])


def _written(key: str) -> str:
    return key if key in ("plain", "with-dash") else json.dumps(key)


@pytest.mark.invariant("I35")
@given(st.lists(st.tuples(KEYS, st.lists(st.tuples(KEYS, VALUES), max_size=4)), max_size=5), st.booleans(), st.data())
def test_every_key_is_found_on_its_line(
    tables: list[tuple[str, list[tuple[str, str]]]], are_arrays: bool, data: st.DataObject
) -> None:
    text, expected = "", {}
    lengths: dict[str, int] = {}

    def write(line: str) -> int:
        nonlocal text
        text += data.draw(st.sampled_from(["", "\n", "# x = [1\n", " \t"])) + line + "\n"
        return text.count("\n") - line.count("\n")

    for name, entries in tables:
        if name in lengths and not are_arrays:
            continue
        place = lengths[name] = lengths.get(name, -1) + 1
        header = f"[[{_written(name)}]]" if are_arrays else f"[ {_written(name)} ]"
        path: Path = (name, place) if are_arrays else (name,)
        line = write(header)
        expected[path] = line
        for key, value in dict(entries).items():
            expected[(*path, key)] = write(f"{_written(key)} = {value}")
    tomllib.loads(text)
    lines = key_lines(text)
    assert {path: lines[path] for path in expected} == expected


def test_dotted_keys_nested_tables_and_arrays_of_tables() -> None:
    text = """
a.b = 1
a.c.d = 2
[functions.x]
env.KEY = "v"
[[functions.x.http]]
path = "/"
[[functions.x.http]]
[functions.x.http.more]
deep = 1
["quoted.name"]
inline = { k = 1 }"""
    lines = key_lines(text)
    assert lines["a",] == 2
    assert lines["a", "c", "d"] == 3
    assert lines["functions", "x", "env"] == 5
    assert lines["functions", "x", "env", "KEY"] == 5
    assert lines["functions", "x", "http"] == 6
    assert lines["functions", "x", "http", 0, "path"] == 7
    assert lines["functions", "x", "http", 1] == 8
    assert lines["functions", "x", "http", 1, "more", "deep"] == 10
    assert lines["quoted.name", "inline"] == 12
    assert ("quoted.name", "inline", "k") not in lines
