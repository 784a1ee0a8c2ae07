"""The queue keys of a function, `[bus]` and `[brokers.NAME]`: where messages come from and where they are stored."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, ClassVar
from urllib.parse import parse_qsl, urlsplit

from msgspec import Meta, Struct

from bus.declaration import Declaration, problems_of
from bus.limits import MAX_NAME_BYTES
from bus.places import join_place, split_place
from forklight.config.document import Node
from forklight.config.hint import did_you_mean
from forklight.config.problem import Problem
from triggers.queue.settings import QueueSettings, QueueTrigger, inbox_of, trigger_of

EMBEDDED = "sqlite:"
CONSUMER_TIMEOUT_S = 1800.0
"""RabbitMQ closes the channel of a consumer that holds a message for longer (its consumer_timeout)."""


_OPTIONS = frozenset(
    ("heartbeat", "timeout", "name", "auth", "cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl")
)
"""The parameters that a broker's URL may have."""
_UNESCAPED = (
    'has a "/", "?", "#" or "@" where none can be: in a user, a password or a virtual host write %2F, %3F, %23 and %40'
)


def _strange(query: str) -> bool:
    return not all(name in _OPTIONS for name, _ in parse_qsl(query, keep_blank_values=True))


class BrokerUrl(str):
    """`amqp://user:password@host/vhost`, or `amqps://` for TLS."""

    __slots__ = ()
    example: ClassVar[str] = "amqp://guest:guest@localhost/"

    @classmethod
    def parse(cls, text: str) -> "BrokerUrl":
        """Raises ValueError, which does not repeat the text: it may hold a password."""
        try:
            parts = urlsplit(text)
            if parts.scheme in ("amqp", "amqps") and (parts.fragment or "@" in parts.path or _strange(parts.query)):
                raise ValueError(_UNESCAPED)
            usable = parts.scheme in ("amqp", "amqps") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError as error:
            if "@" in text.partition("://")[2].partition("/")[2] or str(error) == _UNESCAPED:
                raise ValueError(_UNESCAPED) from None
            usable = False
        if not usable:
            raise ValueError(f'is not a broker URL: write "{cls.example}", or amqps:// for TLS')
        return cls(text)


class BusUrl(BrokerUrl):
    """A broker's URL, or `sqlite:` for the embedded store."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "BusUrl":
        """Raises ValueError."""
        if text == EMBEDDED:
            return cls(text)
        if text.startswith(EMBEDDED):
            raise ValueError(f'has a path: write "{EMBEDDED}" alone, the store is in the state directory')
        try:
            return cls(super().parse(text))
        except ValueError as error:
            raise ValueError(f'{error}; or "{EMBEDDED}" for the embedded store') from None

    @property
    def is_embedded(self) -> bool:
        return self == EMBEDDED


class BusSettings(Struct, frozen=True, kw_only=True):
    """`[bus]`."""

    url: BusUrl = BusUrl(EMBEDDED)
    """Where messages are stored: in the embedded store, or on a broker, `"amqp://user:password@host/vhost"`."""
    name: str | None = None
    """The application's name, part of its queues' names on a broker and unique there. Default: the folder's."""
    adopt: bool = False
    """Whether messages in a broker's queues of version 0.1, which named no application, are moved into our own."""
    wait_s: Annotated[float, Meta(ge=0)] = 300.0
    """How long the start waits for brokers that are not reachable yet."""
    max_hops: int = 16
    """So many handlers in a row may send; the next message is a dead letter.

    It is taken for a loop: Lambda stops at about as many.
    """

    def __post_init__(self) -> None:
        if self.name is not None and not (self.name.strip() and self.name.isprintable()):
            raise ValueError('name is none: write name = "shop", say')


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """One `[brokers.NAME]` table: a broker besides the bus."""

    url: BrokerUrl
    """`"amqp://user:password@host/vhost"`, or `amqps://` for TLS."""


class QueueName(str):
    """The name of a queue: `orders` of the bus, `orders@shop` of a broker."""

    __slots__ = ()
    example: ClassVar[str] = "orders"

    @classmethod
    def parse(cls, text: str) -> "QueueName":
        """Raises ValueError."""
        if text.startswith(("forklight.", "amq.")):
            raise ValueError("cannot be declared: names that begin with forklight. or amq. are reserved")
        if not 0 < len(text.encode()) <= MAX_NAME_BYTES:
            raise ValueError(f"is not the name of a queue: it has 1 to {MAX_NAME_BYTES} bytes")
        return cls(text)


