"""Responses as on AWS Lambda, dicts with `statusCode`: for API Gateway (both formats), ALB and function URLs."""

from typing import Any, NamedTuple

from .encoding import Unencodable
from .headers import pairs

_KEYS = ("statusCode", "headers", "multiValueHeaders", "cookies", "body", "isBase64Encoded", "statusDescription")


class ProxyAnswer(NamedTuple):
    """The content of such a dict. `headers` are pairs, unchecked."""

    body: Any
    status: int
    headers: list[tuple[Any, Any]]


def read_proxy_answer(value: "dict[str, Any]") -> ProxyAnswer:
    """Read such a dict. Raises Unencodable if it is invalid on AWS, too. `statusDescription` is ignored."""
    unknown = [key for key in value if key not in _KEYS]
    if unknown:
        raise Unencodable(f"$: a response with statusCode cannot have {unknown[0]!r}, only {', '.join(_KEYS)}")
    body = _from_base64(value.get("body")) if value.get("isBase64Encoded") else value.get("body")
    return ProxyAnswer(body, _status(value["statusCode"]), [*_merged(value), *_cookies(value.get("cookies"))])


def _status(status: Any) -> int:
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status[:4])
    try:
        whole = int(status)  # other JSON libraries, and DynamoDB, return numbers of other types
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if isinstance(status, bool) or whole != status or not 100 <= whole <= 599:
        raise Unencodable(f"$.statusCode: {status!r:.40} is not an integer from 100 to 599")
    return whole


def _merged(value: "dict[str, Any]") -> "list[tuple[Any, Any]]":
    """Both kinds of headers; a pair that is in both is sent once."""
    several = list(pairs(value.get("multiValueHeaders")))
    known = {(str(name).lower(), str(text)) for name, text in several}
    alone = [pair for pair in pairs(value.get("headers")) if (str(pair[0]).lower(), str(pair[1])) not in known]
    return alone + several


def _cookies(cookies: Any) -> "list[tuple[Any, Any]]":
    if not isinstance(cookies, (list, tuple, type(None))):
        raise Unencodable(f"$.cookies: {cookies!r:.40} is not a list of texts")
    return [("Set-Cookie", cookie) for cookie in cookies or ()]


def _from_base64(body: Any) -> "bytes | None":
    from base64 import b64decode

    if body is None:
        return None
    if not isinstance(body, str):
        raise Unencodable(f"$.body: isBase64Encoded needs text, not an object of type {type(body).__name__}")
    try:
        return b64decode("".join(body.split()), validate=True)  # encoders for mail insert line breaks
    except ValueError as error:
        raise Unencodable(f"$.body: not base64, as isBase64Encoded says: {error}") from None
