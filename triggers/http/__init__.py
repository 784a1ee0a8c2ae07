"""The http trigger: requests become events, outcomes become answers. Read `server.py` first, then `codec.py`."""

from triggers.http.errors import HttpTriggerError, KeysError, ListenError, ParserError, RouteError
from triggers.http.routes import RouteTable
from triggers.http.server import HttpServer
from triggers.http.settings import Cors, HttpSettings, Route, StaticRoute

__all__ = [
    "Cors",
    "HttpServer",
    "HttpSettings",
    "HttpTriggerError",
    "KeysError",
    "ListenError",
    "ParserError",
    "Route",
    "RouteError",
    "RouteTable",
    "StaticRoute",
]
