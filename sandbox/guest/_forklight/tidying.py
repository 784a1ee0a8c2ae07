"""What an instance does once when it has gone idle: it collects garbage and gives free memory back to the machine.

The server says when, about a second after the last call (`tidy`), so between calls nothing is asked, timed or counted.

A call that arrives meanwhile waits, so neither step may take long. The collection looks at the objects that were made
since the fork (the others are frozen), at 0.05 to 0.1 µs each; it is left out if there are too many of them, and if the
function has switched the collector off. The heap is not trimmed if a call has arrived during the collection.
"""

import contextlib
import gc
import sys

from . import posix

_MOST_BLOCKS = 100_000
"""Of memory since the fork. Each may be an object, so a collection takes 10 ms at most."""


class _Template:
    blocks = 0
    """allocated before the fork"""


def prepare() -> None:
    """In the template, once everything is loaded: trim its heap, too, so that instances have nothing of it to give."""
    posix.trim_heap()
    _Template.blocks = sys.getallocatedblocks()


def tidy(data: int) -> None:
    """Tidy up, unless there is more to read from the descriptor `data`."""
    with contextlib.suppress(Exception):  # of a finalizer's or a signal handler's
        if gc.isenabled() and sys.getallocatedblocks() - _Template.blocks <= _MOST_BLOCKS:
            gc.collect()
        if not posix.is_readable(data, 0):
            posix.trim_heap()
