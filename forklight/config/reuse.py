"""Checks `reuse` against the rest of its function: the events that it may get, and what it says beside."""

from collections.abc import Iterator

from dispatcher.keys import Reuse
from forklight.config.document import Node
from forklight.config.functions import FunctionSettings
from forklight.config.problem import Problem
from triggers.http.templates import parse_template

_OF_REQUESTS = ("path", "query", "cookie")


def reuse_problems(function: FunctionSettings, node: Node) -> Iterator[Problem]:
    """Yield what is wrong. `node` is the place of the function."""
    pool = function.pool
    if pool.reuse == "always":
        return
    written = f'reuse = "{pool.reuse}"'
    if pool.concurrency > 1:
        yield node.at("concurrency").problem(f"an instance with {written} runs one event at a time: leave it out")
    if pool.reuse == "never" and (pool.max_invocations or 1) > 1:
        yield node.at("max_invocations").problem(f"an instance with {written} runs one event only: leave it out")
    if pool.reuse.source:
        yield from _key_problems(function, pool.reuse, node)


def _key_problems(function: FunctionSettings, reuse: Reuse, node: Node) -> Iterator[Problem]:
    place = node.at("reuse")
    if any(queue.batch for queue in function.queue):
        yield place.problem("the messages of a batch may have different keys: leave out batch, or the key")
    if reuse.source in _OF_REQUESTS and not function.http:
        yield place.problem(f"no event has a {reuse.source}: the function has no http")
    elif reuse.source == "header" and not (function.http or function.queue):
        yield place.problem("no event has headers: the function has neither http nor queue")
    elif reuse.source == "path":
        yield from _path_problems(function, reuse, place)


def _path_problems(function: FunctionSettings, reuse: Reuse, place: Node) -> Iterator[Problem]:
    found = {segment.text for route in function.http for segment in parse_template(route.path) if segment.kind}
    if reuse.name not in found:
        there = f"there is {', '.join(sorted(found))}" if found else "they have no parameter"
        yield place.problem(f"no route of the function has a parameter {reuse.name!r} in its path: {there}")
