"""The outputs of one invocation (send, publish, spawn): part of its reply if it succeeds, dropped if it fails."""

import json
from typing import Any, NamedTuple

from .encoding import encode_body
from .wire import MAX_SECONDS, MAX_TEXT_CHARS

MAX_LISTING_BYTES = 620 * 1024  # the list is in the reply's header: 1 MiB, of which 384 KiB for escaped HTTP headers


class ResultTooLarge(ValueError):
    """The result and the outputs of an invocation together are larger than `max_result`."""


class Output(NamedTuple):
    """One output as listed in a reply. Its body follows the result's."""

    kind: str
    name: str
    type: str
    length: int
    delay_s: float
    id: str | None
    headers: dict[str, str]
    correlation_id: str | None = None
    reply_to: str | None = None

    def listed(self) -> "tuple[Any, ...]":
        """The fields, without the last two if unused, to save room in the reply's header."""
        return self if self.correlation_id or self.reply_to else self[:7]


class Outputs:
    """The outputs of one invocation, in order. `max_result_bytes` limits them and the result together."""

    __slots__ = ("_bodies_bytes", "_closed", "_kept", "_listing_bytes", "_max_result_bytes")

    def __init__(self, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._kept: list[tuple[Output, bytes]] = []
        self._closed = False
        self._bodies_bytes = 0
        self._listing_bytes = 0

    def add(
        self,
        kind: str,
        name: str,
        data: Any,
        *,
        delay_s: float = 0.0,
        output_id: str | None = None,
        headers: "dict[str, str] | None" = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> None:
        """Add one output. `data` is encoded at once, so later changes to it have no effect. Raises before adding."""
        headers = {} if headers is None else headers
        _check(kind, name, headers, {"id": output_id, "correlation_id": correlation_id, "reply_to": reply_to})
        content_type, body = encode_body(data)
        output = Output(
            kind, name, content_type, len(body), delay_s, output_id, dict(headers), correlation_id, reply_to
        )
        listing_bytes = self._listing_bytes + len(json.dumps(output.listed()))
        if listing_bytes > MAX_LISTING_BYTES:
            raise ResultTooLarge(
                f"{len(self._kept) + 1} outputs of one call, whose names, ids and headers take {listing_bytes} bytes, "
                f"over {MAX_LISTING_BYTES}: send several in one message, or spawn calls that each send some"
            )
        check_size(0, self._bodies_bytes + len(body), self._max_result_bytes)
        if self._closed:
            raise RuntimeError(f"{kind}({name!r}) after the invocation has ended: its outputs went with its result")
        self._listing_bytes = listing_bytes
        self._bodies_bytes += len(body)
        self._kept.append((output, body))

    def close(self) -> list[tuple[Output, bytes]]:
        """End the invocation; returns its outputs. Threads of the handler that still run can add no more."""
        self._closed = True
        return self._kept.copy()


def check_size(result_bytes: int, outputs_bytes: int, max_result_bytes: int) -> None:
    """Raise ResultTooLarge if the result and the outputs together exceed the limit."""
    if result_bytes + outputs_bytes > max_result_bytes:
        raise ResultTooLarge(
            f"a result of {result_bytes} bytes and outputs of {outputs_bytes} bytes, "
            f"but max_result allows {max_result_bytes} bytes together"
        )


def seconds(duration: Any) -> float:
    """A duration, given as seconds or a timedelta, in seconds; None is 0. Raises TypeError, ValueError."""
    if duration is None:
        return 0.0
    if hasattr(duration, "total_seconds"):
        duration = duration.total_seconds()
    if not isinstance(duration, (int, float)) or isinstance(duration, bool):
        raise TypeError(f"a duration is seconds or a timedelta, not an object of type {type(duration).__name__}")
    if not 0 <= duration <= MAX_SECONDS:
        text = f"{duration:g} s" if isinstance(duration, float) or abs(duration) < 2**53 else "an integer that large"
        raise ValueError(f"a duration of {text}: it must be finite, not negative, and at most 366 days")
    return float(duration)


def _check(kind: str, name: str, headers: dict[str, str], texts: "dict[str, str | None]") -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"{kind}: the name must be a non-empty str, not {name!r:.40}")
    for what, text in texts.items():
        if text is not None and (not isinstance(text, str) or not text):
            raise TypeError(f"{kind}: the {what} must be a non-empty str, not {text!r:.40}")
    if not isinstance(headers, dict):
        raise TypeError(f"{kind}: headers must be a dict, not an object of type {type(headers).__name__}")
    for key, value in headers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{kind}: names and values of headers must be str, not {key!r:.40}: {value!r:.40}")
    _check_texts(kind, (name, *(text or "" for text in texts.values()), *headers), tuple(headers.values()))


def _check_texts(kind: str, names: "tuple[str, ...]", values: "tuple[str, ...]") -> None:
    for text in names:
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"{kind}: {text!r:.40} has {len(text)} characters, over {MAX_TEXT_CHARS}")
    for text in (*names, *values):
        if not _is_utf8(text):
            raise ValueError(f"{kind}: {text!r:.40} has a lone surrogate, which is not UTF-8")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
