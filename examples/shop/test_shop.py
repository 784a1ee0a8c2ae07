"""The shop's tests: `python -m pytest`. They serve the shop, on SQLite or, with TEST_DATABASE_URL, on PostgreSQL."""

import os
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import payments
import pytest

from forklight.testing import Application, Response, serving

SHOP = Path(__file__).parent
SECRET = "of the tests"  # noqa: S105


class Shop:
    """A running shop, and how its clients talk to it."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.key = app.create_key("office", ["*"])

    def get(self, path: str, **options: Any) -> Response:
        return self.app.get(path, headers={"X-Api-Key": self.key}, **options)

    def post(self, path: str, content_type: str = "application/json", **options: Any) -> Response:
        return self.app.post(path, headers={"X-Api-Key": self.key, "Content-Type": content_type}, **options)

    def import_csv(self, *lines: str) -> Response:
        return self.post("/products", "text/csv", text="\n".join(["sku,name,price_cents,stock", *lines]))

    def order(self, sku: str, quantity: int) -> str:
        """Return a new order's id."""
        created = self.post("/orders", json=order_of(sku, quantity))
        assert created.status == 201, created.text
        return str(created.json()["id"])

    def pay(self, order: str) -> Response:
        body = b'{"type": "payment.succeeded", "order": "%s"}' % order.encode()
        return self.app.post("/webhooks/payment", data=body, headers={"Shop-Signature": signed(body)})

    def status(self, order: str) -> str:
        return str(self.get(f"/orders/{order}").json()["status"])

    def stock(self, sku: str) -> int:
        lines = self.get("/products").text.splitlines()
        return next(int(line.split(",")[-1]) for line in lines if line.startswith(f"{sku},"))


def order_of(sku: str, quantity: int, customer: str = "ada@example.com") -> dict[str, object]:
    return {"customer": customer, "lines": [{"sku": sku, "quantity": quantity}]}


def signed(body: bytes, *, seconds_ago: int = 0) -> str:
    then = int(time.time()) - seconds_ago
    return f"t={then},v1={payments.signature(then, body)}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENT_SECRET", SECRET)


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """Of a new database; empty for SQLite. TEST_DATABASE_URL names a PostgreSQL where tests may make databases."""
    server = os.environ.get("TEST_DATABASE_URL")
    if server is None:
        yield ""
        return
    import psycopg

    name = f"shop_test_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield psycopg.conninfo.make_conninfo(server, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def shop(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    env_file = tmp_path_factory.mktemp("shop") / "env"
    env_file.write_text(f"PAYMENT_SECRET={SECRET}\nDATABASE_URL={database_url}\n")
    with serving(SHOP, env={"SHOP_ENV": str(env_file)}) as app:
        assert app.invoke("migrate").response.json() == {"applied": ["001-shop.sql", "002-orders-by-status.sql"]}
        assert app.invoke("migrate").response.json() == {"applied": []}
        yield Shop(app)


def test_an_order_from_its_creation_to_the_report(shop: Shop) -> None:
    assert shop.import_csv('lamp,"Lamp, brass",1999,5').json() == {"imported": 1}
    created = shop.post("/orders", json=order_of("lamp", 2))
    order = created.json()
    assert (created.status, order["status"], order["total_cents"]) == (201, "new", 3998)
    assert order["created_by"] == "office"
    assert shop.get(created.headers["Location"]).json() == order

    assert shop.pay(order["id"]).status == 204
    shop.app.wait_for(function="ship", invocation=f"paid-{order['id']}", outcome="ok")
    assert (shop.status(order["id"]), shop.stock("lamp")) == ("shipped", 3)

    day = shop.get(f"/orders/{order['id']}").json()["shipped_at"][:10]
    assert shop.app.invoke("report", json={"day": day}).response.json() == [day]
    assert '\nlamp,"Lamp, brass",2,3998' in shop.get(f"/reports/{day}").text.replace("\r", "")


def test_the_timer_reports_on_the_day_before(shop: Shop) -> None:
    [day] = shop.app.invoke("report", timer="").response.json()
    assert day < datetime.now(UTC).date().isoformat()
    assert shop.get(f"/reports/{day}").text.splitlines() == ["sku,name,quantity,revenue_cents"]
    assert shop.get("/reports/2020-01-01").status == 404


