"""The http trigger: requests become events, outcomes become answers. Read `server.py` first, then `codec.py`."""

from triggers.http.errors import HttpTriggerError, ListenError, ParserError, RouteError
from triggers.http.routes import RouteTable
from triggers.http.server import HttpServer
from triggers.http.settings import HttpSettings, Route, StaticRoute

__all__ = [
    "HttpServer",
    "HttpSettings",
    "HttpTriggerError",
    "ListenError",
    "ParserError",
    "Route",
    "RouteError",
    "RouteTable",
    "StaticRoute",
]
