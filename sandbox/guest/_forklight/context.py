"""The second argument of a handler: which invocation this is, how long it may take, and what it can ask for."""

import time
from logging import Logger
from typing import Any, NoReturn

from .outputs import Outputs, seconds
from .traces import begin_trace


class Retry(BaseException):
    """`context.retry()`. Like SystemExit no Exception, so that the handler's own `except Exception` lets it through."""

    def __init__(self, retry_after_s: float | None) -> None:
        when = "" if retry_after_s is None else f" in {retry_after_s:g} s"
        super().__init__(f"the handler asked for another attempt{when}")
        self.retry_after_s = retry_after_s


class Rejected(BaseException):
    """`context.reject(reason)`, no Exception for the same reason."""


class Context:
    """One per invocation. What it sends, publishes and spawns is stored with the invocation's success, or not at all.

    `deadline` is in seconds since the epoch, as `time.time()` gives them; `attempt` counts from 1; `invocation_id` is
    the event's id, the same in every attempt; `start_kind` is `warm`, `fork`, `load` or `boot`. `traceparent` is for
    what the handler asks others for (W3C Trace Context); what it sends has it already.
    """

    __slots__ = (
        "_deadline_ns",
        "_outputs",
        "_traceparent",
        "attempt",
        "deadline",
        "function",
        "invocation_id",
        "log",
        "start_kind",
        "version",
    )

    def __init__(self, function: str, version: str, log: Logger, head: dict[str, Any], outputs: Outputs) -> None:
        """`head` is the header of an invoke frame."""
        self.invocation_id: str = head["event"].get("id")
        self._traceparent: str | None = head["event"].get("traceparent")
        self.function = function
        self.version = version
        self.attempt: int = head["attempt"]
        self.start_kind: str = head["start"]
        self.log = log
        self._deadline_ns: int = head["deadline_ns"]
        self.deadline = time.time() + (self._deadline_ns - time.monotonic_ns()) / 1e9
        self._outputs = outputs

    @property
    def traceparent(self) -> str:
        """Of the trace that the event is part of, or begins."""
        return self._traceparent or begin_trace(self.invocation_id)

    def remaining_ms(self) -> int:
        """Milliseconds until the deadline; 0 once it has passed."""
        return max(0, (self._deadline_ns - time.monotonic_ns()) // 1_000_000)

    def send(
        self,
        queue: str,
        data: Any,
        *,
        delay: Any = None,
        id: str | None = None,  # noqa: A002
        headers: dict[str, str] | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> None:
        """A message to a queue. `delay` in seconds or a timedelta; `headers` are texts by name.

        `correlation_id` and `reply_to` are for requests and replies: an answer has the correlation id of what it
        answers and goes to the queue that is its `reply_to`; None leaves them out.

        Like `publish` and `spawn`: `data` becomes a body as a result does (text, octets, JSON); raises Unencodable,
        ResultTooLarge (outputs and result count together), and RuntimeError when the invocation has ended.
        """
        self._outputs.add(
            "send",
            queue,
            data,
            delay_s=seconds(delay),
            output_id=id,
            headers=headers,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )

    def publish(self, topic: str, data: Any, *, id: str | None = None) -> None:  # noqa: A002
        """An event to every function subscribed to the topic."""
        self._outputs.add("publish", topic, data, output_id=id)

    def spawn(self, function: str, data: Any, *, delay: Any = None, id: str | None = None) -> None:  # noqa: A002
        """An invocation of another function that nobody waits for. `delay` as in `send`."""
        self._outputs.add("spawn", function, data, delay_s=seconds(delay), output_id=id)

    def retry(self, after: Any = None) -> NoReturn:
        """Raises: ends this attempt and asks for another, `after` seconds (or a timedelta) from now if given."""
        raise Retry(None if after is None else seconds(after))

    def reject(self, reason: str) -> NoReturn:
        """Raises: this event will never succeed; no other attempt is made."""
        raise Rejected(reason)
