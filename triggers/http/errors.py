"""The exceptions of the http trigger."""


class HttpTriggerError(Exception):
    """An error that the operator has to fix. The message is one line and says how."""


class ListenError(HttpTriggerError):
    """The server cannot listen on the address."""


class ParserError(HttpTriggerError):
    """aiohttp is installed without its C parser."""


class RouteError(HttpTriggerError):
    """A route is malformed, or two routes match the same requests."""


class KeysError(HttpTriggerError):
    """The keys file cannot be read."""


RETRY_SOON = (("retry-after", "1"),)
"""The headers of a 503 that is soon over."""


class RefusedError(HttpTriggerError):
    """Ends a request with `status` (RFC 9110 §15) before it becomes an event. `detail` tells the client why.

    `last`: the connection closes too, because the start of the next request cannot be trusted. `reason` is for the
    record, if the status says too little. `method` and `target` are set for a request that the parser refused, if they
    can be read.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        last: bool = True,
        reason: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.last = last
        self.reason = reason
        self.method = self.target = ""