class Consuming(Struct, frozen=True):
    """Other settings that the triggers of a function depend on."""

    slots: int
    timeout_s: float


def triggers_of(
    functions: dict[str, tuple[QueueSettings, ...]],
    consuming: dict[str, Consuming],
    brokers: dict[str, BrokerSettings],
    *,
    bus: BusSettings,
    root: Node,
    problems: list[Problem],
) -> tuple[QueueTrigger, ...]:
    """Return the queues of all functions and each function's inbox. Appends mistakes to `problems`."""
    triggers = []
    for function, queues in functions.items():
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(queues):
            place = _place(root, function, index)
            problems += _problems(one, place, seen, brokers, _holds_too_long(one, consuming[function], bus))
            seen.add((one.broker, one.queue))
            triggers.append(trigger_of(one, function, slots=consuming[function].slots, max_hops=bus.max_hops))
        triggers.append(inbox_of(function, slots=consuming[function].slots, max_hops=bus.max_hops))
    return tuple(triggers)


def _problems(
    one: QueueSettings,
    place: Node,
    seen: set[tuple[str, str]],
    brokers: dict[str, BrokerSettings],
    holds_too_long: bool,
) -> Iterator[Problem]:
    if one.broker and one.broker not in brokers:
        hint = did_you_mean(one.broker, brokers)
        yield place.at("broker").problem(
            f"there is no [brokers.{one.broker}]{hint}; leave it out for the bus's own store"
        )
    if (one.broker, one.queue) in seen:
        yield place.at("queue").problem(f"the function consumes {one.queue!r} twice: raise max_instances instead")
    if holds_too_long:
        yield place.problem(
            "the function's timeout is over 30m, and RabbitMQ takes a message away that is held for so long "
            "(its consumer_timeout): lower the timeout"
        )


def declarations_of(
    queues: Mapping[QueueName, Declaration], brokers: Collection[str]
) -> dict[str, dict[str, Declaration]]:
    """Return the declarations by the broker's name ("" is the bus), and by the queue's name there."""
    found: dict[str, dict[str, Declaration]] = {"": {}, **{str(broker): {} for broker in brokers}}
    for name, one in queues.items():
        queue, broker = split_place(name, brokers)
        found[broker][queue] = one
    return found


def check_queues(
    queues: Mapping[QueueName, Declaration],
    triggers: Collection[QueueTrigger],
    brokers: Collection[str],
    root: Node,
    problems: list[Problem],
) -> None:
    """Append the mistakes of `[queues.NAME]`. What loses messages cannot be of a queue that a function consumes."""
    consumed = {(one.queue, one.broker) for one in triggers} | {(one.dead_letter, one.broker) for one in triggers}
    for name, one in queues.items():
        place = root.at("queues").at(name)
        queue, broker = split_place(name, brokers)
        if "@" in queue and not broker and (queue, "") not in consumed:
            hint = did_you_mean(queue.rpartition("@")[2], brokers)
            problems.append(place.problem(f"there is no [brokers.{queue.rpartition('@')[2]}]{hint}"))
        for argument, message in problems_of(one, is_consumed=(queue, broker) in consumed):
            problems.append(place.at("arguments").at(argument).problem(message))


def embedded_warnings(
    queues: Mapping[QueueName, Declaration], brokers: Collection[str], bus: str, root: Node
) -> list[Problem]:
    """Return a warning for each queue that is declared although it is in the embedded store."""
    own = [name for name in queues if bus == EMBEDDED and not split_place(name, brokers)[1]]
    message = "has no effect here: it is for brokers, and the bus is the embedded store, whose queues are all alike"
    return [root.at("queues").at(name).problem(message) for name in own]


def _holds_too_long(one: QueueSettings, consuming: Consuming, bus: BusSettings) -> bool:
    on_broker = bool(one.broker) or not bus.url.is_embedded
    return on_broker and consuming.timeout_s >= CONSUMER_TIMEOUT_S


def _place(root: Node, function: str, index: int) -> Node:
    queues = root.at("functions").at(function).at("queue")
    return queues.value[index] if isinstance(queues.value, list) and index < len(queues.value) else queues


def told(trigger: QueueTrigger) -> str:
    """Return `orders`, or `orders@shop` on another broker."""
    return join_place(trigger.queue, trigger.broker)


def own_names(triggers: Iterable[QueueTrigger]) -> frozenset[str]:
    """Return the queues of the bus's own store that these consume."""
    return frozenset(trigger.queue for trigger in triggers if not trigger.broker)
