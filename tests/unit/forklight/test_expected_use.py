"""What is loaded first: what is reserved, then what a timer needs soon, then what was used most lately."""

from datetime import UTC, datetime
from pathlib import Path

from forklight.config.configuration import load
from forklight.observe.entry import Entry
from forklight.observe.kept.files import KeptFiles, read_latest
from forklight.observe.kept.lines import lines
from forklight.serving.expected_use import by_expected_use, expected_use

NOW = datetime(2026, 11, 23, 11, 58, tzinfo=UTC)
HANDLER = "def handler(event):\n    return 1\n"


def test_each_reason_comes_before_the_next_and_ties_keep_their_order() -> None:
    names = ["a", "b", "c", "d", "e", "f", "g"]
    found = by_expected_use(names, {"g"}, {"c": 100.0, "f": 5.0}, {"b": 1, "e": 7, "gone": 9})

    assert found == ["g", "f", "c", "e", "b", "a", "d"]


def used(function: str, outcome: str = "ok") -> Entry:
    return Entry(time=1.0, function=function, invocation="i", outcome=outcome)


def keep(state: Path, *entries: Entry) -> None:
    files = KeptFiles(state, 1024 * 1024, started=1.0)
    files.write(lines(list(enumerate(entries, 1))))
    files.close()


def test_the_configuration_and_the_kept_log_say_what_is_needed_first(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(HANDLER)
    tables = {"quiet": "", "busy": "", "noon": "timer = '0 12 * * *'\n", "night": "timer = '0 3 * * *'\n"}
    toml = "".join(f"[functions.{name}]\nhandler = 'f:handler'\n{more}" for name, more in tables.items())
    (tmp_path / "forklight.toml").write_text(f"{toml}[functions.ready]\nhandler = 'f:handler'\nreserved = 1\n")
    keep(tmp_path, used("busy"), used("busy", "error/ValueError"), used("quiet", "unrun"), used("night", ""))

    found = expected_use(load(tmp_path, {}), tmp_path, NOW)
    assert found == ["ready", "noon", "busy", "quiet", "night"]


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    keep(tmp_path, *(used(f"f{number}") for number in range(1000)))

    found = [kept.entry.function for kept in read_latest(tmp_path, 1000)]
    assert found[-1] == "f999"
    assert len(found) < 20


def test_without_a_log_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(HANDLER)
    tables = (f"[functions.{name}]\nhandler = 'f:handler'\n" for name in "xyz")
    (tmp_path / "forklight.toml").write_text("".join(tables))

    assert expected_use(load(tmp_path, {}), tmp_path, NOW) == ["x", "y", "z"]
