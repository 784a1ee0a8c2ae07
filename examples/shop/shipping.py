"""The worker: ships orders that are paid. A message may come twice, so an order that is shipped is left alone."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import clock
from database import Execute, query, transaction

if TYPE_CHECKING:
    from forklight.types import Context, QueueEvent, TimerEvent

OVERDUE = timedelta(minutes=10)


class OutOfStock(Exception):
    """The message is tried again, in the end a dead letter: `forklight dlq replay` once there is stock."""


def ship(event: "QueueEvent", context: "Context") -> None:
    order = event["data"]["order"]
    with transaction() as execute:
        # Changing the row is what locks it: of two instances with the same message, the second finds nothing to do.
        claimed = execute(
            "UPDATE orders SET status = 'shipped', shipped_at = ? WHERE id = ? AND status = 'paid' RETURNING customer",
            *(clock.now(), order),
        )
        if not claimed:
            context.log.info("order %s: nothing to ship", order)
            return
        take_from_stock(execute, order)
    context.log.info("order %s is on its way to %s", order, claimed[0]["customer"])


def take_from_stock(execute: Execute, order: str) -> None:
    """Raises OutOfStock, which undoes the transaction."""
    for line in execute("SELECT sku, quantity FROM order_lines WHERE order_id = ? ORDER BY sku", order):
        sku, quantity = line["sku"], line["quantity"]
        if not execute(
            "UPDATE products SET stock = stock - ? WHERE sku = ? AND stock >= ? RETURNING sku", quantity, sku, quantity
        ):
            raise OutOfStock(f"order {order} needs {quantity} of {sku}")


def remind(event: "TimerEvent", context: "Context") -> int:
    """Send again what is overdue: the database and the queue share no transaction, so a message may be missing."""
    before = clock.text(datetime.now(UTC) - OVERDUE)
    overdue = query("SELECT id FROM orders WHERE status = 'paid' AND paid_at < ?", before)
    for order in overdue:
        context.send("paid", {"order": order["id"]}, id=f"paid-{order['id']}")
    return len(overdue)
