"""What each kind of runtime can do: one table, which the rest of the house asks instead of naming kinds.

A template of every kind contains itself and holds what its instances start with. Only that of Python has imported the
function; the instances of other kinds load it themselves, so only the start of one tells whether it loads.
"""

from typing import Final, Literal

from msgspec import Struct

Kind = Literal["python", "node", "command"]


class Abilities(Struct, frozen=True, kw_only=True):
    """What a runtime of one kind can do."""

    title: str
    """How messages name it."""
    imports_ahead: bool = False
    """Whether templates import the function, so that instances have it by their fork. Otherwise each instance loads it
    and tells so (`ready`, `unfit`), and templates have nothing to rehearse."""
    has_hooks: bool = False
    """Whether functions may have `hooks`."""
    preloads: bool = False
    """Whether zygotes import libraries for all functions (`preload`)."""
    installs: bool = False
    """Whether `forklight install` makes environments for it (`requirements`)."""


KINDS: Final[dict[Kind, Abilities]] = {
    "python": Abilities(title="Python", imports_ahead=True, has_hooks=True, preloads=True, installs=True),
    "node": Abilities(title="Node.js"),
    "command": Abilities(title="a command"),
}
