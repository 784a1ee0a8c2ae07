"""Tools for tests of applications: events as handlers get them, handlers run in process, whole applications served.

    from forklight.testing import http, run, serving

    def test_total():
        result = run("total:handler", http("POST", "/total", json={"numbers": [1, 2, 3]}))
        assert result.response.json() == {"total": 6}

`http`, `queue`, `batch`, `timer` and `call` build events; `run` (inside an event loop `arun`) hands one to a handler;
`serving` (`serve`) starts `forklight serve`. docs/testing.md tells more.
"""

from forklight.admin.client import NoServer, Refused
from forklight.observe.entry import Entry
from forklight.testing.application import Application, ServeError, serving
from forklight.testing.aserving import AsyncApplication, serve
from forklight.testing.events import batch, call, http, queue, timer
from forklight.testing.results import Ended, Failure, Headers, Response, Result, Sent, Settled, Spawned
from forklight.testing.running import arun, run
from sandbox.guest._forklight.handler import LoadError

__all__ = [
    "Application",
    "AsyncApplication",
    "Ended",
    "Entry",
    "Failure",
    "Headers",
    "LoadError",
    "NoServer",
    "Refused",
    "Response",
    "Result",
    "Sent",
    "ServeError",
    "Settled",
    "Spawned",
    "arun",
    "batch",
    "call",
    "http",
    "queue",
    "run",
    "serve",
    "serving",
    "timer",
]