def test_a_message_that_comes_twice_ships_once(shop: Shop) -> None:
    shop.import_csv("vase,Vase,2500,5")
    order = shop.order("vase", 2)
    shop.pay(order)
    shop.app.wait_for(function="ship", invocation=f"paid-{order}", outcome="ok")
    shop.app.send("paid", json={"order": order}, message_id="again")
    shop.app.wait_for(function="ship", invocation="again", outcome="ok")
    assert shop.stock("vase") == 3


def test_what_is_not_in_stock_waits(shop: Shop) -> None:
    shop.import_csv("chair,Chair,4900,1")
    order = shop.order("chair", 2)
    shop.pay(order)
    failed = shop.app.wait_for(function="ship", outcome="error/OutOfStock")
    assert (str(failed.decision)[:5], shop.status(order)) == ("retry", "paid")
    shop.import_csv("chair,Chair,4900,2")
    shop.app.wait_for(function="ship", invocation=f"paid-{order}", outcome="ok", timeout_s=30)
    assert shop.stock("chair") == 0


@pytest.mark.parametrize(
    ("order", "mistake"),
    [
        ({}, "missing required field `customer`"),
        (order_of("lamp", 0), "`$.lines[0].quantity`"),
        (order_of("lamp", 1, customer="ada"), "`$.customer`"),
        (order_of("none", 1), "no such product: none"),
        (order_of("lamp", 1) | {"total": 1}, "unknown field `total`"),
    ],
)
def test_a_mistaken_order(shop: Shop, order: dict[str, object], mistake: str) -> None:
    answer = shop.post("/orders", json=order)
    assert answer.status == 422
    assert mistake in answer.json()["error"]


def test_orders_are_listed_page_by_page(shop: Shop) -> None:
    shop.import_csv("cup,Cup,900,9")
    newest_first = [shop.order("cup", 1) for _ in range(3)][::-1]
    first = shop.get("/orders", query={"limit": 2, "status": "new"}).json()
    assert [order["id"] for order in first["orders"]] == newest_first[:2]
    second = shop.get("/orders", query={"limit": 1, "before": first["before"]}).json()
    assert [order["id"] for order in second["orders"]] == newest_first[2:]
    assert shop.get("/orders", query={"limit": "many"}).status == 400
    assert shop.get("/orders/unknown").status == 404


def test_an_import_is_whole_or_not_at_all(shop: Shop) -> None:
    refused = shop.import_csv("bed,Bed,50000,1", "sofa,Sofa,-1,1", "desk,Desk,1")
    assert refused.status == 422
    assert [mistake.partition(":")[0] for mistake in refused.json()["errors"]] == ["line 3", "line 4"]
    assert "bed" not in shop.get("/products").text
    # Without the mistakes, in a form, as Excel writes it.
    excel = "\ufeffsku,name,price_cents,stock\r\nbed,Bed,50000,1\r\n".encode()
    sent = shop.app.post("/products", headers={"X-Api-Key": shop.key}, files={"file": ("products.csv", excel)})
    assert (sent.status, shop.stock("bed")) == (200, 1)
    assert shop.post("/products", json=[]).status == 415


def test_keys_have_scopes(shop: Shop) -> None:
    warehouse = {"X-Api-Key": shop.app.create_key("warehouse", ["orders:read"])}
    assert shop.app.get("/orders").status == 401
    assert shop.app.get("/orders", headers=warehouse).status == 200
    assert shop.app.post("/orders", headers=warehouse, json=order_of("lamp", 1)).status == 403


def test_payments_are_signed(shop: Shop) -> None:
    order = shop.order("lamp", 1)
    body = b'{"type": "payment.succeeded", "order": "%s"}' % order.encode()

    def status(header: str, body: bytes = body) -> int:
        return shop.app.post("/webhooks/payment", data=body, headers={"Shop-Signature": header}).status

    assert status("") == status("t=1,v1=") == 401
    assert status(signed(body + b" ")) == 401
    assert status(signed(body, seconds_ago=301)) == status(signed(body, seconds_ago=-301)) == 401
    assert shop.status(order) == "new"
    assert status(signed(b"{}"), b"{}") == 400
    assert status(signed(other := b'{"type": "payment.succeeded", "order": "?"}'), other) == 404
    assert status(signed(other := b'{"type": "refund", "order": "?"}'), other) == 204
    assert status(signed(body)) == 204
