"""The functions of the day that are called over HTTP, as one Flask application."""

from flask import Flask  # type: ignore[import-not-found]  # only in the peers' own environment
from usage_work import request  # type: ignore[import-not-found]  # its folder is on the path

app = Flask(__name__)


@app.get("/<name>")  # type: ignore[untyped-decorator]
def call(name: str) -> dict[str, bool]:
    done: dict[str, bool] = request()
    return done
