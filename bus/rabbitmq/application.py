"""Who holds a name on a broker."""

from msgspec import Struct


class Application(Struct, frozen=True):
    """An application that uses the broker. Nodes with the same `path` or the same `code` belong together."""

    name: str = "app"
    path: str = ""
    """The absolute path of its configuration."""
    code: str = ""
    """A digest of its code."""
    adopts: bool = False
    """Whether queues of version 0.1 with the names of its functions belong to it."""
