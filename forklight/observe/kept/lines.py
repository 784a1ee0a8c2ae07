"""The lines of a kept log. Pure.

    {"version":1,"started":1764151331.25}     the server that writes from here on, by its start; the head of each file
    [17,{"time":1764151340.5,"function":…}]   its 17th entry

A line that cannot be read is skipped: a crash can cut off the last one of a server, which the next server then ends.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from forklight.observe.entry import Entry, Selection
from forklight.observe.formats import as_json

VERSION = 1
_HEAD = b'{"version":'


class Head(Struct, frozen=True):
    """`started` tells servers apart: the seconds since the epoch when it was started."""

    version: int
    started: float


class Kept(Struct, frozen=True, gc=False):
    """The entry with this number of the server that was started then."""

    started: float
    number: int
    entry: Entry


_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(tuple[int, Entry]).decode
_decode_head = msgspec.json.Decoder(Head).decode


def head(started: float) -> bytes:
    """Return the line before the entries of a server."""
    return _encode(Head(VERSION, started)) + b"\n"


def lines(entries: Sequence[tuple[int, Entry]]) -> bytes:
    """Return the lines of entries with their numbers."""
    try:
        return _encode_lines(entries)
    except UnicodeEncodeError:  # a lone surrogate, which `as_json` escapes
        return b"".join(f"[{number},{as_json(entry)}]\n".encode() for number, entry in entries)


class LineReader:
    """Reads the files, cut into pieces anywhere. Of the lines without what `selection` asks for, few are decoded."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._needles = _needles(selection)
        self._rest = b""
        self._is_known = False
        """Whether what follows was written by a version that we know."""
        self._started = 0.0
        self._number = 0
        """The server and the number of the latest entry."""

    def feed(self, data: bytes) -> list[Kept]:
        """Return the entries of the lines that end in `data`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [kept for text in lines if (kept := self._read(text)) is not None]

    def end(self) -> list[Kept]:
        """Return the entry of the last line of a file, if only the end of the line is missing."""
        kept = self.feed(b"\n")
        self._is_known = False
        return kept

    def _read(self, text: bytes) -> Kept | None:
        try:
            if text.startswith(_HEAD):
                self._read_head(text)
            elif self._is_known and all(needle in text for needle in self._needles):
                number, entry = _decode(text)
                if number > self._number and self._selection.has(entry):  # a batch that failed is written again
                    self._number = number
                    return Kept(self._started, number, entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        return None

    def _read_head(self, text: bytes) -> None:
        found = _decode_head(text)
        self._is_known = found.version == VERSION
        if self._is_known and found.started != self._started:
            self._started, self._number = found.started, 0


def _needles(selection: Selection) -> list[bytes]:
    """Bytes that the line of every selected entry has. Looking for them is much faster than decoding."""
    needles = [] if selection.function is None else [b'"function":' + _encode(selection.function)]
    if selection.release:
        needles.append(b'"release":%d' % selection.release)
    if selection.invocation.isascii() and selection.invocation.replace("-", "a").isalnum():  # no escapes in JSON
        needles.append(selection.invocation.encode())
    return needles
