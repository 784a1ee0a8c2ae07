"""Brings the database up to date: `forklight invoke migrate`. A migration runs once, and as a whole or not at all.

While a new version is deployed, the old one still runs: a migration must suit both. So a column goes in two steps:
first a version that does not use it, later the migration that drops it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from database import transaction

if TYPE_CHECKING:
    from forklight.types import Context, Event

FOLDER = Path(__file__).with_name("migrations")


def handler(event: "Event", context: "Context") -> dict[str, list[str]]:
    applied = []
    with transaction() as execute:
        execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
        done = {row["name"] for row in execute("SELECT name FROM migrations")}
        for path in sorted(FOLDER.glob("*.sql")):
            if path.name in done:
                continue
            for statement in filter(str.strip, path.read_text().split(";\n")):
                execute(statement)
            execute("INSERT INTO migrations (name) VALUES (?)", path.name)
            applied.append(path.name)
    context.log.info("applied: %s", ", ".join(applied) or "nothing")
    return {"applied": applied}
