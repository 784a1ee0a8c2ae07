"""What the store's thread looks at between two transactions: queues that may have messages, of however many."""

from bus.sqlite.leases import Intake, Leases, OpenQueue
from bus.sqlite.shelf import Shelf
from bus.store import Source


class Taker:
    """A consumer that counts how often it is asked for its room."""

    is_taking = True

    def __init__(self) -> None:
        self.asked = 0

    @property
    def room(self) -> int:
        self.asked += 1
        return 1

    def notify(self) -> None:
        """There are no messages."""


def read(queue: OpenQueue, next_due_ns: int | None = None) -> None:
    """As the thread does: everything that is ready has been read."""
    queue.unread, queue.next_due_ns = False, next_due_ns


def test_queues_without_messages_are_not_looked_at_again_until_one_arrives() -> None:
    leases, takers = Leases(), [Taker() for _ in range(100)]
    for number, taker in enumerate(takers):
        shelf = Shelf(f"q{number}", lambda: None, lambda _shelf, _count: None)
        shelf.takers = (taker,)
        leases.open(Intake(Source(queue=f"q{number}", function="f", dead_letter="dead")), shelf)
    for queue in leases.wanting(0):
        read(queue)
    asked = [taker.asked for taker in takers]
    assert (leases.wanting(1), leases.next_due_ns()) == ([], None)
    assert [taker.asked for taker in takers] == asked

    leases.arrived(1, "q7", 5)
    [queue] = leases.wanting(6)
    assert queue.name == "q7"
    read(queue, next_due_ns=20)
    assert (leases.wanting(19), leases.next_due_ns(), leases.wanting(20)) == ([], 20, [queue])
    leases.close(queue.intakes[0])
    assert (leases.wanting(20), leases.next_due_ns()) == ([], None)
