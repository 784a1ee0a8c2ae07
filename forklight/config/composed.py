"""One configuration of the server's own and of those of the applications that it serves. Pure.

Functions have one flat namespace: an application sends to the functions of another by their names. What two of them
claim is a problem of the one that is named last, and tells both.
"""

import os
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from bus.message import inbox
from forklight.config.configuration import Config, Function
from forklight.config.document import Node
from forklight.config.machine import MachineSettings, Needs, machine_problems
from forklight.config.problem import ConfigError, Problem
from sandbox import hardware
from triggers.http import Route, RouteError, RouteTable
from triggers.queue.settings import QueueTrigger


class Part(Struct, frozen=True, kw_only=True):
    """The configuration of one release of an application; `application` is empty for the base configuration."""

    application: str
    number: int = 0
    config: Config

    @property
    def told(self) -> str:
        """Whose it is, for a message."""
        return f"the application {self.application!r}" if self.application else "the server's own configuration"

    def where(self, node: Node) -> str:
        """The place of a node, for whoever knows this application."""
        file = os.path.relpath(node.file, self.config.path.parent) if self.application else node.file
        return f"{file}:{node.line}" if node.line else file


def composed(base: Config, parts: Sequence[Part], canaries: Sequence[Part] = ()) -> Config:
    """Return the configuration of everything that the server serves: of each application its live release.

    A canary adds the functions that only it has, so that its others can send to them, but none of their routes, queues
    and timers. Of two that do not go together, the problem is that of the later one. Raises ConfigError.
    """
    every = [Part(application="", config=base), *parts]
    problems: list[Problem] = []
    for index, part in enumerate(every):
        for other in every[:index]:
            problems += _clashes(part, other, base)
    whole = _merged(base, parts)
    for canary in canaries:
        whole = _with_functions_of(whole, canary, every, problems)
    if not problems:
        problems += _machine_problems(whole)
    if problems:
        raise ConfigError(problems)
    return whole


def _merged(base: Config, parts: Sequence[Part]) -> Config:
    """Runtimes get the names of their applications in front: two applications may have different ones of one name."""
    functions, settings = dict(base.functions), dict(base.settings.functions)
    runtimes, interpreters, environments = dict(base.runtimes), dict(base.interpreters), dict(base.environments)
    for part in parts:
        one, prefix = part.config, f"{part.application}/"
        functions |= {name: _scoped(function, prefix) for name, function in one.functions.items()}
        settings |= one.settings.functions
        runtimes |= {prefix + name: value for name, value in one.runtimes.items()}
        interpreters |= {prefix + name: value for name, value in one.interpreters.items()}
        environments |= {prefix + name: value for name, value in one.environments.items()}
    configs = [base, *(part.config for part in parts)]
    return replace(
        base,
        settings=replace(base.settings, functions=settings),
        functions=functions,
        runtimes=runtimes,
        interpreters=interpreters,
        environments=environments,
        routes=tuple(route for one in configs for route in one.routes),
        queues=tuple(queue for one in configs for queue in one.queues),
        timers=tuple(timer for one in configs for timer in one.timers),
    )


def _scoped(function: Function, prefix: str) -> Function:
    return replace(function, settings=replace(function.settings, runtime=prefix + function.settings.runtime))


def _with_functions_of(whole: Config, canary: Part, every: Sequence[Part], problems: list[Problem]) -> Config:
    """Add the functions of a canary that its application's live release does not have, with their inboxes."""
    live = next((part for part in every if part.application == canary.application), None)
    new = {
        name: one for name, one in canary.config.functions.items() if live is None or name not in live.config.functions
    }
    for name, function in new.items():
        problems += [_same_name(canary, function, other) for other in every if name in other.config.functions]
    inboxes = [one for one in canary.config.queues if one.function in new and one.queue == inbox(one.function)]
    prefix = f"{canary.application}@{canary.number}/"
    return replace(
        whole,
        functions=whole.functions | {name: _scoped(one, prefix) for name, one in new.items()},
        runtimes=whole.runtimes | {prefix + name: one for name, one in canary.config.runtimes.items()},
        interpreters=whole.interpreters | {prefix + name: one for name, one in canary.config.interpreters.items()},
        queues=(*whole.queues, *inboxes),
    )


def _clashes(part: Part, other: Part, base: Config) -> Iterator[Problem]:
    own, others = part.config, other.config
    for name in own.functions.keys() & others.functions.keys():
        yield _same_name(part, own.functions[name], other)
    yield from _clashes_of_routes(part, other, base)
    consumed = {(one.queue, one.broker): one for one in others.queues}
    for trigger in own.queues:
        if (first := consumed.get((trigger.queue, trigger.broker))) and trigger.queue != inbox(trigger.function):
            place = _queue_place(own.functions[trigger.function], trigger)
            which = _which(other, others.functions[first.function])
            yield place.problem(
                f"{part.told} consumes {trigger.queue!r}, and so does {which}: each would get some of its messages; "
                "take another queue"
            )


def _clashes_of_routes(part: Part, other: Part, base: Config) -> Iterator[Problem]:
    theirs = other.config.routes
    if not theirs or not part.config.routes:
        return
    try:
        RouteTable((*theirs, *part.config.routes))
    except RouteError:
        for route in part.config.routes:
            if first := next((one for one in theirs if not _go_together(one, route)), None):
                function = part.config.functions[route.function]
                which = _which(other, other.config.functions[first.function])
                yield _route_place(function, route).problem(
                    f"{route.path} of {part.told} takes the same requests as {first.path} of {which}: "
                    "take another path or method"
                )


def _go_together(one: Route, other: Route) -> bool:
    try:
        RouteTable((one, other))
    except RouteError:
        return False
    return True


def _same_name(part: Part, function: Function, other: Part) -> Problem:
    return function.node.problem(
        f"{part.told} has a function {function.name!r}, and so has {_owner(other, function.name)}: "
        "all applications of a server share the names of functions; rename one of them"
    )


def _which(part: Part, function: Function) -> str:
    """Whose function it is, and where."""
    return f"the function {function.name!r} of {part.told} ({part.where(function.node)})"


def _owner(part: Part, name: str) -> str:
    return f"{part.told} ({part.where(part.config.functions[name].node)})"


def _route_place(function: Function, route: Route) -> Node:
    return _item(function.node.at("http"), function, [one.path == route.path for one in function.settings.http])


def _queue_place(function: Function, trigger: QueueTrigger) -> Node:
    which = [(one.queue, one.broker) == (trigger.queue, trigger.broker) for one in function.settings.queue]
    return _item(function.node.at("queue"), function, which)


def _item(node: Node, function: Function, which: list[bool]) -> Node:
    """Return the node of the first item that is meant, in a list of triggers."""
    if isinstance(node.value, list) and len(node.value) == len(which) and True in which:
        item: Node = node.value[which.index(True)]
        return item
    return node if node.key else function.node


def _machine_problems(whole: Config) -> Iterator[Problem]:
    """Yield what all functions together can never have. The place is the server's [machine]."""
    file, machine = str(whole.path), whole.settings.machine
    limits = ("memory",) if machine.memory != MachineSettings().memory else ()
    table = {name: Node("", file, f"machine.{name}") for name in (*limits, "max_instances")}
    functions = {name: one.node for name, one in whole.functions.items()}
    root = Node({"machine": Node(table, file, "machine"), "functions": Node(functions, file)}, file)
    needs = {name: Needs(one.settings.limits, one.pool) for name, one in whole.functions.items()}
    yield from machine_problems(machine, needs, hardware.memory_bytes(), root)
