"""What can go wrong with the http trigger, and the one exception that ends a request before it becomes an event."""


class HttpTriggerError(Exception):
    """Something the operator has to change; the message is one line that says what and how."""


class ListenError(HttpTriggerError):
    """The address cannot be listened on."""


class ParserError(HttpTriggerError):
    """aiohttp came without its C parser."""


class RouteError(HttpTriggerError):
    """A route is malformed, or two routes claim the same requests."""


class KeysError(HttpTriggerError):
    """The file of keys cannot be read."""


RETRY_SOON = (("retry-after", "1"),)
"""The header of a 503 that will pass."""


class RefusedError(Exception):
    """A request ends here with `status` (RFC 9110 §15); no function sees it. `detail` tells the client why.

    `last`: its connection ends too, because where the next request would begin is not to be trusted. `method` and
    `target` are those of a request that the parser refused, as far as they can be told.
    """

    def __init__(
        self, status: int, detail: str, *, headers: tuple[tuple[str, str], ...] = (), last: bool = True
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.last = last
        self.method = self.target = ""
