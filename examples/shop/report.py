"""Every night: what was shipped the day before, a CSV file a day in the data directory."""

import csv
import os
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from database import query

if TYPE_CHECKING:
    from forklight.types import Context, Event, HttpEvent, Timer

COLUMNS = ("sku", "name", "quantity", "revenue_cents")


def nightly(event: "Event", context: "Context") -> list[str]:
    """Writing a report again does no harm: `forklight invoke report -d '{"day": "2026-11-25"}'`."""
    days = days_before(event["timer"]) if "timer" in event else [date.fromisoformat(event["data"]["day"])]
    for day in days:
        write(day)
    context.log.info("reports: %s", ", ".join(map(str, days)))
    return [str(day) for day in days]


def days_before(timer: "Timer") -> list[date]:
    """The day before, and the earlier ones whose times the server has missed, the oldest first."""
    today = datetime.fromisoformat(timer["scheduled_at"]).date()
    return [today - timedelta(days=age) for age in range(timer["missed"] + 1, 0, -1)]


def write(day: date) -> None:
    rows = query(
        "SELECT products.sku AS sku, name, SUM(quantity) AS quantity, SUM(quantity * order_lines.price_cents) AS"
        " revenue_cents FROM orders JOIN order_lines ON order_id = id JOIN products ON products.sku = order_lines.sku"
        " WHERE shipped_at >= ? AND shipped_at < ? GROUP BY products.sku, name ORDER BY products.sku",
        *(str(day), str(day + timedelta(days=1))),
    )
    path = path_of(str(day))
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)  # whoever downloads it gets the old file or the new one, never a half


def download(event: "HttpEvent") -> object:
    day = event["http"]["params"]["day"]
    path = path_of(day)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", day) or not path.exists():
        return {"error": "no report of that day"}, 404
    headers = {"Content-Type": "text/csv", "Content-Disposition": f'attachment; filename="{day}.csv"'}
    return path.read_bytes(), 200, headers


def path_of(day: str) -> Path:
    return Path(os.environ["FORKLIGHT_DATA"]) / "reports" / f"{day}.csv"
