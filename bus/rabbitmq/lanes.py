"""From which of its two queues a session takes, and how many messages: never more than can run. Pure.

Theory of operation. RabbitMQ limits deliveries for each consumer separately, and counts the time that a message waits
here towards `consumer_timeout`. So places for messages are dealt out to consumers, and a place moves to another
consumer only after its message is settled. Some places (`base`) always belong to the source's own queue. The others
(`shared`: half of all, and at least one) take turns: while retries wait, they belong to the queue of retries, otherwise
to the own queue. A turn ends by cancelling its consumers; the next one begins with the places that are free by then.

The number of places depends on the size of messages (`places`). If it grows, another consumer takes the new places; if
it shrinks, all consumers are cancelled and new ones begin.

Cancelling the last consumer of an auto-delete queue deletes the queue. If that may happen (`keep_one`), the own queue
always keeps one place. If there is only one place, retries get a second one, and one of two messages may have to wait.
"""

from enum import Enum
from uuid import uuid4

from msgspec import Struct

from bus.rabbitmq.expected import Retries
from bus.rabbitmq.places import Places

MOST = 65535
"""The most places of one consumer: AMQP's prefetch count has 16 bits."""
_IDLE_S = 0.3
"""After this time without a retry there are no more: it is how late the ladder of delays may be."""
_TURN_S = 0.5
"""The length of a turn if there is only one place and both queues have messages."""
_OWN_IDLE_S = 0.05


class Lane(Enum):
    BASE = "base"
    OWN = "own"
    RETRY = "retry"


class Consume(Struct, frozen=True):
    lane: Lane
    prefetch: int


class Cancel(Struct, frozen=True):
    tags: tuple[str, ...]


Step = Consume | Cancel


class Taker(Struct):
    """One consumer, kept until all messages that came through it are settled."""

    lane: Lane
    prefetch: int
    is_active: bool = True
    unsettled: int = 0


class Lanes:
    """`keep_one`: the own queue must always have a consumer."""

    def __init__(self, places: Places, retries: Retries, *, keep_one: bool, now_s: float) -> None:
        self.retries = retries
        self.takers: dict[str, Taker] = {}
        self._places = places
        self._keep_one = keep_one
        self._only_retries = places.now == 1 and keep_one
        self._deal(places.now)
        self.turn = Lane.RETRY if self._only_retries else Lane.OWN
        self.retries_wait = False
        """Whether messages are known to be ready in the queue of retries."""
        self._turn_s = self._last_s = now_s
        self._served = 0

    def _deal(self, places: int) -> None:
        self._dealt = places
        self.shared = max(1, places // 2)
        self.base = 1 if self._only_retries else places - self.shared

    def add(self, tag: str, step: Consume, now_s: float) -> None:
        """Note that a consumer begins."""
        self.takers[tag] = Taker(step.lane, step.prefetch)
        if step.lane is self.turn:
            self._last_s = now_s

    def end(self, tag: str) -> None:
        """Note that a consumer takes no more messages: it was cancelled, by us or by the broker."""
        if taker := self.takers.get(tag):
            taker.is_active = False
            self._drop(tag, taker)

    def took(self, tag: str, now_s: float, size_bytes: int = 0) -> Lane:
        """Note that a message came through this consumer, which may just have been cancelled. Return its lane."""
        self._places.saw(size_bytes)
        taker = self.takers.setdefault(tag, Taker(lane_of(tag), 0, is_active=False))
        taker.unsettled += 1
        if taker.lane is self.turn:
            self._served += 1
            self._last_s = now_s
        return taker.lane

    def settled(self, tag: str, now_s: float) -> None:
        """Note that a message of this consumer is settled."""
        taker = self.takers[tag]
        taker.unsettled -= 1
        if taker.lane is self.turn:
            self._last_s = now_s
        self._drop(tag, taker)

    def _drop(self, tag: str, taker: Taker) -> None:
        if not (taker.is_active or taker.unsettled):
            del self.takers[tag]

    def active(self, *lanes: Lane) -> tuple[str, ...]:
        """Return the tags of the consumers in these lanes that take messages."""
        return tuple(tag for tag, taker in self.takers.items() if taker.is_active and taker.lane in lanes)

    def to_pause(self) -> Cancel:
        """Return the consumers to cancel for a pause, so that as few messages as possible come."""
        lanes = (Lane.OWN, Lane.RETRY) if self._keep_one else (Lane.BASE, Lane.OWN, Lane.RETRY)
        return Cancel(self.active(*lanes))

    def step(self, now_s: float, there: frozenset[Lane], elsewhere: int) -> Step | None:
        """Return what to do next, if anything.

        `there`: the lanes whose queue exists. `elsewhere`: messages of lost sessions whose handlers still run; they
        occupy places of this one.
        """
        if self.retries.are_due(now_s):
            self.retries_wait = True
        if (fewer := self._deal_anew()) is not None:
            return fewer
        if self._turn_ends(now_s, there):
            ended = self.active(self.turn)
            self.retries_wait = self.turn is Lane.RETRY and self._is_over(now_s)
            self.turn = Lane.RETRY if self.turn is Lane.OWN else Lane.OWN
            self._turn_s = self._last_s = now_s
            self._served = 0
            if ended:
                return Cancel(ended)
        rooms = {
            Lane.BASE: self.base - self._held(Lane.BASE) - max(0, elsewhere - self.shared),
            self.turn: self.shared - self._held(Lane.OWN, Lane.RETRY) - min(self.shared, elsewhere),
        }
        for lane, room in rooms.items():
            if room > 0 and lane in there:
                return Consume(lane, min(room, MOST))
        return None

    def _deal_anew(self) -> Cancel | None:
        """Adapt the number of places to the size of messages. Cancel the consumers if it shrinks."""
        before = self._dealt
        if (places := self._places.deal()) == before:
            return None
        self._deal(places)
        cancel = self.to_pause()
        return cancel if places < before and cancel.tags else None

    def _held(self, *lanes: Lane) -> int:
        """Return the number of places that have a message, or may get one at any moment."""
        return sum(
            taker.prefetch if taker.is_active else taker.unsettled
            for taker in self.takers.values()
            if taker.lane in lanes
        )

    def _turn_ends(self, now_s: float, there: frozenset[Lane]) -> bool:
        if self._only_retries:
            return False
        if Lane.OWN not in there:
            return self.turn is Lane.OWN
        if self.turn is Lane.RETRY:
            return Lane.RETRY not in there or self._is_over(now_s) or self._is_idle(now_s, _IDLE_S)
        is_free = self.base > 0 or self._is_over(now_s) or self._is_idle(now_s, _OWN_IDLE_S)
        return self.retries_wait and Lane.RETRY in there and is_free

    def _is_idle(self, now_s: float, limit_s: float) -> bool:
        """Return whether the lane of this turn is waiting and got no message for `limit_s`."""
        mine = [taker for taker in self.takers.values() if taker.lane is self.turn]
        is_waiting = any(taker.is_active for taker in mine) and not any(taker.unsettled for taker in mine)
        return is_waiting and now_s - self._last_s >= limit_s

    def _is_over(self, now_s: float) -> bool:
        """Return whether a turn has lasted long enough. Only without `base` places does the own queue have to wait."""
        return self.base == 0 and self._served > 0 and now_s - self._turn_s >= _TURN_S


def new_tag(lane: Lane) -> str:
    """Return a new consumer tag, which names its lane."""
    return f"{lane.value}-{uuid4().hex}"


def lane_of(tag: str) -> Lane:
    """Return the lane of a tag from `new_tag`."""
    return Lane(tag.partition("-")[0])
