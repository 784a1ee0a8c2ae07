"""One event on its way to a command and back: what the command gets, what it has sent so far, and what it took."""

import re
import time
from typing import Any

from . import lambda_events
from .http_requests import response
from .outputs import Outputs
from .traces import begin_trace

_PLAIN_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class Call:
    """The open call of an instance."""

    def __init__(self, head: "dict[str, Any]", max_result: int, cpu_ns: int) -> None:
        """`head`: that of the invoke frame; `cpu_ns`: what the command and its instance have used before."""
        self.i: int = head["i"]
        self.fields: dict[str, Any] = head["event"]
        self.outputs = Outputs(max_result)
        self.is_offered = False
        """whether the command has got the event"""
        self.is_overdue = False
        self._head = head
        self._started_ns = time.monotonic_ns()
        self._cpu_ns = cpu_ns
        self._payload = b""
        event_id = self.fields["id"]
        self.request_id = event_id if _PLAIN_ID.fullmatch(event_id) else begin_trace(event_id)[3:35]
        """The event's id, which clients put into paths as it is; of another one the trace that it begins."""

    def read(self, body: bytes, form: str, function: str, region: str) -> None:
        """Make the payload. Raises Undecodable, Unencodable."""
        self._payload = lambda_events.payload(self.fields, body, form=form, function=function, region=region)

    def offer(self, function: str, region: str, cpu_ns: int) -> bytes:
        """The answer to the command's question for an event. The headers of AWS, and what else is in a context."""
        self.is_offered = True
        self._started_ns, self._cpu_ns = time.monotonic_ns(), cpu_ns
        deadline_ms = time.time() * 1000 + (self._head["deadline_ns"] - self._started_ns) / 1e6
        trace = self.fields.get("traceparent") or begin_trace(self.fields["id"])
        root = f"Root=1-{trace[3:11]}-{trace[11:35]};Parent={trace[36:52]};Sampled={int(trace[53:55], 16) & 1}"
        headers = (
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int(deadline_ms))),
            (
                "Lambda-Runtime-Invoked-Function-Arn",
                f"arn:aws:lambda:{region}:{lambda_events.ACCOUNT}:function:{function}",
            ),
            ("Lambda-Runtime-Trace-Id", root),
            ("Forklight-Attempt", str(self._head["attempt"])),
            ("Forklight-Start", self._head["start"]),
            ("Traceparent", trace),
        )
        return response(200, self._payload, headers)

    def figures(self, cpu_ns: int, peak_rss_kb: int, log: int) -> "dict[str, Any]":
        """The fields that every frame has that ends a call. `cpu_ns`: used so far; `log`: whether lines are unread."""
        return {
            "i": self.i,
            "started_ns": self._started_ns,
            "finished_ns": time.monotonic_ns(),
            "cpu_ns": max(0, cpu_ns - self._cpu_ns),
            "peak_rss_kb": peak_rss_kb,
            "log": log,
        }

    @property
    def limit_s(self) -> float:
        """How long the command had from the moment at which it got the event."""
        return float((self._head["deadline_ns"] - self._started_ns) / 1e9)
