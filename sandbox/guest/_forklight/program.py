"""Instances that are another program: a template holds what they start with, and its forks execute the program.

Everything that contains a function survives execve(2): user and namespaces, rights given up for good, limits, the
process group of the lifeline, and open descriptors. The program is told in one argument, as JSON, which descriptor is
what; it speaks the frames of ARCHITECTURE §8, and its first one is `ready` or `unfit`.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from . import posix


class Program:
    """What each instance starts with, as `instance.Prepared` for functions that templates import."""

    anew: "dict[int, int]" = {}
    reseeds: "list[Any]" = []
    is_async = True
    """Whether an instance may go on after a call whose deadline has passed."""

    def __init__(
        self, message: "dict[str, Any]", memory: int, files: "tuple[int, int]", data: "tuple[int, int]"
    ) -> None:
        """`message`: the `load` message. `memory`: the number of the descriptor that faulthandler writes to."""
        self.memory = memory
        self.files = files
        self.data = data
        self.has_terminal = posix.is_terminal(0)

    def load(self, fork: "Callable[[], int]") -> None:
        """Prepare what takes the function itself. Blocks. Raises LoadError."""

    def before_fork(self) -> None:
        """The next fork executes the program."""

    def on_end(self, exit_code: int) -> None:
        """An instance has ended; by a signal if `exit_code` is negative."""

    def execute(self, request: "dict[str, Any]", data: int, log: int, lifeline: int) -> NoReturn:
        """Go on as the program, with these descriptors. Never returns."""
        raise NotImplementedError
