"""Products come and go as CSV, with the columns of a spreadsheet: sku,name,price_cents,stock."""

import csv
import io
from typing import TYPE_CHECKING, Annotated

import msgspec
from database import query, transaction
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from forklight.types import HttpEvent

COLUMNS = ("sku", "name", "price_cents", "stock")
MAX_MISTAKES = 20


class Product(Struct, frozen=True, forbid_unknown_fields=True):
    sku: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    price_cents: Annotated[int, Meta(ge=0)]
    stock: Annotated[int, Meta(ge=0)]


def import_csv(event: "HttpEvent") -> object:
    """All products of a file are stored, or none: `curl -F file=@products.csv`, or the file itself as text/csv."""
    try:
        text = body_of(event).decode("utf-8-sig")  # spreadsheets put a byte order mark before the first column
    except ValueError as error:
        return {"error": f"not a CSV file: {error}"}, 415
    products, mistakes = parse(text)
    if mistakes:
        return {"errors": mistakes[:MAX_MISTAKES]}, 422
    with transaction() as execute:
        for product in sorted(products, key=lambda product: product.sku):  # as shipping does: no deadlocks
            execute(
                "INSERT INTO products (sku, name, price_cents, stock) VALUES (?, ?, ?, ?) ON CONFLICT (sku) DO UPDATE"
                " SET name = excluded.name, price_cents = excluded.price_cents, stock = excluded.stock",
                *msgspec.structs.astuple(product),
            )
    return {"imported": len(products)}


def body_of(event: "HttpEvent") -> bytes:
    """The one file of a form, or the body. Raises ValueError."""
    content_type = event["datacontenttype"] or ""
    if content_type.startswith("text/csv"):
        return event["body"]
    match event["data"]:
        case {"files": [file]}:
            return bytes(file["body"])
    raise ValueError(f"send text/csv, or a form with one file, not {content_type or 'a body without a type'}")


def parse(text: str) -> tuple[list[Product], list[str]]:
    """The products, and the mistakes with their lines."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    products, mistakes = [], []
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            return [], [f"line 1: the columns must be {','.join(COLUMNS)}"]
        for row in reader:
            try:
                products.append(msgspec.convert(row, Product, strict=False))
            except msgspec.ValidationError as error:
                mistakes.append(f"line {reader.line_num}: {error}")
    except csv.Error as error:
        mistakes.append(f"line {reader.line_num}: {error}")
    return products, mistakes


def export_csv(event: "HttpEvent") -> object:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(query("SELECT sku, name, price_cents, stock FROM products ORDER BY sku"))
    headers = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="products.csv"'}
    return file.getvalue(), 200, headers
