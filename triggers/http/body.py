"""Reads a request's body, never more of it than the route takes."""

from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from triggers.http.connection import Connection
from triggers.http.errors import RefusedError
from triggers.http.head import Head, content_length, expects_continue


def take_body(payload: StreamReader, head: Head, limit_bytes: int) -> bytes | None:
    """The body as received if it is all there, None if it has to be waited for. RefusedError: 413 over the limit.

    An announced length over the limit is refused before a byte is read and before `100 Continue`.
    """
    announced = content_length(head.headers)
    if announced is not None and announced > limit_bytes:
        raise _too_large(limit_bytes)
    if not payload.is_eof():
        return None
    body = payload.read_nowait()
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return body


async def read_body(connection: Connection, payload: StreamReader, head: Head, limit_bytes: int) -> bytes:
    """The body as received. RefusedError: 413 over the limit, 408 over the deadline, 400 if it is malformed."""
    connection.expect_body(payload, asked=expects_continue(head.headers))
    try:
        return await _read_rest(payload, limit_bytes)
    except RequestPayloadError as error:
        raise RefusedError(400, "the body is malformed") from error


async def _read_rest(payload: StreamReader, limit_bytes: int) -> bytes:
    blocks: list[bytes] = []
    size_bytes = 0
    while block := await payload.readany():
        blocks.append(block)
        size_bytes += len(block)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _too_large(limit_bytes: int) -> RefusedError:
    return RefusedError(413, f"the body is over {limit_bytes} bytes")
