"""What a function and its runtime may ask for, by the kind of the runtime: its handler, and the keys that it has."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from forklight.config.document import Node
from forklight.config.functions import Entry, FunctionSettings, Handler, NodeHandler, RuntimeSettings
from forklight.config.problem import Problem
from sandbox.kinds import KINDS, Abilities, Kind

_HOOKS = "its module runs once in each instance, before the first event: do there what a hook would do"
_REHEARSAL = "its templates import nothing: leave it out"

_PARSE: Final[dict[Kind, Callable[[str], Entry]]] = {"python": Handler.parse, "node": NodeHandler.parse}
"""What checks the form of a handler. That of a command may be any text."""


def runtime_problems(settings: RuntimeSettings, node: Node) -> Iterator[Problem]:
    """Yield the keys of a runtime that its kind does not have."""
    abilities = KINDS[settings.kind]
    named = [key for key in ("python", "node", "command") if getattr(settings, key) is not None]
    if len(named) > 1:
        yield node.at(named[1]).problem(f"stands beside {named[0]}, and a runtime has one of them: write two runtimes")
        return
    if settings.preload and not abilities.preloads:
        yield node.at("preload").problem(_lacks(abilities, "nothing is imported ahead for several functions"))
    if settings.requirements is not None and not abilities.installs:
        why = "its libraries are in node_modules, which npm installs" if settings.kind == "node" else "it has its own"
        yield node.at("requirements").problem(_lacks(abilities, f"{why}: leave it out"))
    if settings.events is not None and settings.kind != "command":
        yield node.at("events").problem(f"is for a command, and this runtime is {abilities.title}: leave it out")
    if settings.snapshot and settings.kind != "node":
        yield node.at("snapshot").problem(f"is for Node.js, and this runtime is {abilities.title}: leave it out")


def function_problems(function: FunctionSettings, runtime: RuntimeSettings, node: Node) -> Iterator[Problem]:
    """Yield what does not fit the kind of the function's runtime: the form of its handler, and keys."""
    abilities = KINDS[runtime.kind]
    if function.pool.concurrency > 1 and not abilities.concurrency:
        why = f"an instance of {abilities.title} gets one event at a time"
        yield node.at("concurrency").problem(f"{why}: leave it out, and raise max_instances instead")
    if runtime.kind in _PARSE:
        try:
            _PARSE[runtime.kind](function.handler)
        except ValueError as error:
            yield node.at("handler").problem(f'"{function.handler}" {error}')
    if not abilities.has_hooks and any((function.hooks.init, function.hooks.after_fork, function.hooks.stop)):
        yield node.at("hooks").problem(_lacks(abilities, _HOOKS))
    if not abilities.imports_ahead and "rehearsal" in node.value:
        yield node.at("rehearsal").problem(_lacks(abilities, _REHEARSAL))


def likely_runtime(text: str) -> str:
    """Return how to write a runtime that is named as elsewhere, such as `python3.12` or `nodejs22.x`; or nothing."""
    found = re.fullmatch(r"(python|nodejs|node)?([\d.]*?)(?:\.x)?", text)
    if found is None or not text:
        return ""
    key = "node" if (found[1] or "").startswith("node") else "python"
    version = found[2] or ("node" if key == "node" else "3.12")
    return f': write runtime = "app", and {key} = "{version}" below [runtimes.app]'


def _lacks(abilities: Abilities, why: str) -> str:
    return f"is for Python, and this runtime is {abilities.title}: {why}"
