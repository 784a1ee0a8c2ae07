"""Reading structs from tables."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from forklight.config.document import read_document
from forklight.config.functions import Name
from forklight.config.reader import Reader, flat


class Inner(Struct, frozen=True, kw_only=True):
    room_bytes: int = 1
    hidden: int = 1


class Pair(Struct, frozen=True, kw_only=True):
    a: str | None = None
    b: str | None = None

    def __post_init__(self) -> None:
        if self.a and self.b:
            raise ValueError("write a or b, not both")


class Outer(Struct, frozen=True, kw_only=True):
    name: Name
    wait_s: float = 1.0
    pause_s: Annotated[float, Meta(ge=0)] = 1.0
    least: Annotated[int, Meta(ge=16)] = 16
    share: float = 0.5
    is_on: bool = False
    rest: Literal["template", "none"] = "none"
    reserved: Annotated[int, Meta(ge=0)] = 0
    path: Path | None = None
    words: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    by_name: dict[Name, Pair] = {}
    inner: Annotated[Inner, flat("hidden")] = Inner()


def _read(tmp_path: Path, text: str) -> tuple[Outer | None, list[str]]:
    file = tmp_path / "a.toml"
    file.write_text(text)
    reader = Reader(tmp_path, {"WORD": "hunter2"})
    outer = reader.struct(read_document(file), Outer)
    return outer, [str(problem).removeprefix(f"{tmp_path}/") for problem in reader.problems]


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    text = """
name = "one"
wait = "1m"
pause = "0s"
least = 16
share = 1
is_on = true
rest = "template"
reserved = 0
path = "x/${WORD}"
words = ["a", "${WORD}"]
pairs = [{ a = "1" }, { b = "2" }]
room = "1KiB"
[by_name.x]
a = "3"
"""
    outer, problems = _read(tmp_path, text)
    assert problems == []
    assert outer == Outer(
        name=Name("one"),
        wait_s=60.0,
        pause_s=0.0,
        share=1,
        is_on=True,
        rest="template",
        path=tmp_path / "x/hunter2",
        words=("a", "hunter2"),
        pairs=(Pair(a="1"), Pair(b="2")),
        by_name={Name("x"): Pair(a="3")},
        inner=Inner(room_bytes=1024),
    )


def test_all_that_is_wrong_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    text = """
wait = "0s"
pause = 3
least = 15
share = true
is_on = "yes"
path = 1
words = "a"
pairs = [{ a = "1", b = "2" }, 7]
room = "1"
hidden = 3
pats = 1
rest = "templat"
reserved = -1
[by_name.UP]
a = 1979-05-27
"""
    outer, problems = _read(tmp_path, text)
    assert outer == Outer(name=Name("greet"), by_name={Name("UP"): Pair()})
    assert problems == [
        "a.toml:2 wait: must be more than zero",
        (
            "a.toml:3 pause: must be a string with a unit, not an integer: "
            'write a number and a unit (ms, s, m, h, d), such as "500ms", "10s" or "1h30m"'
        ),
        "a.toml:4 least: must be at least 16",
        "a.toml:5 share: must be a number, not true or false",
        "a.toml:6 is_on: must be true or false, not a string",
        "a.toml:7 path: must be a string, the path of a file, not an integer",
        'a.toml:8 words: must be a list, not a string: write ["a"]',
        "a.toml:9 pairs[0]: write a or b, not both",
        "a.toml:9 pairs[1]: must be a table, not an integer",
        (
            'a.toml:10 room: "1" is not a size: '
            'write a number and a unit (B, KB, MB, GB or KiB, MiB, GiB), such as "512MiB" or "10MB"'
        ),
        "a.toml:11 hidden: unknown key",
        "a.toml:12 pats: unknown key (did you mean 'path'?)",
        'a.toml:13 rest: "templat" is not "none" or "template" (did you mean \'template\'?)',
        "a.toml:14 reserved: must be at least 0",
        (
            'a.toml:15 by_name.UP: "UP" is not a valid name: '
            'a small letter, then up to 62 small letters, digits, _ and -: write "up"'
        ),
        'a.toml:16 by_name.UP.a: must be a string, not a date or time: write "1979-05-27"',
        'a.toml: name is missing: write name = "greet"',
    ]


def test_a_value_is_shown_as_written_never_expanded(tmp_path: Path) -> None:
    _, problems = _read(tmp_path, 'name = "x"\nwait = "${WORD}"\nroom = "${WORD}"')
    assert [problem.partition(":")[2].partition(" is no")[0] for problem in problems] == [
        '2 wait: "${WORD}"',
        '3 room: "${WORD}"',
    ]
    assert "hunter2" not in str(problems)


def test_every_kind_of_value_may_stand_for_every_other(tmp_path: Path) -> None:
    for key in ("name", "wait", "least", "share", "is_on", "path", "words", "pairs", "by_name", "room", "rest"):
        for value in ('"x y"', "-1", "1.5", "true", "[1]", "{ x = 1 }", "07:30:00"):
            _, problems = _read(tmp_path, f"{key} = {value}\n" + 'name = "x"' * (key != "name"))
            accepted = (key, value) in {("share", "1.5"), ("is_on", "true"), ("path", '"x y"')}
            assert bool(problems) is not accepted, (key, value)
