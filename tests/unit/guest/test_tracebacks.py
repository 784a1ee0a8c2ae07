"""Exceptions as text: only the author's frames, bounded, even if the exception's own methods fail."""

import sys
from collections.abc import Callable
from typing import Any

from sandbox.guest._forklight.tracebacks import format_traceback, message_of, place_of
from tests.kit.guest import call


def caught(function: Callable[[], Any]) -> BaseException:
    """The exception that a function raises, with the frames of this file and of the function."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_only_the_authors_frames_are_shown() -> None:
    def handler(event: Any, context: Any) -> None:
        context.send("q", object())

    traceback = call(handler).header["traceback"]
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert 'context.send("q", object())' in traceback
    assert traceback.count('  File "') == 1
    assert "in handler" in traceback


def test_chained_exceptions_are_kept() -> None:
    def handler(event: Any) -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    traceback = call(handler).header["traceback"]
    assert "KeyError: 'first'" in traceback
    assert "direct cause" in traceback
    assert traceback.endswith("ValueError: second\n")


def test_groups_are_kept() -> None:
    def handler(event: Any) -> None:
        raise ExceptionGroup("both", [ValueError("a"), KeyError("b")])

    traceback = call(handler).header["traceback"]
    assert "ValueError: a" in traceback
    assert "KeyError: 'b'" in traceback


def test_deep_recursion_is_bounded() -> None:
    def even(n: int) -> int:
        return odd(n + 1)

    def odd(n: int) -> int:
        return even(n + 1)

    traceback = format_traceback(caught(lambda: even(0)))
    assert traceback.count('  File "') <= 200
    assert "RecursionError" in traceback


def test_a_long_chain_is_bounded_and_keeps_both_ends() -> None:
    error: BaseException = ValueError("the first of all")
    for number in range(3000):
        try:
            raise KeyError(number) from error
        except KeyError as link:
            error = link
    traceback = format_traceback(error)
    assert len(traceback.encode()) < 65 * 1024
    assert "the first of all" in traceback
    assert traceback.endswith("KeyError: 2999\n")
    assert "bytes left out" in traceback


class BadStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NoStr(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


def test_a_hostile_str_is_said_instead() -> None:
    assert message_of(BadStr()) == "(no message: its __str__ raised SystemExit)"
    assert message_of(NoStr()) == "(no message: its __str__ raised TypeError)"

    def handler(event: Any) -> None:
        raise BadStr

    header = call(handler).header
    assert header["code"] == "BadStr"
    assert "raise BadStr" in header["traceback"]


def test_a_hostile_syntax_error_is_said_instead() -> None:
    error = SyntaxError("odd")
    error.lineno = "x"  # type: ignore[assignment]
    error.offset = object()  # type: ignore[assignment]
    error.text = 3  # type: ignore[assignment]

    def handler(event: Any) -> None:
        raise error

    assert call(handler).header["code"] == "SyntaxError"


def test_messages_are_bounded_and_always_utf8() -> None:
    assert message_of(ValueError("grün")) == "grün"
    assert message_of(ValueError("\ud800")) == "\\ud800"
    long = message_of(ValueError("ä" * 10_000 + "end"))
    assert len(long.encode()) < 5000
    assert long.startswith("ä")
    assert long.endswith("ä" + "end")


def test_no_frame_of_the_author_no_traceback() -> None:
    assert format_traceback(ValueError("never raised")) == ""
    assert call(abs).header["traceback"] == ""


def test_out_of_memory_names_the_line_and_lets_go_of_the_memory() -> None:
    class Big:
        pass

    big = Big()
    references = sys.getrefcount(big)

    def hungry() -> None:
        held = big
        raise MemoryError(held is None)

    error = caught(hungry)
    assert sys.getrefcount(big) > references
    place = place_of(error)
    assert place.startswith(f'File "{__file__}", line ')
    assert place.endswith("in hungry")
    assert sys.getrefcount(big) == references
