"""What a program printed last, as it is quoted where a start failed."""

from pathlib import Path

import pytest
from msgspec import structs

from sandbox.errors import LoadFailed
from sandbox.last_words import MOST_BYTES, MOST_LINES, LastWords, below, hidden, quoted
from sandbox.spec import FunctionSpec, Runtime

pytestmark = pytest.mark.any_user
SHOP = FunctionSpec(
    name="f",
    version="1",
    code=Path("/"),
    handler="x",
    runtime=Runtime(name="r", kind="command", python=Path("/python"), command=("./bootstrap",)),
    env={"STRIPE_KEY": "sk"},
)


def test_only_the_end_is_kept() -> None:
    words = LastWords()
    for n in range(10_000):
        words.feed(b"line %d\n\n" % n)
    words.feed(b"un")
    words.feed(b"ended")

    assert words.lines() == [*(b"line %d" % n for n in range(10_001 - MOST_LINES, 10_000)), b"unended"]
    words.feed(b"x" * 2 * MOST_BYTES)
    assert words.lines() == [b"x" * MOST_BYTES]


def test_native_frames_are_left_out() -> None:
    words = LastWords()
    frames = b" 1: 0xd32b41  [/usr/bin/node]\n10: 0x214a V8_Fatal(char const*, ...) [/usr/bin/node]\n"
    words.feed(b"#\n# Fatal error in , line 0\n#\n#\n----- Native stack trace -----\n\n" + frames)

    assert words.lines() == [b"# Fatal error in , line 0"]


def test_the_words_are_below_the_stack() -> None:
    assert below("in main\n", ["one", "two"]) == "in main\nits last output:\n  one\n  two"
    assert below("", ["one"]) == "its last output:\n  one"
    assert below("in main", []) == "in main"


@pytest.mark.parametrize(
    "line",
    [
        "KeyError: 'DATABASE_URL'",
        "./bootstrap: line 3: DATABASE_URL: unbound variable",
        "./bootstrap: 3: DATABASE_URL: parameter not set",
        "./bootstrap: line 2: DATABASE_URL: parameter null or not set",
        "panic: environment variable DATABASE_URL is required",
        "required key DATABASE_URL missing value",
        "Error: Missing required environment variable: DATABASE_URL",
        'main.rb:1:in `fetch\': key not found: "DATABASE_URL" (KeyError)',
        "$DATABASE_URL must be set",
        'PHP Warning:  Undefined array key "DATABASE_URL" in /app/x.php on line 3',
        "Error: expected DATABASE_URL to be defined",
        "STRIPE_KEY and DATABASE_URL must be set",
    ],
)
def test_a_variable_that_is_missing_is_named_with_what_sets_it(line: str) -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), ["before", line, "exit status 2"], SHOP)

    assert failed.message == (
        "it ended: DATABASE_URL is not set: a function gets only the variables of its env, env_file and secrets; "
        'write secrets = { DATABASE_URL = { file = "…" } } in [functions.f] of forklight.toml'
    )
    assert failed.traceback == f"its last output:\n  before\n  {line}\n  exit status 2"


def test_a_variable_of_a_shell_may_have_any_name() -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), ["x: token: unbound variable"], SHOP)
    assert ": token is not set" in failed.message


def test_a_variable_that_is_called_one_may_have_any_name_too() -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), ["fatal: no environment variable 'PORT'"], SHOP)
    assert ": PORT is not set" in failed.message


def test_what_is_no_secret_is_set_in_the_open() -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), ["KeyError: 'LOG_FORMAT'"], SHOP)
    assert failed.message.endswith('; write env = { LOG_FORMAT = "…" } in [functions.f] of forklight.toml')


def test_the_data_folder_is_asked_for_by_its_own_setting() -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), ["KeyError: 'FORKLIGHT_DATA'"], SHOP)
    assert failed.message.endswith(": FORKLIGHT_DATA is not set: write data = true in [functions.f] of forklight.toml")


@pytest.mark.parametrize(
    "line",
    [
        "no LICENCE",
        "KeyError: 'order'",
        "KeyError: 'SKU'",
        "connected to DATABASE_URL",
        "ValueError: MAX_ITEMS must be positive",
        "STRIPE_KEY must not be empty",  # it is set
        "Error: ER_NO_SUCH_TABLE_HERE",
        "UNAUTHORIZED_CLIENT",
    ],
)
def test_other_words_are_only_quoted(line: str) -> None:
    failed = quoted(LoadFailed("InitFailed", "it ended"), [line], SHOP)
    assert (failed.message, failed.traceback) == ("it ended", f"its last output:\n  {line}")


def test_values_of_secrets_are_hidden() -> None:
    secrets = {
        "DATABASE_URL": "postgres://shop:pw@db\n",
        "KEY": "-----BEGIN KEY-----\n  MIIEvQ==\n",
        "PIN": "12",
        "PW": "shop:pw",
    }
    spec = structs.replace(SHOP, secrets=secrets)
    told = LoadFailed("InitFailed", "cannot reach postgres://shop:pw@db", "at 12: shop:pw")

    failed = quoted(told, ["MIIEvQ== and a.b", "(postgres://shop:pw@db)"], spec)

    assert failed.message == "cannot reach <DATABASE_URL>"
    assert failed.traceback == "at 12: <PW>\nits last output:\n  <KEY> and a.b\n  (<DATABASE_URL>)"
    assert hidden(told, SHOP) is told
