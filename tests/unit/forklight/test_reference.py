"""docs/reference.md is what the structs say now, and what is accepted is what stands there."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from forklight.config.configuration import load
from forklight.config.problem import ConfigError, Problem
from forklight.config.source import PER_FUNCTION
from tests.kit.reference import PAGE, WHOLE_FILE, reference

_SECTION = re.compile(r"^## `([^`]+)`$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+)` \| .+? \| (.+?) \|", re.MULTILINE)
ROWS = {header: dict(_ROW.findall(body)) for header, body in _SECTION.findall(PAGE.read_text())}
ROWS["[defaults]"] = {key: "" for key in ROWS["[functions.NAME]"] if key not in PER_FUNCTION}
ROWS[WHOLE_FILE]["defaults"] = ""


def test_the_page_is_what_the_structs_say() -> None:
    assert PAGE.read_text() == reference(), "docs/reference.md is not up to date: run python -m tests.kit.reference"


@pytest.mark.parametrize("header", ROWS)
def test_its_keys_are_all_that_are_accepted(header: str, tmp_path: Path) -> None:
    tried = set(_field_keys()) | set(ROWS[header])
    problems = _problems(header, dict.fromkeys(tried, "0"), tmp_path)
    refused = {_last(one.key) for one in problems if one.message.startswith(("unknown key", "has no default"))}
    assert "backoff_s" in refused
    assert tried - refused == set(ROWS[header])


@pytest.mark.parametrize("header", ROWS)
def test_a_default_can_be_written(header: str, tmp_path: Path) -> None:
    values = {key: default.strip("`") for key, default in ROWS[header].items() if _is_toml(default.strip("`"))}
    wrong = {_last(one.key): one.message for one in _problems(header, values, tmp_path)}
    assert {key: wrong[key] for key in values if key in wrong} == {}


def _field_keys() -> Iterator[str]:
    """The name of any field of any struct of ours, with its unit and without: each might be a key somewhere."""
    classes = [Struct]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        for name in cls.__struct_fields__:
            yield name
            yield name.removesuffix("_bytes").removesuffix("_s")


def _problems(header: str, values: dict[str, str], folder: Path) -> tuple[Problem, ...]:
    """What is wrong with a file that has this one table; arrays of tables that it lies in are begun before it."""
    outer = [other for other in ROWS if other.startswith("[[") and header.startswith(f"[{other.strip('[]')}.")]
    lines = [*outer, *([] if header == WHOLE_FILE else [header]), *(f"{key} = {values[key]}" for key in values)]
    (folder / "forklight.toml").write_text("\n".join(lines).replace("NAME", "greet"))
    try:
        load(folder, {})
    except ConfigError as error:
        return error.problems
    return ()


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _is_toml(value: str) -> bool:
    try:
        return bool(tomllib.loads(f"value = {value}"))
    except tomllib.TOMLDecodeError:
        return False
