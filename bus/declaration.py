"""How a queue on a broker is declared: its type and its arguments, as an application chooses them. Pure.

RabbitMQ refuses a client that declares a queue with other properties than it has (406). So a queue that other programs
use must be made exactly as they declare it; by default that is a classic queue without arguments.

Some arguments have the broker drop or move messages that it has accepted. They break what we promise of a queue that a
function consumes. What happens in a queue that is only sent to is for its consumer to decide.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar, Literal

from msgspec import Struct

Value = int | str | bool


class Declaration(Struct, frozen=True, kw_only=True):
    """One `[queues.NAME]` table."""

    example: ClassVar[str] = 'type = "classic" below [queues.orders]'
    type: Literal["quorum", "classic"] = "quorum"
    """The type of queue that RabbitMQ makes. Most clients declare `"classic"` if they name none."""
    arguments: dict[str, Value] = {}
    """Its other arguments, such as `{ x-max-priority = 10 }`."""
    declare: bool = True
    """Whether to create the queue if it does not exist. Otherwise messages wait until somebody else does."""

    def whole(self, major_version: int) -> dict[str, Any]:
        """Return the arguments of its declaration on a broker of this version.

        A classic queue is declared without a type, as by clients that know of none: RabbitMQ compares that, too.
        """
        if self.type == "classic":
            return dict(self.arguments)
        found: dict[str, Any] = {"x-queue-type": "quorum", **self.arguments}
        if major_version >= 4:  # its default of 20 would count messages that we give back unrun
            found.setdefault("x-delivery-limit", -1)
        return found


PLAIN = Declaration()


class _Rule(Struct, frozen=True):
    """What an argument takes, in words and as a check; the types of queues that have it; why a function's may not."""

    form: str
    takes: Callable[[Value], bool]
    types: Collection[str] = ("quorum", "classic")
    harm: str = ""


def _number(least: int, most: int = 2**63 - 1) -> tuple[str, Callable[[Value], bool]]:
    form = f"an integer from {least}" + (f" to {most}" if most < 2**63 - 1 else "")
    return form, lambda value: type(value) is int and least <= value <= most


def _one_of(*choices: str) -> tuple[str, Callable[[Value], bool]]:
    return " or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices


_TEXT: tuple[str, Callable[[Value], bool]] = "a string", lambda value: type(value) is str
_FLAG: tuple[str, Callable[[Value], bool]] = "true or false", lambda value: type(value) is bool
_QUORUM, _CLASSIC = ("quorum",), ("classic",)
_MOVES = "RabbitMQ would move messages away: dead letters of a function go to the queue that its dead_letter names"
_RULES = {
    "x-max-length": _Rule(*_number(0)),
    "x-max-length-bytes": _Rule(*_number(0)),
    "x-overflow": _Rule(*_one_of("reject-publish", "drop-head", "reject-publish-dlx")),
    "x-max-priority": _Rule(*_number(1, 255), _CLASSIC),
    "x-queue-mode": _Rule(*_one_of("default", "lazy"), _CLASSIC),
    "x-queue-version": _Rule(*_number(1, 2), _CLASSIC),
    "x-queue-master-locator": _Rule(*_one_of("min-masters", "client-local", "random"), _CLASSIC),
    "x-queue-leader-locator": _Rule(*_one_of("client-local", "balanced"), _QUORUM),
    "x-quorum-initial-group-size": _Rule(*_number(1), _QUORUM),
    "x-message-ttl": _Rule(
        *_number(0),
        harm="RabbitMQ would drop messages that wait for longer: use max_age in the function's queue table, which "
        "makes them dead letters",
    ),
    "x-expires": _Rule(*_number(1), harm="RabbitMQ would delete the queue with its messages while no server runs"),
    "x-dead-letter-exchange": _Rule(*_TEXT, harm=_MOVES),
    "x-dead-letter-routing-key": _Rule(*_TEXT, harm=_MOVES),
    "x-dead-letter-strategy": _Rule(*_one_of("at-most-once", "at-least-once"), _QUORUM, harm=_MOVES),
    "x-delivery-limit": _Rule(
        *_number(-1),
        _QUORUM,
        harm="RabbitMQ would drop messages that came back too often, such as from servers that were killed; attempts "
        "in the function's queue table limits the failures of a message",
    ),
    "x-single-active-consumer": _Rule(
        *_FLAG, harm="a function takes messages through several consumers, of which RabbitMQ would serve one at a time"
    ),
}
_DROPS = "RabbitMQ would drop the oldest messages of a full queue, although it has accepted them"


def problems_of(declaration: Declaration, *, is_consumed: bool) -> Iterator[tuple[str, str]]:
    """Yield the arguments that cannot be, each with the reason. `is_consumed`: by a function, or for dead letters."""
    for name, value in declaration.arguments.items():
        rule = _RULES.get(name)
        if rule is None:
            yield name, _unknown(name)
        elif not rule.takes(value):
            yield name, f"must be {rule.form}"
        elif declaration.type not in rule.types:
            yield name, f"is for {next(iter(rule.types))} queues" + _if_classic(rule)
        elif is_consumed and rule.harm:
            yield name, f"cannot be of a queue that a function consumes: {rule.harm}"
    overflow = declaration.arguments.get("x-overflow")
    if overflow == "reject-publish-dlx" and declaration.type != "classic":
        yield "x-overflow", 'can be "reject-publish-dlx" in classic queues only'
    elif is_consumed and overflow not in (None, "reject-publish"):
        yield "x-overflow", f'must be "reject-publish" for a queue that a function consumes: {_DROPS}'
    elif is_consumed and overflow is None:
        for name in {"x-max-length", "x-max-length-bytes"} & declaration.arguments.keys():
            yield name, f'needs x-overflow = "reject-publish" for a queue that a function consumes: {_DROPS}'


def _if_classic(rule: _Rule) -> str:
    return ': add type = "classic"' if rule.types == _CLASSIC else ""


def _unknown(name: str) -> str:
    if name == "x-queue-type":
        return 'is the key `type` of this table: write type = "classic"'
    others = "let the program that needs it create the queue, and write declare = false here"
    return f"is not an argument that Forklight knows: {others}. It knows {', '.join(sorted(_RULES))}"
