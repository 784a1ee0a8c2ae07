"""The http trigger: requests become events, outcomes become answers.

In reading order:

- `server.py`: one task a connection takes its requests, calls, and answers
- `codec.py`: a request becomes an event, an outcome an answer; the table of statuses
- `head.py`: what a request line and its headers say, once they are safe to believe
- `routes.py`: which route takes a request; `templates.py`: paths with parameters
- `answers.py`: what goes back, and its bytes; `problems.py`: answers without a function behind them
- `exchange.py`: one request and its answer, as the record has them
- `settings.py`: what can be set about the listener and a route
- `grammar.py`, `stamps.py`, `errors.py`: what the standards allow; ids and times; exceptions

Below the server, beside one another: `socket` (connections and their bytes), `files` (static files) and `policy` (who
may ask).
"""

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
