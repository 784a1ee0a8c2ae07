"""The options of a request, a message and an invocation of a running application, for mypy and editors."""

from collections.abc import Mapping
from typing import TypedDict

from forklight.testing.bodies import Files


class RequestOptions(TypedDict, total=False):
    """Options of `request`, `get` and `post`. At most one body."""

    json: object
    data: bytes | None
    text: str | None
    form: Mapping[str, object] | None
    files: Files | None
    """With these, the form is multipart/form-data."""
    query: Mapping[str, object] | None
    """Values may be lists."""
    headers: Mapping[str, str] | None
    cookies: Mapping[str, str] | None
    timeout_s: float


class SendOptions(TypedDict, total=False):
    """Options of `send`."""

    json: object
    data: bytes | None
    text: str | None
    message_id: str | None
    delay_s: float
    """It is delivered no sooner than this."""
    headers: Mapping[str, str] | None


class InvokeOptions(TypedDict, total=False):
    """Options of `invoke`. With `timer`, that timer of the function is fired, its only one if the name is empty."""

    json: object
    data: bytes | None
    text: str | None
    timer: str | None
