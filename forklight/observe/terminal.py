"""What is shown on a terminal, and the only place that writes there.

A client or a function chooses ids, paths, messages, names and bodies; what of them would move the cursor, set a title,
type for the operator or reorder a line is escaped as Python writes it (`\\x1b`, `\\u202e`): the control characters C0,
DEL and C1, the separators of lines and paragraphs, the characters that control the direction of text (Unicode TR 36,
§2.1.1 "bidirectional text spoofing"), and lone surrogates. JSON says the same in its own escapes, so it stays the same
JSON.

Only the colours of a function's own log lines pass, and only to a terminal: see `coloured`.
"""

import io
import logging
import re
import sys

import click

_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_A_LINE = re.compile(rf"[\t\n{_UNSAFE}]")
_IN_LINES = re.compile(rf"[{_UNSAFE}]")
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,32}m)")
"""Select Graphic Rendition (ECMA-48 §8.3.117): it colours what follows, and does nothing else."""
_COLOUR_OFF = "\x1b[0m"


def plain(text: str) -> str:
    """One line: also its tabs and line ends are escaped."""
    return text if text.isprintable() else _IN_A_LINE.sub(_escape, text)


def plain_lines(text: str, margin: str = "") -> str:
    """Several lines and their tabs; each line but the first begins with `margin`."""
    if text.isprintable():
        return text
    shown = _IN_LINES.sub(_escape, text)
    return shown.replace("\n", f"\n{margin}") if margin else shown


def coloured(text: str, *, colour: bool, margin: str = "") -> str:
    """A function's own line: on a terminal (`colour`) its colours stay and end with it; elsewhere they are left out."""
    if "\x1b[" not in text:
        return plain_lines(text, margin)
    pieces = _COLOUR.split(text)
    shown = [plain_lines(piece, margin) if index % 2 == 0 else piece * colour for index, piece in enumerate(pieces)]
    return "".join(shown) + (_COLOUR_OFF if colour and len(pieces) > 1 else "")


def plain_json(text: str) -> str:
    """The same JSON, with nothing in it that a terminal would obey."""
    return text if text.isascii() and "\x7f" not in text else _IN_JSON.sub(_escape_in_json, text)


def say(text: str = "", *, err: bool = False, colour: str | None = None) -> None:
    """Print lines of text on standard output, or with `err` on standard error; on a terminal perhaps in a colour."""
    shown = plain_lines(text)
    click.echo(click.style(shown, fg=colour) if colour else shown, err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print lines that are fit for it already, and may have colours: of tables and of the log."""
    click.echo(text, err=err)


def say_json(text: bytes | str) -> None:
    """Print JSON on standard output."""
    click.echo(plain_json(text.decode() if isinstance(text, bytes) else text))


def say_bytes(body: bytes) -> None:
    """Print a result as it is; on a terminal as text, ending its last line."""
    if sys.stdout.isatty():
        text = plain_lines(body.decode(errors="backslashreplace"))
        click.echo(text, nl=not text.endswith("\n"))
    else:
        click.echo(body, nl=False)


def show_error(error: click.ClickException) -> None:
    """What click says of it, on standard error: an answer of a server may be quoted there."""
    shown = io.StringIO()
    error.show(shown)
    click.echo(plain_lines(shown.getvalue()), err=True, nl=False)


OUR_LOGGERS = ("bus", "dispatcher", "forklight", "sandbox", "triggers")


def log_to_stderr(*, debug: bool = False) -> None:
    """Send what is logged to standard error: warnings and above, and with `debug` everything that our packages log."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else None))
    logging.getLogger().addHandler(handler)
    if debug:
        for name in OUR_LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The message and perhaps a traceback, whose lines begin with a space."""
        return plain_lines(super().format(record), margin=" ")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _escape_in_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
