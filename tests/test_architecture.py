"""ARCHITECTURE.md says what the code does: its table of failures, and every path that it or another guide names."""

import re
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from bus.outcome import Code, Failed, FailureKind
from bus.retry import Dead, Reason, Release, Retry, RetryPolicy, decide
from triggers.http.codec import to_answer

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
JAVASCRIPT = ROOT / "sandbox/guest/node/guest.js"
MAPS = sorted(path for path in ROOT.glob("[!.]*/**/__init__.py") if path.relative_to(ROOT).parts[0] != "tests")
ANY_EXCEPTION = "the exception's type"

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_FOLDERS = "bus|triggers|dispatcher|sandbox|forklight|tests|scripts|docs|benchmarks|requirements"
_QUOTED_PATH = re.compile(rf"`((?:{_FOLDERS})/[a-z_/.]+)`")


class Failure(NamedTuple):
    """One row of the table of kinds and codes."""

    kind: str
    code: str
    status: str
    queue: str
    raised_in: str


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below this heading row, without the marks around names."""
    _, _, table = TEXT.partition(f"{heading}\n")
    lines = table.partition("\n\n")[0].splitlines()[1:]
    assert lines, f"there is no table {heading}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


FAILURES = [
    Failure(kind.strip("`"), code.strip("`"), *rest)
    for kind, code, *rest in rows("| kind | code | status | queue | raised in |")
]
OF_A_SERVER = [failure for failure in FAILURES if failure.status != "-"]
"""The others are answers of commands that need no server."""


def outcome(failure: Failure) -> Failed:
    code = "ValueError" if failure.code.startswith(ANY_EXCEPTION) else failure.code
    return Failed(kind=failure.kind, code=code, message="no")  # type: ignore[arg-type]


def test_every_code_is_in_the_table() -> None:
    codes = {code for group in get_args(Code) for code in (get_args(group) or (group,))}
    assert {failure.code for failure in FAILURES if not failure.code.startswith(ANY_EXCEPTION)} == codes


def test_every_code_of_a_guest_that_cannot_load_is_in_the_table() -> None:
    """The guest cannot import the type of codes, so mypy does not see what it sends."""
    guest = "".join(path.read_text() for path in (*(ROOT / "sandbox/guest/_forklight").glob("*.py"), JAVASCRIPT))
    sent = set(re.findall(r'(?:LoadError\(|"code": )["\'](\w+)["\']', guest))
    assert len(sent) > 3
    assert sent <= {failure.code for failure in FAILURES if failure.kind == "load"}


def test_every_kind_is_in_the_table() -> None:
    assert {failure.kind for failure in FAILURES} == set(get_args(FailureKind))


@pytest.mark.parametrize("failure", OF_A_SERVER, ids=lambda failure: f"{failure.kind}-{failure.code}")
def test_a_client_gets_the_status_of_the_table(failure: Failure) -> None:
    assert str(to_answer(outcome(failure), "id").status) == failure.status


@pytest.mark.parametrize("failure", OF_A_SERVER, ids=lambda failure: f"{failure.kind}-{failure.code}")
def test_a_queue_does_what_the_table_says(failure: Failure) -> None:
    decision = decide(outcome(failure), 1, 0.0, RetryPolicy(), 0.5)
    if failure.queue.startswith("dead letter"):
        named = re.search(r"\(`(\w+)`\)", failure.queue)
        assert decision == Dead(named[1] if named else failure.code, f"{failure.kind}/{failure.code}: no")  # type: ignore[arg-type]
    else:
        assert isinstance(decision, Retry if failure.queue.startswith("retry") else Release)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: f"{failure.kind}-{failure.code}")
def test_a_failure_is_raised_where_the_table_says(failure: Failure) -> None:
    constant = re.sub(r"(?<!^)(?=[A-Z])", "_", failure.code).upper()
    for path in _QUOTED_PATH.findall(failure.raised_in):
        source = (ROOT / path).read_text()
        assert failure.code.startswith(ANY_EXCEPTION) or re.search(rf"\b({failure.code}|{constant})\b", source), path


def test_every_reason_of_a_dead_letter_is_in_its_table() -> None:
    assert {reason.strip("`") for reason, *_ in rows("| reason | when | decided in |")} == set(get_args(Reason))


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_that_a_guide_names_is_there(guide: str) -> None:
    text = (ROOT / guide).read_text()
    named = {*_LINK.findall(text), *_QUOTED_PATH.findall(text)}
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("path", MAPS, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_every_file_that_a_package_lists_is_there(path: Path) -> None:
    items = re.findall(r"^- .+$", path.read_text(), re.MULTILINE)
    listed = {name for item in items for name in re.findall(r"`(\w+\.py)`", item)}
    assert listed <= {file.name for file in path.parent.glob("*.py")}
