"""`-d` and `-f`: the body of an event or a message, and its content type."""

import json
import mimetypes
import os
import sys
from pathlib import Path

import click

data_option = click.option("-d", "--data", metavar="JSON", help="The body: a JSON value.")
file_option = click.option(
    "-f", "--file", metavar="FILE|-", help="The body: a file, whose name says its type, or JSON from standard input."
)


def read_body(data: str | None, file: str | None) -> tuple[bytes, str | None]:
    """Return the body and its content type: empty and None without -d and -f. Raises UsageError."""
    if data is not None and file is not None:
        raise click.UsageError("give -d or -f, not both")
    if file is not None and file != "-":
        try:
            return Path(file).read_bytes(), mimetypes.guess_type(file)[0] or "application/octet-stream"
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error
    if data is None and file is None:
        return b"", None
    body = sys.stdin.buffer.read() if data is None else os.fsencode(data)
    try:
        json.loads(body)
    except ValueError as error:
        raise click.UsageError(f"the data is not valid JSON: {error}") from error
    return body, "application/json"
