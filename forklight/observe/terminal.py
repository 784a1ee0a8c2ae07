"""Output to a terminal, which no other module writes to.

Clients and functions choose ids, paths, messages, names and bodies. What `forklight/plain.py` lists is escaped in them;
in JSON it gets JSON's escapes, so the value stays the same.

The only exceptions are the colours of a function's own log lines on a terminal: see `coloured`.
"""

import io
import logging
import re
import sys

import click

from forklight.plain import UNSAFE, escape, plain

_IN_LINES = re.compile(rf"[{UNSAFE}]")
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,32}m)")
"""Select Graphic Rendition (ECMA-48 §8.3.117): it colours what follows, and does nothing else."""
_COLOUR_OFF = "\x1b[0m"


def plain_lines(text: str, margin: str = "") -> str:
    """Escape several lines, keeping tabs. Each line except the first begins with `margin`."""
    if text.isprintable():
        return text
    shown = _IN_LINES.sub(escape, text)
    return shown.replace("\n", f"\n{margin}") if margin else shown


def coloured(text: str, *, colour: bool, margin: str = "") -> str:
    """Escape a function's own line. With `colour` its colours stay, up to the end of the line; otherwise they go."""
    if "\x1b[" not in text:
        return plain_lines(text, margin)
    pieces = _COLOUR.split(text)
    shown = [plain_lines(piece, margin) if index % 2 == 0 else piece * colour for index, piece in enumerate(pieces)]
    return "".join(shown) + (_COLOUR_OFF if colour and len(pieces) > 1 else "")


def plain_json(text: str) -> str:
    """Escape JSON text, keeping its value."""
    return text if text.isascii() and "\x7f" not in text else _IN_JSON.sub(_escape_in_json, text)


def say(text: str = "", *, err: bool = False, colour: str | None = None) -> None:
    """Print lines of text to standard output, or to standard error; in `colour` if it is a terminal."""
    shown = plain_lines(text)
    _echo(click.style(shown, fg=colour) if colour else shown, err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print lines that are escaped already and may have colours, such as tables and log lines."""
    _echo(text, err=err)


def say_over(text: str) -> None:
    """Replace the last line on standard error, a terminal, which has no end yet."""
    _echo(f"\r\x1b[K{plain(text)}", nl=False, err=True)


def say_json(text: bytes | str) -> None:
    """Print JSON to standard output."""
    _echo(plain_json(text.decode() if isinstance(text, bytes) else text))


def say_bytes(body: bytes) -> None:
    """Print a result as it is; on a terminal, escaped and with a final newline."""
    if sys.stdout.isatty():
        text = plain_lines(body.decode(errors="backslashreplace"))
        _echo(text, nl=not text.endswith("\n"))
    else:
        _echo(body, nl=False)


def show_error(error: click.ClickException) -> None:
    """Print click's message to standard error, escaped, because it may quote an answer of the server."""
    shown = io.StringIO()
    error.show(shown)
    _echo(plain_lines(shown.getvalue()), err=True, nl=False)


def _echo(shown: str | bytes, *, err: bool = False, nl: bool = True) -> None:
    """Raises ClickException if standard output takes nothing, as on a full disk; click ends a command without reader.

    What standard error does not take is lost: a server goes on serving when the disk of its log is full.
    """
    try:
        click.echo(shown, err=err, nl=nl)
    except OSError as error:
        if err:
            return
        if isinstance(error, BrokenPipeError):
            raise
        raise click.ClickException(f"the output cannot be written: {error.strerror}") from None


OUR_LOGGERS = ("bus", "dispatcher", "forklight", "sandbox", "triggers")


def log_to_stderr(*, debug: bool = False) -> None:
    """Log to standard error: warnings and above, and with `debug` everything from our own packages."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else None))
    logging.getLogger().addHandler(handler)
    if debug:
        for name in OUR_LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Format the message and its traceback; further lines begin with a space."""
        return plain_lines(super().format(record), margin=" ")


def _escape_in_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
