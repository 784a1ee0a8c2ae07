"""The http trigger: requests become events, outcomes become answers.

In reading order:

- `server.py`: a request finds its route, becomes an event, and its outcome becomes the answer
- `codec.py`: the event of a request, the answer of an outcome, and the table of statuses
- `head.py`: checks a request line and its headers
- `routes.py`: finds the route of a request; `templates.py`: paths with parameters
- `answers.py`: an answer and its bytes; `problems.py`: answers without a function behind them
- `exchange.py`: collects what the record of a request will say
- `settings.py`: the settings of the listener and of a route
- `grammar.py`, `stamps.py`, `errors.py`: what the standards allow; ids and times; exceptions

Below the server, beside one another: `socket` (connections and their bytes), `files` (static files) and `policy` (who
may ask).

The names below are those of the settings. `HttpServer` is imported from `server.py`, because it imports aiohttp, which
takes longer than all that a command does to read a configuration.
"""

from triggers.http.errors import HttpTriggerError, KeysError, ListenError, ParserError, RouteError
from triggers.http.routes import RouteTable
from triggers.http.settings import Cors, HttpSettings, Route, StaticRoute

__all__ = [
    "Cors",
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
