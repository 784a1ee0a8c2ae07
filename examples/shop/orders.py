"""Orders over HTTP: create one, read one, list them."""

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Literal

import clock
import msgspec
from database import Execute, Row, query, transaction
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from forklight.types import Context, HttpEvent

Status = Literal["new", "paid", "shipped"]


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, Meta(ge=1, le=1000)]


class NewOrder(Struct, frozen=True, forbid_unknown_fields=True):
    customer: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    lines: Annotated[list[Line], Meta(min_length=1, max_length=100)]


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a list: at most `limit` orders, those before the id `before`, newest first."""

    status: Status | None = None
    before: str = "g"  # after every id, which are hexadecimal digits
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class UnknownProduct(Exception):
    pass


def create(event: "HttpEvent", context: "Context") -> object:
    try:
        order = msgspec.convert(event["data"], NewOrder)
        with transaction() as execute:
            order_id = insert(execute, order, event["http"]["key"])
    except (msgspec.ValidationError, UnknownProduct) as error:
        return {"error": str(error)}, 422
    context.log.info("order %s by %s", order_id, event["http"]["key"])
    return find(order_id), 201, {"Location": f"/orders/{order_id}"}


def read(event: "HttpEvent") -> object:
    order = find(event["http"]["params"]["id"])
    return order or ({"error": "no such order"}, 404)


def list_page(event: "HttpEvent") -> object:
    try:
        page = msgspec.convert(event["http"]["query"], Page, strict=False)
    except msgspec.ValidationError as error:
        return {"error": str(error)}, 400
    where, parameters = ("status = ? AND", [page.status]) if page.status else ("", [])
    orders = query(
        f"SELECT * FROM orders WHERE {where} id < ? ORDER BY id DESC LIMIT ?",  # noqa: S608  # `where` is ours
        *parameters,
        page.before,
        page.limit,
    )
    return {"orders": orders, "before": orders[-1]["id"] if len(orders) == page.limit else None}


def insert(execute: Execute, order: NewOrder, key: str | None) -> str:
    """Return the new order's id. Ids sort by time, so a list can be read page by page. Raises UnknownProduct."""
    order_id = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"
    quantities: dict[str, int] = {}
    for line in order.lines:
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    prices = {sku: price_cents(execute, sku) for sku in quantities}
    total_cents = sum(prices[sku] * quantity for sku, quantity in quantities.items())
    execute(
        "INSERT INTO orders (id, customer, status, total_cents, created_by, created_at) VALUES (?, ?, 'new', ?, ?, ?)",
        *(order_id, order.customer, total_cents, key, clock.now()),
    )
    for sku, quantity in quantities.items():
        execute("INSERT INTO order_lines VALUES (?, ?, ?, ?)", order_id, sku, quantity, prices[sku])
    return order_id


def price_cents(execute: Execute, sku: str) -> int:
    for product in execute("SELECT price_cents FROM products WHERE sku = ?", sku):
        return int(product["price_cents"])
    raise UnknownProduct(f"no such product: {sku}")


def find(order_id: str) -> Row | None:
    for order in query("SELECT * FROM orders WHERE id = ?", order_id):
        lines = query("SELECT sku, quantity, price_cents FROM order_lines WHERE order_id = ? ORDER BY sku", order_id)
        return order | {"lines": lines}
    return None
