"""The second argument of a handler: its invocation, its deadline, and its outputs."""

import time
from logging import Logger
from typing import Any, NoReturn

from .outputs import Outputs, seconds
from .traces import begin_trace


class Retry(BaseException):
    """Raised by `context.retry()`. A BaseException, so that an `except Exception` in the handler does not catch it."""

    def __init__(self, retry_after_s: float | None) -> None:
        when = "" if retry_after_s is None else f" in {retry_after_s:g} s"
        super().__init__(f"the handler asked for another attempt{when}")
        self.retry_after_s = retry_after_s


class Rejected(BaseException):
    """Raised by `context.reject(reason)`. A BaseException for the same reason."""


class Context:
    """The context of one invocation. Its outputs are stored if the invocation succeeds, and dropped if it fails.

    `deadline` is in seconds since the epoch, like `time.time()`; `attempt` counts from 1; `invocation_id` is the id of
    the event, the same in every attempt; `start_kind` is `warm`, `fork`, `load` or `boot`. `traceparent` is for
    requests to other services (W3C Trace Context); outputs have it already.
    """

    __slots__ = (
        "_deadline",
        "_deadline_ns",
        "_outputs",
        "_traceparent",
        "attempt",
        "function",
        "invocation_id",
        "log",
        "start_kind",
        "version",
    )

    def __init__(self, function: str, version: str, log: Logger, head: dict[str, Any], outputs: Outputs) -> None:
        """`head`: the header of the invoke frame."""
        self.invocation_id: str = head["event"].get("id")
        self._traceparent: str | None = head["event"].get("traceparent")
        self.function = function
        self.version = version
        self.attempt: int = head["attempt"]
        self.start_kind: str = head["start"]
        self.log = log
        self._deadline_ns: int = head["deadline_ns"]
        self._deadline = 0.0
        self._outputs = outputs

    @property
    def deadline(self) -> float:
        """Seconds since the epoch. Later changes of the clock do not change it once it was read."""
        if not self._deadline:  # computed on demand, because few handlers ask
            self._deadline = time.time() + (self._deadline_ns - time.monotonic_ns()) / 1e9
        return self._deadline

    @property
    def traceparent(self) -> str:
        """The trace that the event belongs to, or begins."""
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
        """Send a message to a queue. `delay`: seconds or a timedelta; `headers`: str by name.

        `correlation_id` and `reply_to` are for requests and replies: a reply goes to the `reply_to` queue of the
        request and has its correlation id. None leaves them out.

        As in `publish` and `spawn`, `data` is encoded like a result (text, octets or JSON). Raises Unencodable,
        ResultTooLarge (outputs and result count together), and RuntimeError if the invocation has ended.
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
        """Publish an event to every function that subscribes to the topic."""
        self._outputs.add("publish", topic, data, output_id=id)

    def spawn(self, function: str, data: Any, *, delay: Any = None, id: str | None = None) -> None:  # noqa: A002
        """Invoke another function without waiting for it. `delay` as in `send`."""
        self._outputs.add("spawn", function, data, delay_s=seconds(delay), output_id=id)

    def retry(self, after: Any = None) -> NoReturn:
        """Always raises: ends this attempt and asks for another, after `after` seconds (or a timedelta) if given."""
        raise Retry(None if after is None else seconds(after))

    def reject(self, reason: str) -> NoReturn:
        """Always raises: ends the invocation; the event can never succeed, and there is no other attempt."""
        raise Rejected(reason)
