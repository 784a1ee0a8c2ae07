"""What a template holds for instances that are another program, by the kind of their runtime."""

from typing import Any

from . import program


def of(message: "dict[str, Any]", memory: int, files: "tuple[int, int]", data: "tuple[int, int]") -> program.Program:
    """What the instances start with that the `load` message asks for."""
    if message["program"]["kind"] == "node":
        from . import node  # no other function needs it

        return node.Prepared(message, memory, files, data)
    from . import command  # nor this

    return command.Prepared(message, memory, files, data)
