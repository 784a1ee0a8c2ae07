"""Bytes that arrive in pieces and are wanted as a whole."""

_SMALL_BYTES = 4096


class Pieces:
    """Keeps the pieces as they arrived and joins them once, so that each byte is copied once.

    Small ones are joined as they come: as an object each, two bytes at a time would take a hundred.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray | memoryview] = []

    def add(self, piece: bytes | memoryview) -> None:
        """Append a piece, which must not change."""
        pieces = self._pieces
        if len(piece) >= _SMALL_BYTES or not pieces:
            pieces.append(piece)
        elif isinstance(last := pieces[-1], bytearray):
            last += piece
        else:
            pieces.append(bytearray(piece))

    def take(self) -> bytes:
        """Return all of it, and keep nothing."""
        pieces, self._pieces = self._pieces, []
        if len(pieces) == 1 and isinstance(only := pieces[0], bytes):
            return only
        return b"".join(pieces)
