"""The same two answers for functions-framework, which gives one function every request."""

from typing import Any


def handler(request: Any) -> dict[str, object]:
    """`request` is Flask's."""
    if request.method == "POST":
        return {"length": len(request.get_data())}
    return {"hello": "world"}
