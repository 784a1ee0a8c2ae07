"""The types for authors of handlers say what a handler gets, and mypy finds what is not so."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from bus.event import CallSection, HttpSection, QueueSection, TimerSection
from forklight import types
from forklight.testing import call, http, queue, timer
from sandbox.guest._forklight import context as guest

ROOT = Path(__file__).resolve().parents[3]
HANDLER = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forklight.types import Context, HttpEvent, QueueEvent

def handler(event: "HttpEvent", context: "Context") -> dict[str, str]:
    name: str = event["http"]["params"]["name"]
    context.log.info("greeting %s after %d", name, context.attempt)
    context.send("greeted", {"name": name}, delay=5)
    return {"hello": name, "method": event["http"]["method"]}

async def ahandler(event: "QueueEvent", context: "Context") -> None:
    if event["queue"]["attempt"] > 3:
        context.reject("too often")
    context.retry(after=1.5)
"""


@pytest.mark.parametrize(
    ("section", "struct"),
    [(types.Http, HttpSection), (types.Queue, QueueSection), (types.Timer, TimerSection), (types.Call, CallSection)],
)
def test_a_section_has_the_keys_of_the_event(section: Any, struct: Any) -> None:
    assert get_type_hints(section) == get_type_hints(struct)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (http("GET", "/"), types.HttpEvent),
        (queue("q"), types.QueueEvent),
        (timer(), types.TimerEvent),
        (call(), types.CallEvent),
    ],
)
def test_an_event_has_the_keys_of_its_type(event: Any, kind: Any) -> None:
    assert set(event) == set(get_type_hints(kind))
    assert set(event) <= set(get_type_hints(types.Event))


def test_a_form_has_the_keys_of_its_type() -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="f"\r\ncontent-type: image/png\r\n\r\nx\r\n--b--'
    event = http("POST", "/", data=body, headers={"content-type": "multipart/form-data; boundary=b"})
    form: types.Form = event["data"]
    assert set(form) == set(get_type_hints(types.Form))
    assert set(form["files"][0]) == set(get_type_hints(types.File))


def test_the_context_of_an_instance_is_one() -> None:
    """Mypy checks the assignment; what is there beside it is `publish`, which fails."""

    def take(given: guest.Context) -> types.Context:
        return given

    assert take.__annotations__
    told = {name for name in vars(types.Context) if not name.startswith("_")}
    assert told | {"publish"} == {name for name in dir(guest.Context) if not name.startswith("_")}


def test_the_types_import_the_standard_library_alone() -> None:
    """At run time they are harmless, in a template above all: nothing else of ours comes with them."""
    code = "import sys, forklight.types; print([name for name in sys.modules if name.partition('.')[0] in %r])"
    names = ("bus", "triggers", "dispatcher", "sandbox", "msgspec", "anyio", "aiohttp", "click")
    found = subprocess.run(
        [sys.executable, "-c", code % (names,)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        ('"method"]', '"methd"]', 'TypedDict "Http" has no key "methd"'),
        ('event["http"]["params"]', 'event["queue"]["params"]', 'TypedDict "HttpEvent" has no key "queue"'),
        ("context.send(", "context.sent(", '"Context" has no attribute "sent"'),
        ("delay=5", 'delay="5s"', 'Argument "delay" to "send" of "Context" has incompatible type "str"'),
        ("context.attempt)", "context.attempt + context.function)", "Unsupported operand types"),
        ('["attempt"] > 3', '["attempt"] > "3"', "Unsupported operand types"),
    ],
)
def test_mypy_finds_a_wrong_use(right: str, wrong: str, why: str, checked: "Checked") -> None:
    assert right in HANDLER
    status, said = checked(HANDLER.replace(right, wrong, 1))
    assert status == 1
    assert why in said


def test_mypy_accepts_a_right_use(checked: "Checked") -> None:
    assert checked(HANDLER) == (0, "Success: no issues found in 1 source file\n")


class Checked:
    """`mypy --strict` of one file in a folder of its own, for which this tree is as if installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, code: str) -> tuple[int, str]:
        (self._folder / "handlers.py").write_text(code)
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", "cache", "handlers.py"]
        found = subprocess.run(  # noqa: PLW1510  it fails where a test wants it to
            command, cwd=self._folder, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=50
        )
        return found.returncode, found.stdout


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return Checked(tmp_path_factory.mktemp("checked"))
